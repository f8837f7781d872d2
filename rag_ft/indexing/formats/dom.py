"""HTML elements, as selectolax parses them → blocks: all visible text."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any

from rag_ft.indexing.formats.blocks import HEADING_TAGS, BlockBuilder, Blocks

_BLOCK_TAGS = HEADING_TAGS | frozenset(
    "p blockquote dl dt dd figure figcaption caption summary details div section article header footer nav main aside"
    " address form fieldset legend option hr body".split()
)
_KINDS = {"ul": "list", "ol": "list", "menu": "list", "li": "item", "table": "table", "tr": "row"}
_KINDS |= {"td": "cell", "th": "cell"}
_NO_TEXT = frozenset({"script", "style", "noscript", "template", "head", "svg", "-comment"})


def dom_blocks(root: Any, blocks: Blocks | None = None, *, skip: Set[str] = frozenset()) -> Blocks:
    """Add all visible text of a page or a part of it to the blocks, except elements in `skip`."""
    blocks = Blocks() if blocks is None else blocks
    builder = BlockBuilder(blocks)
    if root is not None:
        add_dom(root, builder, skip)
    builder.end()
    return blocks


def add_dom(root: Any, builder: BlockBuilder, skip: Set[str] = frozenset()) -> None:
    """Add all visible text of an element to a document that is being built."""
    frames = _layout_tables(root) if root.css_first("table") is not None else set()
    stack: list[Any] = [root]  # elements to read and kinds to close; pages nest too deeply for recursion
    layouts: list[bool] = []  # for each open table: does it lay out the page instead of holding data?
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            builder.close(node)
            if node in ("table", "layout"):
                layouts.pop()
            continue
        tag = node.tag
        if tag == "-text":
            builder.text(node.text())
        elif tag == "br":
            builder.line_break()
        elif tag == "pre":
            builder.put(node.text(), kind="code")
        elif tag not in _NO_TEXT and tag not in skip:
            kind = _KINDS.get(tag, tag if tag in _BLOCK_TAGS else "")
            if kind == "table":
                layouts.append(node.mem_id in frames)
            if kind in ("table", "row", "cell") and layouts and layouts[-1]:
                kind = "layout" if kind == "table" else "p"
            if kind:
                builder.open(kind, _first_number(node) if tag == "ol" else None)
                stack.append(kind)
            stack.extend(reversed(list(node.iter(include_text=True))))


def _layout_tables(root: Any) -> set[int]:
    """Ids of tables that contain a table or a title: they lay out the page and hold no data."""
    frames: set[int] = set()
    tables: list[int] = []
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if node is None:
            tables.pop()
            continue
        if node.tag in ("table", "h1", "h2") and tables:
            frames.add(tables[-1])
        if node.tag == "table":
            tables.append(node.mem_id)
            stack.append(None)
        stack.extend(reversed(list(node.iter())))
    return frames


def _first_number(node: Any) -> int:
    start = node.attributes.get("start") or ""
    return int(start) if re.fullmatch(r"[0-9]{1,9}", start) else 1
