"""Text under construction: blocks with the offsets of headings and pages, for any format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.limits import MAX_BLOCKS, MAX_CELLS, check_document_size
from rag_ft.schema import Block, BlockKind, Heading, Location, Metadata

HEADING_TAGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_GAPS = re.compile(r"\n{3,}")

KEPT_SPACE = "\ufdd0"
"""Becomes a space that is not joined with its neighbours: a character that no text holds."""

_TAIL = 40

_NO_TITLE = frozenset(("untitled", "untitled document", "unbenannt", "ohne titel", "sans titre", "sin título"))
"""Titles that programs write into the properties of a file without one."""


LocatedCell: TypeAlias = tuple[int, int, int]
"""A cell of a block: its offset in it, its row and its column, both counted from 1; column 0 for a whole row."""


class Blocks:
    """Text under construction, block by block, with the offsets of headings and pages."""

    def __init__(self, counted_by: Callable[[int], None] | None = None) -> None:
        """Start empty; blocks that are part of a larger document are counted by its `count`."""
        self._parts: list[str] = []
        self._counted = 0
        self._counted_by = counted_by
        self.length = 0
        self.headings: list[Heading] = []
        self.page_starts: list[int] = []
        self.kinds: list[Block] = []
        """The blocks that are not prose; no more than `MAX_BLOCKS`."""
        self._locations: list[_OpenLocation] = []
        self._cells = 0

    def add(
        self, text: str, level: int = 0, kind: BlockKind | None = None, code: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Add a block unchanged, or with a level a heading on one line; blank text is ignored.

        `kind`: None for prose. `code`: spans of a list that are code blocks.
        """
        text = text.strip("\n") if level == 0 else " ".join(text.split())
        if not text.strip():
            return
        if self._parts:
            self._parts.append("\n\n")
            self.length += 2
        if level:
            self.headings.append(Heading(start=self.length, level=min(level, 6), text=text))
        if kind is not None and not level:
            end = 0
            for start, stop in code:
                self._name(end, start, kind)
                self._name(start, stop, "code")
                end = stop
            self._name(end, len(text), kind)
        self._parts.append(text)
        self.length += len(text)

    def append(self, part: Extracted, *, deeper: int = 0) -> None:
        """Add the text of a document that is a part of this one, with its headings some levels deeper."""
        if not part.text.strip():
            return
        if self._parts:
            self._parts.append("\n\n")
            self.length += 2
        for heading in part.headings:
            level = min(heading.level + deeper, 6)
            self.headings.append(Heading(start=self.length + heading.start, level=level, text=heading.text))
        for block in part.blocks:
            self._name(block.start, block.end, block.kind)
        self._parts.append(part.text)
        self.length += len(part.text)

    def _name(self, start: int, end: int, kind: BlockKind) -> None:
        """Say of which kind a part of the next block is. Beyond `MAX_BLOCKS` all text counts as prose."""
        if start < end and len(self.kinds) < MAX_BLOCKS:
            self.kinds.append(Block(start=self.length + start, end=self.length + end, kind=kind))

    def count(self, chars: int) -> None:
        """Count characters on their way to a block, with every copy of cells into rows and of rows into outer cells.

        Raises Unreadable if there are more than are read.
        """
        if self._counted_by is not None:
            self._counted_by(chars)
            return
        self._counted += chars
        check_document_size(self._counted, len(self.headings), len(self.page_starts))

    def begin_page(self, offset: int = 0) -> None:
        """Start a page at the next block, or at an offset in it."""
        # The gap before the page's first block belongs to the previous page.
        self.page_starts.append((self.length + 2 if self._parts else 0) + offset)

    def begin_location(self, label: str) -> None:
        """Start a slide or a sheet at the next block."""
        self._locations.append(_OpenLocation(self.length + 2 if self._parts else 0, label, []))

    def add_rows(self, text: str, cells: Sequence[LocatedCell], go_on: bool = False) -> None:
        """Add rows of the sheet that was begun last, one per line; `go_on`: to the table that was added last.

        Of more than `MAX_CELLS` cells, only the rows are kept.
        """
        place = self._locations[-1]
        start = self.length + (1 if go_on else 2 if self._parts else 0)
        room = MAX_CELLS - self._cells
        if room < len(cells):
            kept = [*cells[: max(room, 0)], *_first_of_rows(cells[max(room, 0) :])]
            cells = kept[: max(2 * MAX_CELLS - self._cells, 0)]
        self._cells += len(cells)
        numbers, offset_before, row_before = place.numbers, place.offset - start, place.row
        for offset, row, column in cells:
            numbers.extend((offset - offset_before, row - row_before, column))
            offset_before, row_before = offset, row
        place.offset, place.row = start + offset_before, row_before
        if not go_on:
            self.add(text, kind="table")
            return
        self._parts.append("\n" + text)
        self.length += len(text) + 1
        if self.kinds and self.kinds[-1].end == start - 1:
            self.kinds[-1] = Block(start=self.kinds[-1].start, end=self.length, kind="table")

    def extracted(self, title: str = "", metadata: Metadata | None = None) -> Extracted:
        """Join the blocks; without a real title, the first heading of level 1 is the title."""
        if title.strip().casefold() in _NO_TITLE:
            title = ""
        first = next((heading.text for heading in self.headings if heading.level == 1), "")
        text = "".join(self._parts)
        # A last page without text starts where the text ends.
        pages = tuple(min(start, len(text)) for start in self.page_starts)
        return Extracted(
            text,
            title or first,
            tuple(self.headings),
            pages,
            metadata or {},
            tuple(self.kinds),
            locations=tuple(place.closed(len(text)) for place in self._locations),
        )


def _first_of_rows(cells: Sequence[LocatedCell]) -> Iterator[LocatedCell]:
    """A cell for each whole row."""
    row_before = 0
    for offset, row, _ in cells:
        if row != row_before:
            yield (offset, row, 0)
            row_before = row


class _OpenLocation:
    """A location whose cells are still counted."""

    def __init__(self, start: int, label: str, numbers: list[int]) -> None:
        self.start = start
        self.label = label
        self.numbers = numbers
        self.offset = start
        self.row = 0

    def closed(self, length: int) -> Location:
        """The location, with all of its cells."""
        return Location(start=min(self.start, length), label=self.label, cells=tuple(self.numbers))


class BlockBuilder:
    """Builds blocks from the parts of a document in reading order.

    A list or table is one block with one line per item or row. Everything inside an item or cell stays on its line,
    inner tables and lists too.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._text: list[list[str]] = [[]]  # running text that is not in a block yet, by line
        self._lines: list[str] = []  # lines of the outermost open list or table
        self._depth = 0  # open lists and tables
        self._outer: BlockKind = "list"  # kind of the outermost open list or table
        self._code: list[tuple[int, int]] = []  # of its lines, the spans that are code
        self._chars = 0  # characters of its lines, line ends included
        self._marker = ""  # marker of the item whose first line comes next
        self._numbers: list[int | None] = []  # number of the next item of each open list; None: not numbered
        self._rows: list[list[list[str]]] = []  # open rows, each the parts of its cells

    def text(self, text: str) -> None:
        """Add running text; white space in it becomes a space."""
        if text:
            self._text[-1].append(text)

    def tail(self) -> str:
        """The last characters of the running text on this line, as they were added."""
        tail = ""
        for part in reversed(self._text[-1]):
            tail = part[-_TAIL:] + tail
            if len(tail) >= _TAIL:
                break
        return tail

    def line_break(self) -> None:
        """Start a new line within the running text."""
        self._text.append([])

    def put(self, text: str, level: int = 0, kind: BlockKind | None = None) -> None:
        """Add a whole paragraph, or with a level a heading, unchanged; `kind` "code" for a code block."""
        self._end_text()
        self._put(text, level, kind)

    def open(self, kind: str, first: int | None = None, marker: str | None = None) -> None:
        """Open a "list" (`first`: its first number), "item" (`marker`: if not counted here), "table", "row" or "cell".

        Any other kind is a paragraph, or an element that contains paragraphs.
        """
        self._end_text()
        if kind in ("list", "table"):
            if self._depth == 0:
                self._outer = "list" if kind == "list" else "table"
            self._depth += 1
        if kind == "list":
            self._numbers.append(first)
        elif kind == "item":
            number = self._numbers[-1] if self._numbers else None
            self._marker = marker if marker is not None else ("- " if number is None else f"{number}. ")
            if number is not None:
                self._numbers[-1] = number + 1
        elif kind == "row":
            self._rows.append([])
        elif kind == "cell" and self._rows:
            self._rows[-1].append([])

    def close(self, kind: str) -> None:
        """Close what was opened last; a kind "h1" to "h6" turns the text since then into a heading."""
        self._end_text(int(kind[1]) if kind in HEADING_TAGS else 0)
        if kind == "item":
            self._marker = ""
        elif kind == "row":
            self._put(" | ".join(" ".join(parts) for parts in self._rows.pop()))
        elif kind in ("list", "table"):
            if kind == "list":
                self._numbers.pop()
            self._depth -= 1
            if self._depth == 0:
                self._end_lines()

    def end(self) -> None:
        """End the document."""
        self._end_text()
        self._end_lines()

    def _put(self, text: str, level: int = 0, kind: BlockKind | None = None) -> None:
        if not text.strip():
            return
        text = text.strip("\n")
        self._blocks.count(len(text))
        if self._rows and self._rows[-1]:
            self._rows[-1][-1].append(self._marker + text.replace("\n", " "))
        elif level:
            self._end_lines()
            self._blocks.add(text, level)
        elif self._depth:
            line = self._marker + text
            if kind == "code":
                self._code.append((self._chars, self._chars + len(line)))
            self._lines.append(line)
            self._chars += len(line) + 1
        else:
            self._blocks.add(self._marker + text, kind=kind)
        self._marker = ""

    def _end_text(self, level: int = 0) -> None:
        text = "\n".join(" ".join("".join(line).split()) for line in self._text)
        self._text = [[]]
        self._put(_GAPS.sub("\n\n", text.strip()).replace(KEPT_SPACE, " "), level)

    def _end_lines(self) -> None:
        self._blocks.add("\n".join(self._lines), kind=self._outer, code=self._code)
        self._lines, self._code, self._chars = [], [], 0
