"""OpenDocument (ODT, ODS, ODP): every paragraph of the text, of its styles' headers and of embedded charts."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import MAY_JOIN

_RUNNING = "running headers and footers"
_DELETED = "deleted text"
_HIDDEN = "hidden text"
_CELLS = "hidden cells"

_REASONS = {"tracked-changes": _DELETED, "ruby-text": "pronunciation", "placeholder": "prompts"}
_REASONS |= {"page-number": _RUNNING, "page-count": _RUNNING, "hidden-text": _HIDDEN}
_APART = frozenset(("p", "h", "s", "tab", "line-break", "note", "note-citation", "table-cell", "frame", "annotation"))
_NO_TEXT = frozenset(("number", "note-citation", "creator", "date", "date-string", "creator-initials", "title"))
_RUNNING_CLASSES = frozenset(("page-number", "date-time", "footer", "header"))


def opendocument_source(data: bytes) -> Source:
    """Read the paragraphs of a document, and the headers and footers of its pages."""
    source = Source()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = _root(archive, "content.xml")
        hidden = _hidden_styles(content)
        names = archive.namelist()
        if "styles.xml" in names:
            styles = _root(archive, "styles.xml")
            hidden |= _hidden_styles(styles)
            for node in styles.iter():
                if _name(node) == "master-styles":
                    _add(source, node, _RUNNING, hidden)
        for node in content.iter():
            if _name(node) == "body":
                _add(source, node, "", hidden)
    return source


def _root(archive: zipfile.ZipFile, name: str) -> Any:
    from defusedxml import ElementTree

    return ElementTree.fromstring(archive.read(name))


def _name(node: Any) -> str:
    return str(node.tag).rpartition("}")[2]


def _attribute(node: Any, name: str) -> str:
    return next((value for key, value in node.items() if key.rpartition("}")[2] == name), "")


def _hidden_styles(root: Any) -> set[str]:
    """Names of the styles whose text or sheet is not shown."""
    names = set()
    for style in root.iter():
        if _name(style) == "style":
            for part in style:
                shown = _attribute(part, "display")
                if (_name(part), shown) in (("text-properties", "none"), ("table-properties", "false")):
                    names.add(_attribute(style, "name"))
    return names


def _add(source: Source, root: Any, outer: str, hidden: set[str]) -> None:
    before = ""
    for text, reason in _texts(root, outer, hidden):
        if text != MAY_JOIN or before != MAY_JOIN:
            source.add(text, reason=reason, ordered=False)
        before = text


def _texts(root: Any, outer: str, hidden: set[str]) -> Iterator[tuple[str, str]]:
    """Texts and gaps in order, each with the reason why a document need not have it."""
    stack: list[tuple[Any, str, bool]] = [(root, outer, False)]
    while stack:
        node, reason, in_text = stack.pop()
        if isinstance(node, str):
            yield node, reason
            continue
        name = _name(node)
        if name in ("forms", "event-listeners", "scripts"):
            continue
        reason = reason or _REASONS.get(name, "")
        if name in ("table-row", "table-column") and _attribute(node, "visibility") == "collapse":
            reason = reason or _CELLS
        if _attribute(node, "style-name") in hidden:
            reason = reason or (_CELLS if name == "table" else _HIDDEN)
        if name == "section" and _attribute(node, "display") == "none":
            reason = reason or _HIDDEN
        if _attribute(node, "class") in _RUNNING_CLASSES:
            reason = reason or _RUNNING
        in_text = (in_text or name in ("p", "h", "desc")) and name not in _NO_TEXT
        gap = "\n" if name in _APART else MAY_JOIN if name == "span" else ""
        if gap:
            yield gap, reason
        if in_text and node.text:
            yield node.text, reason
        after = [(gap, reason, False)] if gap else []
        children: list[tuple[Any, str, bool]] = []
        for child in node:
            children.append((child, reason, in_text))
            if in_text and child.tail:
                children.append((child.tail, reason, False))
        stack.extend(reversed(children + after))
