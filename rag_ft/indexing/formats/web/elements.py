"""What an element is: a reference to a note, a row of column names, a table that lays out the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rag_ft.indexing.formats.web.visibility import NO_TEXT, is_decoration, is_gutter, is_hidden

Attributes = Mapping[str, "str | None"]


def is_reference(node: Any) -> bool:
    """Whether a raised text is the mark of a note: it says so, or links within the page."""
    attributes = node.attributes
    return bool(attributes) and (is_note(attributes) or "#" in (attributes.get("href") or ""))


def is_note(attributes: Attributes) -> bool:
    """Whether an element says that it is the mark of a note, by its role or a usual class."""
    if "noteref" in f"{attributes.get('role') or ''} {attributes.get('epub:type') or ''}":
        return True
    classes = (attributes.get("class") or "").split()
    return any(name in ("footnote-ref", "footnote-reference", "reference", "noteref", "fnref") for name in classes)


_SHORT = 40


def short_text(node: Any) -> str:
    """The text of an element, or an empty string if it is long or holds more than text."""
    parts: list[str] = []
    stack = [node]
    for _ in range(_SHORT):
        if not stack:
            return " ".join("".join(parts).split())
        part = stack.pop()
        if part.tag == "-text":
            parts.append(part.text()[: _SHORT * 2])
        elif part.tag in ("img", "table", "input"):
            return ""
        elif part.tag not in NO_TEXT:
            stack.extend(reversed(list(part.iter(include_text=True))))
    return ""


def drawing_labels(drawing: Any) -> list[str]:
    """Collect the labels of an SVG drawing; without any, its name if it is an image."""
    labels: list[str] = []
    title = ""
    stack = [drawing]
    while stack:
        part = stack.pop()
        if part.tag == "text":
            labels.append(" ".join(part.text().split()))
        elif part.tag == "title":
            title = title or " ".join(part.text().split())
        else:
            stack.extend(reversed(list(part.iter())))
    if not labels and drawing.attributes.get("role") == "img":
        return [drawing.attributes.get("aria-label") or title]
    return labels


def shown_options(select: Any) -> list[str]:
    """Collect the options that a closed list shows, or all of an open one."""
    attributes, options = select.attributes, select.css("option")
    chosen = [option for option in options if "selected" in option.attributes]
    if "multiple" in attributes or (attributes.get("size") or "1") != "1":
        chosen = options
    return [" ".join(option.text().split()) for option in chosen or options[:1]]


def code_text(pre: Any) -> str:
    """The lines of code as they are, without line numbers and buttons."""
    parts: list[str] = []
    stack = [pre]
    while stack:
        node = stack.pop()
        tag = node.tag
        if tag == "-text":
            parts.append(node.text())
        elif tag == "br":
            parts.append("\n")
        elif node is pre or not (tag in NO_TEXT or tag == "button" or _is_left_out_of_code(node)):
            stack.extend(reversed(list(node.iter(include_text=True))))
    return "".join(parts)


def _is_left_out_of_code(node: Any) -> bool:
    attributes = node.attributes
    return bool(attributes) and (
        is_hidden(node.tag, attributes) or is_gutter(attributes) or is_decoration(node, attributes)
    )


def span_of(value: str | None, most: int) -> int:
    """Parse the columns or rows that a cell spans: from 1 to `most`, 1 if the value is no number."""
    return max(1, min(most, int(value))) if value and re.fullmatch(r"[0-9]{1,5}", value.strip()) else 1


def is_bold_head(cell: Any) -> bool:
    """Whether a cell of a table's first row is all bold: column names of a table without `<th>`."""
    row = cell.parent
    before = row.prev if row is not None else None
    while before is not None and before.tag != "tr":
        before = before.prev
    if before is not None or row is None or (row.parent is not None and row.parent.tag == "tfoot"):
        return False
    if row.parent is not None and row.parent.tag == "thead":
        return True
    section = row.parent
    if section is not None and section.tag == "tbody" and _has_section_before(section):
        return False
    children = [child for child in cell.iter(include_text=True) if child.tag != "-text" or child.text().strip()]
    return len(children) == 1 and children[0].tag in ("b", "strong")


def _has_section_before(section: Any) -> bool:
    before = section.prev
    while before is not None and before.tag not in ("tbody", "thead"):
        before = before.prev
    return before is not None


def layout_tables(root: Any) -> set[int]:
    """Ids of tables that lay out the page and hold no data: with a title, or without column names around a table."""
    layouts: set[int] = set()
    named: set[int] = set()
    titled: set[int] = set()
    tables: list[int] = []
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if node is None:
            tables.pop()
            continue
        tag = node.tag
        if tables:
            if tag in ("table", "pre"):
                layouts.add(tables[-1])
            elif tag in ("h1", "h2"):
                titled.add(tables[-1])
            elif tag in ("th", "caption", "thead"):
                named.add(tables[-1])
        if tag == "table":
            tables.append(node.mem_id)
            stack.append(None)
        stack.extend(reversed(list(node.iter())))
    return (layouts - named) | titled
