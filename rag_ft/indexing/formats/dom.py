"""Elements of HTML, as selectolax parses it → blocks: all visible text, whatever it is for."""

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
    """All visible text of a page or of a part of it, less the elements to skip, added to the blocks."""
    blocks = Blocks() if blocks is None else blocks
    builder = BlockBuilder(blocks)
    if root is not None:
        add_dom(root, builder, skip)
    builder.end()
    return blocks


def add_dom(root: Any, builder: BlockBuilder, skip: Set[str] = frozenset()) -> None:
    """The same, for an element in the middle of a builder."""
    frames = _layout_tables(root) if root.css_first("table") is not None else set()
    stack: list[Any] = [root]  # elements to read, and the kinds to close on the way; pages nest too deep to recurse
    layouts: list[bool] = []  # for each open table: are its cells the columns of the page, not data?
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
            builder.put(node.text())
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
    """Ids of the tables that hold a table or a title: the innermost open one where such a thing begins, and with it
    each table around, which holds that table.
    """
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
