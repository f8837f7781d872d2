"""DOCX: the XML that python-docx opens, including parts that python-docx itself skips."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import BlockBuilder, Blocks
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.zip_container import open_zip
from rag_ft.schema import Metadata

_DOCX_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_TRANSPARENT = frozenset(_WORD + name for name in ("sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo"))
# Moved or deleted text, the pronunciation of ruby text, and text boxes, which come after their paragraph.
_NOT_IN_LINE = frozenset(_WORD + name for name in ("moveFrom", "del", "rt", "pPr", "txbxContent", "sdtPr"))
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def read_docx(data: bytes) -> Extracted:
    """Read paragraphs, headings, lists, tables and text boxes of a document, with its title and author."""
    require_extra("formats", "reading DOCX files", "docx")
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable("is encrypted, or an old .doc: save a copy as .docx without a password")
    open_zip(data).close()
    import docx

    document = docx.Document(io.BytesIO(data))

    style_of = _style_names(document.styles.element)
    blocks = Blocks()
    builder = BlockBuilder(blocks)
    _add_docx(document.element.body, builder, style_of)
    builder.end()
    properties = document.core_properties
    author = properties.author
    metadata: Metadata = {"author": author} if author and author != "python-docx" else {}
    return blocks.extracted(properties.title or "", metadata)


def _style_names(styles: Any) -> Callable[[Any], str]:
    """A function for the name of a paragraph's style, as python-docx finds it, but without a search per paragraph."""
    names: dict[str, str] = {}
    default = ""
    for style in styles.iterchildren(_WORD + "style"):
        if style.get(_WORD + "type") == "paragraph":
            names.setdefault(style.get(_WORD + "styleId", ""), style.name_val or "")
            default = (style.name_val or "") if style.default else default
    return lambda paragraph: names.get(paragraph.style or "", default)


def _add_docx(element: Any, builder: BlockBuilder, style_of: Callable[[Any], str]) -> None:
    """Add the paragraphs and tables of a body, cell or text box, with all tracked changes accepted.

    python-docx skips content controls and insertions.
    """
    open_list = ""  # the kind of the list whose items are being read
    for part in _docx_parts(element):
        paragraph = part.tag == _WORD + "p"
        if not paragraph and part.tag != _WORD + "tbl":
            continue
        style = style_of(part) if paragraph else ""
        kind = "" if not style.startswith("List") else "ol" if style.startswith("List Number") else "ul"
        if kind != open_list:
            if open_list:
                builder.close("list")
            if kind:
                builder.open("list", 1 if kind == "ol" else None)
            open_list = kind
        if not paragraph:
            _docx_table(part, builder, style_of)
            continue
        text = _docx_line(part)
        if kind and text.strip():
            builder.open("item")
            builder.put(" ".join(text.split()))
            builder.close("item")
        elif not kind:
            heading = _DOCX_HEADING.match(style)
            builder.put(text, int(heading[1]) if heading else 1 if style == "Title" else 0)
        for box in part.iter(_WORD + "txbxContent"):
            if next(box.iterancestors(_FALLBACK, _WORD + "txbxContent"), None) is None:
                _add_docx(box, builder, style_of)
    if open_list:
        builder.close("list")


def _docx_parts(element: Any) -> Iterator[Any]:
    for child in element:
        if child.tag in _TRANSPARENT:
            if not _is_placeholder(child):
                yield from _docx_parts(child)
        else:
            yield child


def _is_placeholder(control: Any) -> bool:
    """Whether a content control only shows its prompt, such as "Click here to enter text"."""
    return control.find(f"{_WORD}sdtPr/{_WORD}showingPlcHdr") is not None


def _docx_table(table: Any, builder: BlockBuilder, style_of: Callable[[Any], str]) -> None:
    """Add a table: the text of a cell that spans columns comes once, of one that spans rows once per row."""
    builder.open("table")
    above: dict[int, str] = {}  # by column, the text of the cell that continues in the rows below
    for row in _docx_parts(table):
        if row.tag != _WORD + "tr":
            continue
        builder.open("row")
        column = _docx_number(row, "trPr/gridBefore", 0)
        for cell in _docx_parts(row):
            if cell.tag != _WORD + "tc":
                continue
            merged = cell.find(f"{_WORD}tcPr/{_WORD}vMerge")
            builder.open("cell")
            if merged is None or merged.get(_WORD + "val") == "restart":
                above[column] = " ".join(_docx_line(part) for part in _docx_parts(cell) if part.tag == _WORD + "p")
                _add_docx(cell, builder, style_of)
            else:
                builder.put(" ".join(above.get(column, "").split()))
            builder.close("cell")
            column += _docx_number(cell, "tcPr/gridSpan", 1)
        builder.close("row")
    builder.close("table")


def _docx_number(element: Any, path: str, default: int) -> int:
    node = element.find("/".join(_WORD + name for name in path.split("/")))
    value = node.get(_WORD + "val", "") if node is not None else ""
    return int(value) if value.isdecimal() else default


def _docx_line(paragraph: Any) -> str:
    parts = []
    stack = list(reversed(paragraph))
    while stack:
        element = stack.pop()
        if element.tag == _WORD + "t":
            parts.append(element.text or "")
        elif element.tag == _WORD + "tab":
            parts.append("\t")
        elif element.tag in (_WORD + "br", _WORD + "cr"):
            parts.append("\n" if element.get(_WORD + "type", "textWrapping") == "textWrapping" else "")
        elif element.tag == _WORD + "noBreakHyphen":
            parts.append("-")
        elif element.tag not in _NOT_IN_LINE and element.tag != _FALLBACK:
            if not _is_placeholder(element):
                stack.extend(reversed(element))
    return "".join(parts)
