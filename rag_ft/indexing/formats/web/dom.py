"""HTML elements, as selectolax parses them → blocks: all visible text."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import Any

from rag_ft.indexing.formats.blocks import HEADING_TAGS, BlockBuilder, Blocks
from rag_ft.indexing.formats.grid import Cell, grid_lines
from rag_ft.indexing.formats.scripts import is_written_mark, scripted
from rag_ft.indexing.formats.web.elements import (
    Attributes,
    code_text,
    drawing_labels,
    is_bold_head,
    is_note,
    is_reference,
    layout_tables,
    short_text,
    shown_options,
    span_of,
)
from rag_ft.indexing.formats.web.mathml import linear
from rag_ft.indexing.formats.web.numbering import ListMarkers
from rag_ft.indexing.formats.web.visibility import (
    NO_TEXT,
    is_block_by_style,
    is_decoration,
    is_gutter,
    is_hidden,
    is_navigation,
    script_of,
)

_BLOCK_TAGS = HEADING_TAGS | frozenset(
    "p blockquote dl dt dd figure figcaption caption summary details div section article header footer nav main aside"
    " address form fieldset legend optgroup hr body center hgroup search dialog listing xmp plaintext".split()
)
_LISTS = frozenset({"ul", "ol", "menu", "dir"})
_TABLE_PARTS = {"tr": "row", "td": "cell", "th": "cell"}
_TYPED = frozenset("checkbox radio hidden submit button reset image password file color".split())
"""Types of form fields whose value is not typed by the user, or not shown."""

_WIDEST = 1_000
"""Columns of the widest cell, as in browsers."""

_HIGHEST = 65_534


def dom_blocks(root: Any, blocks: Blocks | None = None, *, left_out: Set[int] = frozenset()) -> Blocks:
    """Add all visible text of a page or a part of it to the blocks, except navigation and elements in `left_out`."""
    blocks = Blocks() if blocks is None else blocks
    builder = BlockBuilder(blocks)
    if root is not None:
        add_dom(root, builder, blocks.count, left_out=left_out)
    builder.end()
    return blocks


def add_dom(
    root: Any, builder: BlockBuilder, count: Callable[[int], None], *, left_out: Set[int] = frozenset()
) -> None:
    """Add all visible text of an element to a document that is being built."""
    _Walk(builder, count, left_out, layout_tables(root) if root.css_first("table") is not None else set()).read(root)


class _Table:
    """An open data table: its rows, and the blocks that come after it."""

    def __init__(self, builder: BlockBuilder) -> None:
        self.builder = builder
        self.rows: list[list[Cell]] = []
        self.after: list[str] = []
        self.cell: Blocks | None = None
        self.caption = ""


class _Walk:
    """Reads elements in order, with a stack of its own: pages nest too deeply for recursion."""

    def __init__(
        self, builder: BlockBuilder, count: Callable[[int], None], left_out: Set[int], layouts: Set[int]
    ) -> None:
        self._builder = builder
        self._count = count
        self._left_out = left_out
        self._layout_ids = layouts
        self._stack: list[Any] = []  # elements to read, and what to do after an element's children
        self._tables: list[_Table | None] = []  # None: a table that lays out the page
        self._lists: list[ListMarkers] = []
        self._terms: list[str] = []  # by open definition list, the term whose definition comes next
        self._after_mark = False  # the text ends in the mark of a note
        self._headings = 0  # open headings, summaries and terms

    def read(self, root: Any) -> None:
        self._stack = [root]
        while self._stack:
            item = self._stack.pop()
            if callable(item):
                item()
            elif item.tag == "-text":
                self._write(item.text())
            else:
                self._element(item)

    def _write(self, text: str) -> None:
        if self._after_mark and text:
            if text[0].isalnum():
                text = " " + text
            self._after_mark = False
        self._builder.text(text.replace("\xad", ""))

    def _apart(self, text: str) -> None:
        """Write text that is not glued to its neighbours."""
        if text.strip():
            self._write(f" {text} ")

    def _element(self, node: Any) -> None:
        tag = node.tag
        if tag in NO_TEXT:
            if tag == "script" and (node.attributes.get("type") or "").startswith("math/tex"):
                self._apart(node.text())
            return
        attributes = node.attributes
        if attributes:
            if is_hidden(tag, attributes) or is_decoration(node, attributes) or node.mem_id in self._left_out:
                return
            if is_navigation(tag, attributes) or is_gutter(attributes):
                return
            script = script_of(tag, attributes)
        else:
            if tag in ("nav", "dialog") or (self._left_out and node.mem_id in self._left_out):
                return
            script = tag if tag in ("sup", "sub") else ""
        if script and self._script(node, script):
            return
        special = _SPECIAL.get(tag)
        if special is not None:
            special(self, node, attributes)
            return
        if tag in _BLOCK_TAGS or (attributes and is_block_by_style(attributes)):
            self._block(node, tag)
        self._children(node)

    def _children(self, node: Any) -> None:
        self._stack.extend(reversed(list(node.iter(include_text=True))))

    def _block(self, node: Any, tag: str) -> None:
        builder = self._builder
        builder.open(tag)
        self._after_mark = False
        titled = tag in HEADING_TAGS or tag in ("summary", "dt")
        self._headings += titled

        def close() -> None:
            self._headings -= titled
            builder.close(tag)

        self._stack.append(close)

    def _script(self, node: Any, script: str) -> bool:
        """Write a superscript or subscript; False if it holds blocks."""
        children = list(node.iter())
        if any(child.tag in _BLOCK_TAGS or child.tag in ("img", "math", "input", "table", "br") for child in children):
            return False
        content = " ".join(node.text().replace("\xad", "").split())
        if not content:
            return True
        after = node.next
        before = self._builder.tail()
        slash = after.text()[:1] in ("/", "⁄") if after is not None and after.tag == "-text" else False
        if "\n" not in before and before[-1:].isspace() and before.strip() and not content[0].isdigit():
            before = before.rstrip() if script == "sub" else before
        linked = children[0] if len(children) == 1 and children[0].tag == "a" else None
        reference = is_reference(node) or (linked is not None and is_reference(linked))
        if linked is not None and not any(character.isalnum() or character in "*†‡§" for character in content):
            return True  # back to the text: ↩
        fraction = (script == "sup" and slash) or (script == "sub" and before[-1:] in ("/", "⁄"))
        written = scripted(content, before, above=script == "sup", reference=reference, fraction=fraction)
        self._write(written)
        self._after_mark = not fraction and is_written_mark(written)
        return True

    def _link(self, node: Any, attributes: Attributes) -> None:
        target = attributes.get("href") or ""
        if "#" in target or is_note(attributes) or attributes.get("role") == "doc-backlink":
            content = short_text(node)
            if content and not any(character.isalnum() for character in content) and content[0] not in "*†‡[(":
                return  # a link to its own heading or back to the text: ¶ # ↩
            if content and (is_note(attributes) or re.fullmatch(r"\[[^\[\]\s]{1,12}\]", content)):
                before = self._builder.tail()
                mark = content if not content[0].isalnum() else f"[{content}]"
                self._write(mark if not before or before[-1].isspace() else f" {mark}")
                self._after_mark = True
                return
        before_link = node.prev
        if before_link is not None and before_link.tag == "a":
            self._write(" ")
        self._children(node)

    def _line_break(self, node: Any, attributes: Attributes) -> None:
        self._builder.line_break()
        self._after_mark = False

    def _code(self, node: Any, attributes: Attributes) -> None:
        self._builder.put(code_text(node), kind="code")

    def _math(self, node: Any, attributes: Attributes) -> None:
        text = linear(node)
        if (attributes.get("display") or "") == "block":
            self._builder.put(text)
            return
        before = self._builder.tail()
        self._write(f" {text}" if before[-1:].isalnum() else text)
        self._after_mark = True  # a word after it is not part of it

    def _image(self, node: Any, attributes: Attributes) -> None:
        if (attributes.get("role") or "") not in ("presentation", "none"):
            self._apart(" ".join((attributes.get("alt") or "").split()))

    def _drawing(self, node: Any, attributes: Attributes) -> None:
        self._apart(" ".join(drawing_labels(node)))

    def _ruby(self, node: Any, attributes: Attributes) -> None:
        self._write("(")
        self._stack.append(lambda: self._write(")"))
        self._children(node)

    def _quotation(self, node: Any, attributes: Attributes) -> None:
        self._write("“")
        self._stack.append(lambda: self._write("”"))
        self._children(node)

    def _input(self, node: Any, attributes: Attributes) -> None:
        kind = (attributes.get("type") or "text").lower()
        if kind in ("checkbox", "radio"):
            self._apart("[x]" if "checked" in attributes else "[ ]")
        elif kind not in _TYPED:
            self._apart(attributes.get("value") or "")

    def _text_area(self, node: Any, attributes: Attributes) -> None:
        self._apart(node.text())

    def _select(self, node: Any, attributes: Attributes) -> None:
        self._apart(", ".join(shown_options(node)))

    def _button(self, node: Any, attributes: Attributes) -> None:
        if self._headings:  # the title of a part that opens on a click
            self._children(node)

    def _list(self, node: Any, attributes: Attributes) -> None:
        builder = self._builder
        builder.open("list")
        self._lists.append(ListMarkers.of(node))

        def close() -> None:
            self._lists.pop()
            builder.close("list")

        self._stack.append(close)
        self._children(node)

    def _item(self, node: Any, attributes: Attributes) -> None:
        builder = self._builder
        builder.open("item", marker=self._lists[-1].next(attributes.get("value")) if self._lists else "- ")
        self._after_mark = False
        self._stack.append(lambda: builder.close("item"))
        self._children(node)

    def _definitions(self, node: Any, attributes: Attributes) -> None:
        builder = self._builder
        builder.open("list")
        self._terms.append("")

        def close() -> None:
            self._end_term()
            self._terms.pop()
            builder.close("list")

        self._stack.append(close)
        self._children(node)

    def _end_term(self) -> None:
        """Write a term that no definition follows."""
        if self._terms and self._terms[-1]:
            self._builder.put(self._terms[-1])
            self._terms[-1] = ""

    def _term(self, node: Any, attributes: Attributes) -> None:
        children = list(node.iter())
        if not self._terms or any(child.tag in _BLOCK_TAGS or child.tag in _OWN_BLOCKS for child in children):
            self._end_term()
            self._block(node, "dt")
            self._children(node)
            return
        outer = self._builder
        outer.open("dt")
        blocks = _part_of(self._count)
        inner = self._builder = BlockBuilder(blocks)
        self._headings += 1

        def close() -> None:
            self._headings -= 1
            inner.end()
            self._builder = outer
            term = " ".join(blocks.extracted().text.split())
            if self._terms[-1] and term:
                term = f"{self._terms[-1]}, {term}"
            self._terms[-1] = term or self._terms[-1]

        self._stack.append(close)
        self._children(node)

    def _definition(self, node: Any, attributes: Attributes) -> None:
        builder = self._builder
        term = ""
        if self._terms and self._terms[-1]:
            term, self._terms[-1] = self._terms[-1], ""
        blocks = (child.tag in _BLOCK_TAGS or child.tag in _OWN_BLOCKS for child in node.iter())
        if term and (node.child is None or any(blocks)):
            builder.put(term)
            term = ""
        builder.open("item", marker=f"{term}{'' if term[-1] in ':?!.' else ':'} " if term else "")

        def close() -> None:
            builder.close("item")

        self._stack.append(close)
        self._children(node)

    def _table(self, node: Any, attributes: Attributes) -> None:
        builder = self._builder
        if node.mem_id in self._layout_ids or (attributes.get("role") or "") in ("presentation", "none"):
            builder.open("layout")
            self._tables.append(None)

            def close_layout() -> None:
                self._tables.pop()
                builder.close("layout")

            self._stack.append(close_layout)
        else:
            builder.open("p")
            table = _Table(builder)
            self._tables.append(table)

            def close() -> None:
                self._tables.pop()
                self._builder = builder
                builder.close("p")
                self._end_table(table)

            self._stack.append(close)
        self._children(node)

    def _end_table(self, table: _Table) -> None:
        lines = "\n".join(grid_lines(table.rows, self._count))
        texts = [table.caption, lines, *table.after]
        outer = next((outer for outer in reversed(self._tables) if outer is not None), None)
        if outer is not None and outer.cell is not None:
            outer.after += [text for text in texts if text]  # a table within a cell comes after the outer one
            return
        for text in texts:
            table.builder.put(text, kind="table" if text == lines else None)

    def _row(self, node: Any, attributes: Attributes) -> None:
        table = self._tables[-1] if self._tables else None
        if table is None:
            self._block(node, "p")
        else:
            table.rows.append([])
        self._children(node)

    def _cell(self, node: Any, attributes: Attributes) -> None:
        table = self._tables[-1] if self._tables else None
        if table is None:
            self._block(node, "p")
            self._children(node)
            return
        table.rows = table.rows or [[]]
        outer, blocks = self._builder, _part_of(self._count)
        inner = self._builder = BlockBuilder(blocks)
        table.cell = blocks
        self._after_mark = False

        def close() -> None:
            inner.end()
            self._builder = outer
            table.cell = None
            text = " ".join(blocks.extracted().text.split())
            columns = span_of(attributes.get("colspan"), _WIDEST)
            rows = span_of(attributes.get("rowspan"), _HIGHEST)
            table.rows[-1].append(Cell(text, columns, rows, node.tag == "th" or is_bold_head(node)))

        self._stack.append(close)
        self._children(node)

    def _caption(self, node: Any, attributes: Attributes) -> None:
        table = self._tables[-1] if self._tables else None
        if table is None:
            self._block(node, "caption")
            self._children(node)
            return
        outer, blocks = self._builder, _part_of(self._count)
        inner = self._builder = BlockBuilder(blocks)

        def close() -> None:
            inner.end()
            self._builder = outer
            table.caption = f"{table.caption} {' '.join(blocks.extracted().text.split())}".strip()

        self._stack.append(close)
        self._children(node)


_OWN_BLOCKS = frozenset({"ul", "ol", "menu", "table", "pre", "dl"})

_SPECIAL: dict[str, Callable[[_Walk, Any, Attributes], None]] = {
    "a": _Walk._link,
    "br": _Walk._line_break,
    "pre": _Walk._code,
    "listing": _Walk._code,
    "xmp": _Walk._code,
    "math": _Walk._math,
    "img": _Walk._image,
    "svg": _Walk._drawing,
    "rt": _Walk._ruby,
    "q": _Walk._quotation,
    "input": _Walk._input,
    "textarea": _Walk._text_area,
    "select": _Walk._select,
    "button": _Walk._button,
    "li": _Walk._item,
    "dl": _Walk._definitions,
    "dt": _Walk._term,
    "dd": _Walk._definition,
    "table": _Walk._table,
    "tr": _Walk._row,
    "td": _Walk._cell,
    "th": _Walk._cell,
    "caption": _Walk._caption,
} | dict.fromkeys(_LISTS, _Walk._list)


def _part_of(count: Callable[[int], None]) -> Blocks:
    """Blocks whose characters count for the whole document."""
    return Blocks(counted_by=count)
