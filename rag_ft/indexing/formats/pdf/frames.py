"""Tables whose cells a page draws with rules → their cells, spans included."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rag_ft.indexing.formats.pdf.pieces import Piece
from rag_ft.indexing.formats.pdf.rules import Rules
from rag_ft.indexing.formats.pdf.table import Table, TableCell, is_header

_NEAR = 4.0
"""Points between rules that count as one."""
_LOWEST = 5.0
_MOST_CELLS = 20_000
_FEWEST_FILLED = 0.4


class Frame(NamedTuple):
    """The rules of one table: its rows and columns lie between them."""

    xs: list[float]
    ys: list[float]
    upright: list[list[tuple[float, float]]]
    """By x: from where to where a rule runs down."""
    level: list[list[tuple[float, float]]]
    """By y: from where to where a rule runs across."""

    def holds(self, piece: Piece) -> bool:
        """Whether a piece stands within."""
        middle = piece.baseline - 0.3 * piece.style.size
        return self.ys[0] < middle < self.ys[-1] and self.xs[0] < (piece.x0 + piece.x1) / 2 < self.xs[-1]


def frames_of(rules: Rules) -> Iterator[Frame]:
    """The frames of a page with at least two rows and two columns, from top to bottom."""
    band: list[tuple[float, float, float]] = []
    bottom = 0.0
    for x, top, end in sorted(rules.upright, key=lambda rule: rule[1]):
        if band and top > bottom + _NEAR:
            yield from _frame(band, bottom, rules)
            band = []
        bottom = max(bottom, end) if band else end
        band.append((x, top, end))
    if band:
        yield from _frame(band, bottom, rules)


def _frame(upright: Sequence[tuple[float, float, float]], bottom: float, rules: Rules) -> Iterator[Frame]:
    top = min(start for _, start, _ in upright)
    level = [(y, x0, x1) for y, x0, x1 in rules.level if top - _NEAR <= y <= bottom + _NEAR]
    xs, down = _clustered(upright)
    ys, across = _clustered(level)
    if len(xs) > 2 and len(ys) > 2 and len(xs) * len(ys) <= _MOST_CELLS:
        yield Frame(xs, ys, down, across)


def _clustered(rules: Sequence[tuple[float, float, float]]) -> tuple[list[float], list[list[tuple[float, float]]]]:
    """Places of rules, near ones as one, and what the rules at each of them cover."""
    places: list[float] = []
    covered: list[list[tuple[float, float]]] = []
    for place, start, end in sorted(rules):
        if not places or place - places[-1] > _NEAR:
            places.append(place)
            covered.append([])
        covered[-1].append((start, end))
    return places, [_merged(spans) for spans in covered]


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + _NEAR:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _covers(spans: list[tuple[float, float]], place: float) -> bool:
    position = bisect_right(spans, (place, float("inf"))) - 1
    return position >= 0 and place <= spans[position][1]


def framed_table(frame: Frame, pieces: Sequence[Piece]) -> Table | None:
    """The table of a frame; None if what it holds does not look like one."""
    width, height = len(frame.xs) - 1, len(frame.ys) - 1
    holders = _holders(frame, width, height)
    contents: dict[tuple[int, int], list[Piece]] = {}
    for piece in sorted(pieces, key=lambda piece: (piece.baseline, piece.x0)):
        row = min(max(bisect_right(frame.ys, piece.baseline - 0.3 * piece.style.size) - 1, 0), height - 1)
        first, count = 0, len(piece.starts)
        while first < count:
            column = _column(frame, piece, first)
            last = first + 1
            while last < count and _column(frame, piece, last) == column:
                last += 1
            holder = holders[row][min(max(column, 0), width - 1)]
            contents.setdefault(holder, []).append(piece.words(first, last) if last - first < count else piece)
            first = last
    cells = {holder for row in holders for holder in row}
    filled = {column for _, column in contents}
    spanned = {column for row in holders for column, holder in enumerate(row) if holder[1] != column}
    if len(contents) < 3 or len(contents) < _FEWEST_FILLED * len(cells) or len(filled | spanned) < width:
        return None
    rows = [_row(holders, contents, row, width) for row in range(height)]
    rows = [row for row in rows if row]
    heads = is_header([[cell for cell in row if cell.lines] for row in rows], [True] * (len(rows) - 1))
    if heads:
        rows[0] = [cell._replace(header=True) for cell in rows[0]]
    return Table(rows, heads, tuple(frame.xs[:-1]))


def _column(frame: Frame, piece: Piece, word: int) -> int:
    return bisect_right(frame.xs, (piece.spans[word * 2] + piece.spans[word * 2 + 1]) / 2) - 1


def _holders(frame: Frame, width: int, height: int) -> list[list[tuple[int, int]]]:
    """By row and column, the row and column at which the cell begins that is there."""
    holders: list[list[tuple[int, int]]] = []
    for row, (top, bottom) in enumerate(pairwise(frame.ys)):
        middle = (top + bottom) / 2
        line: list[tuple[int, int]] = []
        for column, (left, right) in enumerate(pairwise(frame.xs)):
            centre = (left + right) / 2
            if column and not _covers(frame.upright[column], middle):
                line.append(line[-1])
            elif row and not _covers(frame.level[row], centre) and holders[-1][column][1] == column:
                line.append(holders[-1][column])
            else:
                line.append((row, column))
        holders.append(line)
    return holders


def _row(
    holders: list[list[tuple[int, int]]], contents: dict[tuple[int, int], list[Piece]], row: int, width: int
) -> list[TableCell]:
    cells: list[TableCell] = []
    column = 0
    while column < width:
        holder = holders[row][column]
        columns = 1
        while column + columns < width and holders[row][column + columns] == holder:
            columns += 1
        if holder == (row, column):
            rows = 1
            while row + rows < len(holders) and holders[row + rows][column] == holder:
                rows += 1
            pieces = contents.get(holder, [])
            cells.append(TableCell(pieces, columns, rows))
        column += columns
    return cells
