"""Paragraphs and tables of all pages → blocks of text, with the box of each character."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence

from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.pdf.headings import Headings
from rag_ft.indexing.formats.pdf.hyphens import HYPHENS, Hyphens
from rag_ft.indexing.formats.pdf.paragraphs import STOP, Paragraph, code_of
from rag_ft.indexing.formats.pdf.pieces import Boxed, joined
from rag_ft.indexing.formats.pdf.table import Table, TableCell
from rag_ft.schema import BlockKind

_SPACES = re.compile(r"\s+")
_SAME_EDGE = 6.0


class Writer:
    """Writes the parts of a document in reading order.

    A paragraph that the end of a column or page cuts is one block, and so is a list. The last block is held until it
    is known whether the next part continues it.
    """

    def __init__(self, headings: Headings, hyphens: Hyphens) -> None:
        self.blocks = Blocks()
        self.boxes = array("i")
        """Number of the box of each character of the text."""
        self._headings = headings
        self._hyphens = hyphens
        self._page = 0
        self._page_offsets: list[int] = []  # offsets in the held text at which pages start
        self._held: list[Paragraph] = []  # a paragraph, or the items of a list
        self._length = 0  # of the held text
        self._table: Table | None = None  # the last table, if nothing has followed it

    def begin_page(self, page: int) -> None:
        """Start a page."""
        self._page = page
        self._page_offsets.append(-1)  # after what is held

    def add_paragraphs(self, paragraphs: Sequence[Paragraph]) -> None:
        """Add the paragraphs of a column."""
        for position, paragraph in enumerate(paragraphs):
            level = self._headings.level(self._page, paragraph)
            if level:
                self._flush()
                self._emit(_on_one_line(paragraph.content()), level)
            elif position == 0 and self._continues(paragraph):
                self._join(paragraph)
            else:
                if not (paragraph.kind == "item" and self._held and self._held[-1].kind == "item"):
                    self._flush()
                self._hold(paragraph)
            self._table = None

    def add_table(self, table: Table) -> None:
        """Add a table; one that goes on with the same columns after a page's end keeps their names."""
        self._flush()
        names: Sequence[TableCell] = ()
        before = self._table
        if before is not None and before.header and len(before.edges) == len(table.edges):
            if all(abs(one - two) < _SAME_EDGE for one, two in zip(before.edges, table.edges, strict=True)):
                names = before.rows[0]
        self._emit(joined(table.written(self._hyphens, self.blocks.count, names), "\n"), kind="table")
        self._table = before if names and not table.header else table

    def add_note(self, note: Boxed) -> None:
        """Add a note to the page."""
        self._flush()
        self._emit(note)
        self._table = None

    def end(self) -> None:
        """End the document."""
        self._flush()
        self._begin_pages()

    def _continues(self, paragraph: Paragraph) -> bool:
        """Whether a paragraph at the top of a column goes on with the held one."""
        if not self._held or paragraph.kind != "prose" or self._held[-1].kind == "code":
            return False
        if self._page_offsets.count(-1) > 1:
            return False  # there is a page without text between them
        last = self._held[-1].last
        if abs(last.style.size - paragraph.lines[0].style.size) > 0.06 * last.style.size:
            return False
        first = paragraph.lines[0]
        if not STOP.search(last.text):
            return first.text[:1].islower() or last.text.endswith(HYPHENS)
        if self._held[-1].kind == "item" or paragraph.begins_indented() or len(paragraph.lines) < 2:
            return False
        return last.text.endswith(".") and self._held[-1].is_cut(first) and last.style == first.style

    def _join(self, paragraph: Paragraph) -> None:
        held = self._held[-1]
        first, *rest = paragraph.parts
        before = self._length
        parts = len(held.parts)
        taken = held.join(first, self._hyphens)
        gap = sum(len(part.text) for part in held.parts[parts:-1])
        held.parts += rest
        held.lines += paragraph.lines
        start = before - taken + gap
        self._length = start + sum(len(part.text) for part in paragraph.parts)
        self._page_offsets = [start if offset < 0 else offset for offset in self._page_offsets]

    def _hold(self, paragraph: Paragraph) -> None:
        if self._held:
            start = self._length + 1
            self._page_offsets = [start if offset < 0 else offset for offset in self._page_offsets]
        else:
            self._begin_pages()
            self._page_offsets = []
        self._held.append(paragraph)
        self._length += sum(len(part.text) for part in paragraph.parts) + (len(self._held) > 1)

    def _begin_pages(self) -> None:
        """Start the pages of which nothing is written yet at the next block."""
        for offset in self._page_offsets:
            self.blocks.begin_page(max(offset, 0))
        self._page_offsets = []

    def _flush(self) -> None:
        """Write what is held."""
        if not self._held:
            return
        inner = [offset for offset in self._page_offsets if offset >= 0]
        later = [offset for offset in self._page_offsets if offset < 0]
        self._page_offsets = inner
        kind: BlockKind | None = None
        if self._held[0].kind == "item":
            kind = "list"
        elif self._held[0].kind == "code":
            kind = "code"
        content = code_of(self._held[0]) if kind == "code" else joined((item.content() for item in self._held), "\n")
        self._emit(content, kind=kind)
        self._page_offsets = later
        self._held = []
        self._length = 0

    def _emit(self, content: Boxed, level: int = 0, kind: BlockKind | None = None) -> None:
        """Write a block; pages that begin before it or in it start there."""
        self._begin_pages()
        if not content.text.strip():
            return
        start = len(content.text) - len(content.text.lstrip("\n"))
        content = content[start : len(content.text.rstrip("\n"))]
        self.blocks.count(len(content.text))
        gap = 2 if self.blocks.length else 0
        self.blocks.add(content.text, level, kind)
        self.boxes.extend((-1,) * gap)
        self.boxes.extend(content.boxes)


def _on_one_line(content: Boxed) -> Boxed:
    """A text with single spaces for all white space."""
    parts: list[Boxed] = []
    position = 0
    for match in _SPACES.finditer(content.text):
        if match.start() > position:
            parts.append(content[position : match.start()])
        position = match.end()
    if position < len(content.text):
        parts.append(content[position:])
    return joined(parts)
