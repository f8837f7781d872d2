"""Office files, which are XML in a zip container: every text element of every part."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import MAY_JOIN

_RUNNING = "running headers and footers"
_DELETED = "deleted text"
_HIDDEN = "hidden text"

_WORD_PARTS = re.compile(
    r"word/(?:(document|footnotes|endnotes|comments)|(header|footer)\d*|(charts/chart|diagrams/data)\d*)\.xml"
)
_SPECIAL_WORD = {
    "del": _DELETED,
    "moveFrom": _DELETED,
    "rt": "pronunciation",
}


def docx_source(data: bytes) -> Source:
    """Read all parts of a DOCX that hold text."""
    source = Source()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        main = [(name, match) for name in archive.namelist() if (match := _WORD_PARTS.fullmatch(name))]
        for name, match in sorted(main, key=lambda pair: (pair[0] != "word/document.xml", pair[0])):
            outer = _RUNNING if match[2] else "drawings" if match[3] else ""
            _add_xml(source, archive.read(name), name, outer, _word_reason, ordered=match[1] == "document")
    return source


def _add_xml(
    source: Source, data: bytes, part: str, outer: str, reason_of: Callable[[Any, str], str | None], *, ordered: bool
) -> None:
    """Add the text elements of a part. `reason_of`: None for an element that is not read."""
    from defusedxml import ElementTree

    stack: list[tuple[Any, str]] = [(ElementTree.fromstring(data), outer)]
    while stack:
        node, reason = stack.pop()
        if isinstance(node, str):
            source.add(node, part=part, reason=reason, ordered=ordered)
            continue
        name = node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
        own = reason_of(node, name)
        if own is None:
            continue
        reason = reason or own
        if name in ("t", "v") and node.text:
            source.add(node.text, part=part, reason=reason, ordered=ordered)
        gap = _GAPS.get(name, "")
        if name == "r" and _raised(node):
            gap = MAY_JOIN if _raised(node) == "subscript" else " "
        if gap:
            source.add(gap, part=part, reason=reason, ordered=ordered)
            stack.append((gap, reason))
        stack.extend((child, reason) for child in reversed(node))


_GAPS = dict.fromkeys(("p", "tab", "br", "cr", "tc", "txbxContent", "footnoteReference", "endnoteReference"), "\n")
_GAPS |= {"noBreakHyphen": "-", "oMath": MAY_JOIN, "e": MAY_JOIN, "sub": MAY_JOIN, "sup": MAY_JOIN, "num": MAY_JOIN}
_GAPS |= {"den": MAY_JOIN, "pt": "\n"}


def _word_name(node: Any, path: str) -> Any:
    current = node
    for step in path.split("/"):
        current = next((child for child in current if str(child.tag).endswith("}" + step)), None)
        if current is None:
            return None
    return current


def _raised(run: Any) -> str:
    align = _word_name(run, "rPr/vertAlign")
    return "" if align is None else next((value for key, value in align.items() if key.endswith("}val")), "")


def _on(node: Any) -> bool:
    """Whether a switch such as `w:vanish` is on."""
    return node is not None and all(value not in ("0", "false", "off") for _, value in node.items())


def _word_reason(node: Any, name: str) -> str | None:
    if name == "Fallback":  # the same for older programs
        return None
    if name in _SPECIAL_WORD:
        # Within the properties of a row or a mark, `del` holds no text.
        return _SPECIAL_WORD[name]
    if name == "r" and _on(_word_name(node, "rPr/vanish")):
        return _HIDDEN
    if name == "tr" and _word_name(node, "trPr/del") is not None:
        return _DELETED
    if name == "sdt" and _word_name(node, "sdtPr/showingPlcHdr") is not None:
        return "prompts"
    return ""
