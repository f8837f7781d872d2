"""A table's cells → its rows, each a line that can be understood alone."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from rag_ft.indexing.formats.pdf.lines import Boxed, Piece, joined
from rag_ft.indexing.formats.pdf.rules import Rules, gaps
from rag_ft.indexing.formats.tables import table_rows

_DIGIT = re.compile(r"\d")
_TIGHT = 0.15
_LOOSE = 0.4
_FULL = 0.6
_FEWEST_RULES = 2


Columns: TypeAlias = list[list[list[Piece]]]
"""By column and line of a table, the pieces in it."""


class _Cell(NamedTuple):
    lines: list[Piece]

    @property
    def text(self) -> str:
        return " ".join(line.text for line in self.lines)

    @property
    def bold(self) -> bool:
        return all(line.style.bold for line in self.lines)


class Table(NamedTuple):
    """Rows of cells, from top to bottom."""

    rows: list[list[Boxed]]
    header: bool
    """Whether the first row names the columns."""
    edges: tuple[float, ...]
    """Left edge of each column."""

    def lines(self, names: Sequence[Boxed] = ()) -> list[Boxed]:
        """Each row as a line with the names of its columns; `names`: those of a table that this one continues."""
        if names and not self.header:
            rows = [list(names), *self.rows]
            return _written(rows, True)[-len(self.rows) :]
        return _written(self.rows, self.header)


def table_of(
    columns: Sequence[Sequence[Sequence[Piece]]], heights: Sequence[tuple[float, float]], rules: Rules
) -> Table:
    """The table whose cells stand in these columns; `heights`: top and bottom of each line of it."""
    cells = [[_Cell(list(column[i])) for column in columns] for i in range(len(heights))]
    lefts = [min(piece.x0 for part in column for piece in part) for column in columns]
    rights = [max(piece.x1 for part in column for piece in part) for column in columns]
    ruled = [rules.parts(*gap, min(lefts), max(rights)) for gap in gaps(heights)]
    lines = _Lines(cells, heights, ruled, lefts, rights)
    rows: list[list[_Cell]] = []
    ends: list[int] = []  # the last line of each row
    for i, line in enumerate(cells):
        if rows and lines.continues(i):
            for cell, part in zip(rows[-1], line, strict=True):
                cell.lines.extend(part.lines)
            ends[-1] = i
        else:
            rows.append([_Cell(list(cell.lines)) for cell in line])
            ends.append(i)
    header = len(rows) > 1 and _is_header(rows, [ruled[end] for end in ends[:-1]])
    boxed = [[joined(line.content for line in cell.lines) for cell in row] for row in rows]
    if not header:
        boxed = [_with_labels(row) for row in boxed]
    return Table(boxed, header, tuple(lefts))


def _with_labels(row: list[Boxed]) -> list[Boxed]:
    """A row in which a label that ends in a colon is one with what follows it."""
    cells: list[Boxed] = []
    for cell in row:
        if cells and cell.text and cells[-1].text.endswith(":"):
            cells[-1] = joined((cells[-1], cell))
        else:
            cells.append(cell)
    return cells


class _Lines:
    """The lines of a table, of which some continue the row above."""

    def __init__(
        self,
        cells: list[list[_Cell]],
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

    def _is_full(self, cell: _Cell, column: int) -> bool:
        """Whether a cell's last line had no room for more."""
        if not cell.lines or len(cell.lines[-1].starts) < 2:
            return False
        left, right = self._lefts[column], self._rights[column]
        return cell.lines[-1].x1 - left > _FULL * (right - left)


def _is_header(rows: Sequence[Sequence[_Cell]], ruled: Sequence[bool]) -> bool:
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


def _written(rows: Sequence[Sequence[Boxed]], header: bool) -> list[Boxed]:
    """Rows as `table_rows` writes them, with the boxes of their characters."""
    texts = table_rows([[cell.text for cell in row] for row in rows], header)
    names = rows[0] if header else []
    body = [row for row in (rows[1:] if header else rows) if any(cell.text for cell in row)]
    lines = [_line(row, names) for row in body]
    if len(texts) > len(body):  # names that stand above no cell
        lines.insert(0, joined((name for name in names if name.text), " | "))
    return [line if line.text == text else Boxed(text) for line, text in zip(lines, texts, strict=True)]


def _line(row: Sequence[Boxed], names: Sequence[Boxed]) -> Boxed:
    parts: list[Boxed] = []
    for column, cell in enumerate(row):
        if not cell.text:
            continue
        name = names[column] if column < len(names) else Boxed()
        name = name[: len(name.text.rstrip(":"))]
        parts.append(joined((name, cell), ": ") if name.text else cell)
    return joined(parts, " | ")
