"""A table's cells → its rows, each a line that can be understood alone."""

from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from rag_ft.indexing.formats.grid import Cell, grid_lines
from rag_ft.indexing.formats.pdf.hyphens import Hyphens
from rag_ft.indexing.formats.pdf.pieces import Boxed, Piece, joined
from rag_ft.indexing.formats.pdf.rules import Rules, gaps

_DIGIT = re.compile(r"\d")
_TIGHT = 0.15
_LOOSE = 0.4
_FULL = 0.6
_FEWEST_RULES = 2


Columns: TypeAlias = list[list[list[Piece]]]
"""By column and line of a table, the pieces in it."""


class TableCell(NamedTuple):
    """A cell, and over how many columns and rows it goes."""

    lines: list[Piece]
    columns: int = 1
    rows: int = 1
    header: bool = False

    @property
    def text(self) -> str:
        """All of its lines."""
        return " ".join(line.text for line in self.lines)

    @property
    def bold(self) -> bool:
        """Whether all of it is."""
        return all(line.style.bold for line in self.lines)


class Table(NamedTuple):
    """Rows of cells, from top to bottom."""

    rows: list[list[TableCell]]
    header: bool
    """Whether the first row names the columns."""
    edges: tuple[float, ...]
    """Left edge of each column."""

    def written(self, hyphens: Hyphens, count: Callable[[int], None], names: Sequence[TableCell] = ()) -> list[Boxed]:
        """Each row as a line with the names of its columns. `names`: those of a table that this one continues."""
        code = _Code()
        rows = [[Cell(code.encoded(_content(cell, hyphens)), *cell[1:]) for cell in row] for row in self.rows]
        if not self.header:
            rows = [_with_labels(row) for row in rows]
        if names and not self.header:
            heads = [Cell(code.encoded(Boxed(_content(cell, hyphens).text)), *cell[1:]) for cell in names]
            unnamed = len(grid_lines(rows, count))
            lines = grid_lines([heads, *rows], count)[-unnamed:]
        else:
            lines = grid_lines(rows, count)
        return [code.decoded(line) for line in lines]


def _content(cell: TableCell, hyphens: Hyphens) -> Boxed:
    content = Boxed()
    for line in cell.lines:
        taken, gap = hyphens.join(content.text, line.text)
        content = joined((content[: len(content.text) - taken], line.content), gap) if content.text else line.content
    return content


class _Code:
    """Writes each character as one of its own, so that it is known again in whatever order the cells are written."""

    _FIRST, _LAST = 0xF0000, 0x10FFFD
    _PLAIN = " :"

    def __init__(self) -> None:
        self._characters: list[str] = []
        self._boxes: list[int] = []

    def encoded(self, content: Boxed) -> str:
        """A text of private characters; colons and spaces stay, and so do all beyond a hundred thousand."""
        parts: list[str] = []
        for character, box in zip(content.text, content.boxes, strict=True):
            if character in self._PLAIN or self._FIRST + len(self._characters) >= self._LAST:
                parts.append(character)
            else:
                parts.append(chr(self._FIRST + len(self._characters)))
                self._characters.append(character)
                self._boxes.append(box)
        return "".join(parts)

    def decoded(self, text: str) -> Boxed:
        """The text that was meant, with its boxes."""
        characters: list[str] = []
        boxes = array("i")
        for character in text:
            number = ord(character) - self._FIRST
            known = 0 <= number < len(self._characters)
            characters.append(self._characters[number] if known else character)
            boxes.append(self._boxes[number] if known else -1)
        return Boxed("".join(characters), boxes)


def _with_labels(row: list[Cell]) -> list[Cell]:
    """A row in which a label that ends in a colon is one with what follows it."""
    cells: list[Cell] = []
    for cell in row:
        if cells and cell.text and cells[-1].text.endswith(":") and cells[-1].columns == 1:
            cells[-1] = cells[-1]._replace(text=f"{cells[-1].text} {cell.text}")
        else:
            cells.append(cell)
    return cells


def table_of(
    columns: Sequence[Sequence[Sequence[Piece]]], heights: Sequence[tuple[float, float]], rules: Rules
) -> Table:
    """The table whose cells stand in these columns; `heights`: top and bottom of each line of it."""
    cells = [[TableCell(list(column[i])) for column in columns] for i in range(len(heights))]
    lefts = [min(piece.x0 for part in column for piece in part) for column in columns]
    rights = [max(piece.x1 for part in column for piece in part) for column in columns]
    ruled = [rules.parts(*gap, min(lefts), max(rights)) for gap in gaps(heights)]
    lines = _Lines(cells, heights, ruled, lefts, rights)
    rows: list[list[TableCell]] = []
    ends: list[int] = []  # the last line of each row
    for i, line in enumerate(cells):
        if rows and lines.continues(i):
            for cell, part in zip(rows[-1], line, strict=True):
                cell.lines.extend(part.lines)
            ends[-1] = i
        else:
            rows.append([TableCell(list(cell.lines)) for cell in line])
            ends.append(i)
    header = len(rows) > 1 and is_header(rows, [ruled[end] for end in ends[:-1]])
    if header:
        rows[0] = [cell._replace(header=True) for cell in rows[0]]
    return Table(rows, header, tuple(lefts))


class _Lines:
    """The lines of a table, of which some continue the row above."""

    def __init__(
        self,
        cells: list[list[TableCell]],
        heights: Sequence[tuple[float, float]],
        ruled: list[bool],
        lefts: list[float],
        rights: list[float],
    ) -> None:
        self._cells = cells
        self._heights = heights
        self._ruled = ruled
        self._lefts, self._rights = lefts, rights
        self._between = [below[0] - above[1] for above, below in itertools.pairwise(heights)]
        self._least = min(self._between, default=0.0)
        size = heights[0][1] - heights[0][0]
        # Rows that are set apart: then lines that are not are of one row.
        self._apart = sum(gap > self._least + _LOOSE * size for gap in self._between) * 4 >= len(self._between)
        self._framed = sum(ruled) >= _FEWEST_RULES and len(ruled) <= 3 * sum(ruled)

    def continues(self, i: int) -> bool:
        """Whether a line holds what cells of the row above could not hold on their own lines."""
        if self._ruled[i - 1]:
            return False
        line, above = self._cells[i], self._cells[i - 1]
        filled = [column for column, cell in enumerate(line) if cell.lines]
        lower = any(line[column].text[:1].islower() for column in filled)
        tight = self._between[i - 1] <= self._least + _TIGHT * (self._heights[i][1] - self._heights[i][0])
        if (self._framed or (tight and self._apart)) and (not line[0].lines or lower):
            return True
        if not tight or (line[0].lines and (len(filled) > 1 or not lower)):
            return False
        return all(self._is_full(above[column], column) for column in filled)

    def _is_full(self, cell: TableCell, column: int) -> bool:
        """Whether a cell's last line had no room for more."""
        if not cell.lines or len(cell.lines[-1].starts) < 2:
            return False
        left, right = self._lefts[column], self._rights[column]
        return cell.lines[-1].x1 - left > _FULL * (right - left)


def is_header(rows: Sequence[Sequence[TableCell]], ruled: Sequence[bool]) -> bool:
    """Whether the first row looks like names: by its font, by a rule below it, or as words above numbers."""
    first, body = rows[0], rows[1:]
    named = [column for column, cell in enumerate(first) if cell.lines]
    if len(named) < len(first) - 1 or not named:
        return False
    if all(first[column].bold for column in named):
        return not all(cell.bold for row in body for cell in row if cell.lines)
    if ruled[0] and sum(ruled[1:]) * 2 < max(len(ruled) - 1, 1):
        return True
    if any(_DIGIT.search(cell.text) for cell in first):
        return False
    for column in named:
        below = [row[column].text for row in body if row[column].lines]
        if below and sum(_DIGIT.search(text) is not None for text in below) > _FULL * len(below):
            return True
    return False
