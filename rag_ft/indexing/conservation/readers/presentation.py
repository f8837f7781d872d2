"""Presentations (PPTX): every text element of every slide, its notes, comments, tables and diagrams."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from posixpath import dirname, normpath
from typing import Any

from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import MAY_JOIN

_RUNNING = "running headers and footers"
_HIDDEN = "hidden text"
_REPEATED = frozenset(("dt", "ftr", "hdr", "sldNum"))
_KINDS = frozenset(("notesSlide", "comments", "diagramData", "chart"))
_WORDS = frozenset(("t", "text"))


def pptx_source(data: bytes) -> Source:
    """Read the slides that the presentation lists, and the parts that belong to them."""
    source = Source()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for number, slide in enumerate(_slides(archive), start=1):
            label = f"slide {number}"
            related = [(kind, part) for kind, part in _related(archive, slide) if kind in _KINDS]
            for kind, part in [("slide", slide), *related]:
                try:
                    root = _root(archive, part)
                except Exception:  # a damaged part
                    source.unreadable.append(label if kind == "slide" else part)
                    continue
                for text, reason in _texts(root, kind):
                    source.add(text, part=label if kind == "slide" else part, reason=reason, ordered=False)
    return source


def _root(archive: zipfile.ZipFile, name: str) -> Any:
    from defusedxml import ElementTree

    return ElementTree.fromstring(archive.read(name))


def _name(node: Any) -> str:
    return str(node.tag).rpartition("}")[2]


def _related(archive: zipfile.ZipFile, part: str) -> Iterator[tuple[str, str]]:
    """Kind and name of the parts that a part relates to."""
    folder, _, file = part.rpartition("/")
    name = f"{folder}/_rels/{file}.rels"
    if name not in archive.namelist():
        return
    for node in _root(archive, name):
        if node.get("TargetMode") != "External":
            target = node.get("Target") or ""
            path = target if target.startswith("/") else f"{dirname(part)}/{target}"
            yield (node.get("Type") or "").rpartition("/")[2], normpath(path).lstrip("/")


def _slides(archive: zipfile.ZipFile) -> list[str]:
    rels = _root(archive, "ppt/_rels/presentation.xml.rels")
    targets = {node.get("Id"): normpath(f"ppt/{node.get('Target')}") for node in rels}
    order = [
        next((value for key, value in node.items() if key.endswith("}id")), "")
        for node in _root(archive, "ppt/presentation.xml").iter()
        if _name(node) == "sldId"
    ]
    return list(dict.fromkeys(targets[key] for key in order if key in targets))


def _texts(root: Any, kind: str) -> Iterator[tuple[str, str]]:
    """Texts and gaps of a part in order, each with the reason why a document need not have it."""
    stack: list[tuple[Any, str]] = [(root, "drawings" if kind == "chart" else "")]
    while stack:
        node, reason = stack.pop()
        if isinstance(node, str):
            yield node, reason
            continue
        name = _name(node)
        if name == "Fallback" or (name == "pt" and node.get("type") in ("pres", "parTrans", "sibTrans")):
            continue
        if name == "sp" and (holder := _placeholder(node)) is not None:
            if holder in _REPEATED or (kind == "notesSlide" and holder != "body"):
                reason = _RUNNING
        if name in ("sp", "pic", "grpSp", "graphicFrame") and any(
            _name(part) == "cNvPr" and part.get("hidden") in ("1", "true") for child in node for part in child
        ):
            reason = _HIDDEN
        if name == "fld" and re.match("slidenum|datetime", node.get("type") or ""):
            reason = _RUNNING
        if name in _WORDS or (name == "v" and kind == "chart"):
            yield node.text or "", reason
        if name in ("num", "den", "e", "sub", "sup", "deg"):
            yield MAY_JOIN, reason
            stack.append((MAY_JOIN, reason))
        if name in ("p", "br", "tc", "pt", "cm", "oMath", "text", "v"):
            yield "\n", reason
            stack.append(("\n", reason))
        if name == "r" and any(_name(part) == "rPr" and part.get("baseline", "0") != "0" for part in node):
            yield " ", reason
            stack.append((" ", reason))
        stack.extend((child, reason) for child in reversed(node))


def _placeholder(shape: Any) -> str | None:
    return next((node.get("type") or "body" for node in shape.iter() if _name(node) == "ph"), None)
