"""Notebooks: the source of every cell, and the text of its outputs."""

from __future__ import annotations

import json
import re
from typing import Any

from rag_ft.indexing.conservation.readers.html import add_page
from rag_ft.indexing.conservation.readers.markdown import markdown_source
from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.formats.limits import MAX_OUTPUT_CHARS

LONG = "long outputs"
_OTHER_FORMS = "other forms of an output"

_CONTROL = re.compile("\x1b(?:\\[[0-9;?]*[A-Za-z]|\\][^\x07]*\x07)")


def notebook_source(data: bytes) -> Source:
    """Read a notebook; outputs that are too long to be kept whole need not be there."""
    source = Source()
    notebook = json.loads(data.decode("utf-8-sig", "replace"))
    for sheet in notebook.get("worksheets") or [notebook]:
        for number, cell in enumerate(sheet["cells"]):
            text = _joined(cell.get("source", cell.get("input", "")))
            if cell.get("cell_type") == "markdown":
                source.pieces += markdown_source(text.encode("utf-8", "replace"), "utf-8").pieces
                source.add("\n")
            elif cell.get("cell_type") == "raw":
                of_html = "html" in str(cell.get("metadata", {}))
                source.add(text + "\n", reason="raw passages" if of_html or number == 0 else "")
            else:
                source.add(text + "\n")
            _add_outputs(source, cell.get("outputs") or [])
    return source


def _joined(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value or "")


def _add_outputs(source: Source, outputs: list[dict[str, Any]]) -> None:
    shown = Source()
    for output in outputs:
        data = output.get("data") or {}
        texts = [output.get("text"), output.get("traceback") and "\n".join(output["traceback"])]
        html = _joined(data.get("text/html", output.get("html")))
        if html:
            _add_html(shown, html)
        pictured = any(name.startswith("image/") for name in data)
        for name, value in data.items():
            if name.startswith("text/"):
                first = not html and not pictured and name == min((_ORDER.get(kind, 9), kind) for kind in data)[1]
                shown.add(_joined(value) + "\n", reason="" if first else _OTHER_FORMS)
        for text in texts:
            lines = _CONTROL.sub("", _joined(text)).replace("\r\n", "\n").split("\n")
            for line in lines:
                *over, last = line.rstrip("\r").split("\r")
                shown.add(" ".join(over), reason=LONG)
                shown.add(last + "\n")
    size = sum(len(piece.text) for piece in shown.pieces if not piece.reason)
    for piece in shown.pieces:
        source.add(piece.text, reason=piece.reason or (LONG if size > MAX_OUTPUT_CHARS else ""))


_ORDER = {"text/html": 0, "text/markdown": 1, "text/latex": 2, "text/plain": 4}
"""Which form of an output is read; the text of a picture is none of them."""


def _add_html(source: Source, html: str) -> None:
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(html).body
    if body is not None:
        add_page(source, body)
    source.add("\n")
