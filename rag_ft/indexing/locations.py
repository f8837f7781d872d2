"""Where in a document a span stands: on which slide, in which sheet and cell."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from rag_ft.schema import Location, Passage
from rag_ft.text.spans import Span


class _Cells(NamedTuple):
    """The cells of a location, by their place in the document."""

    offsets: list[int]
    rows: list[int]
    columns: Sequence[int]

    @classmethod
    def of(cls, location: Location) -> _Cells:
        offsets = list(accumulate(location.cells[::3], initial=location.start))
        return cls(offsets[1:], list(accumulate(location.cells[1::3])), location.cells[2::3])

    def holding(self, start: int, end: int) -> tuple[int, int]:
        """The first cell of a span, and the one after its last; the first is -1 where the span starts before all."""
        return bisect.bisect_right(self.offsets, start) - 1, max(bisect.bisect_left(self.offsets, end), 0)


class Located:
    """The locations of a document, found without looking through all of its cells."""

    def __init__(self, locations: Sequence[Location]) -> None:
        self._locations = locations
        self._starts = [location.start for location in locations]
        self._cells: dict[int, _Cells] = {}

    def within(self, start: int, end: int) -> tuple[Location, ...]:
        """The locations of a span, with the cells of which it holds something."""
        first = max(bisect.bisect_right(self._starts, start) - 1, 0)
        last = bisect.bisect_left(self._starts, end)
        return tuple(self._cut(position, start, end) for position in range(first, last))

    def _cut(self, position: int, start: int, end: int) -> Location:
        location = self._locations[position]
        if not location.cells:
            return location
        if position not in self._cells:
            self._cells[position] = _Cells.of(location)
        cells = self._cells[position]
        first, after = cells.holding(start, end)
        begins = cells.offsets[first] if first >= 0 else location.start
        first = max(first, 0)
        numbers: list[int] = []
        offset, row = begins, 0
        for i in range(first, after):
            numbers += (cells.offsets[i] - offset, cells.rows[i] - row, cells.columns[i])
            offset, row = cells.offsets[i], cells.rows[i]
        return Location(start=begins, label=location.label, cells=tuple(numbers))


def location_of(passage: Passage, span: Span | None = None) -> str | None:
    """Say where a span of a passage (by default, all of it) stands: "slide 3", "sheet Prices, cell C12"."""
    if not passage.locations:
        return None
    start = passage.start + (0 if span is None else span.start)
    end = passage.end if span is None else passage.start + span.end
    within = Located(passage.locations).within(start, max(end, start + 1))
    if len(within) == 1:
        parts = (within[0].label, _cells_in_words(_Cells.of(within[0])))
        return ", ".join(filter(None, parts)) or None
    return f"{within[0].label} to {within[-1].label}" if within else None


def _cells_in_words(cells: _Cells) -> str:
    places = set(zip(cells.rows, cells.columns, strict=True))
    if len(places) == 1 and cells.columns[0]:
        return f"cell {column_letters(cells.columns[0])}{cells.rows[0]}"
    rows = sorted(set(cells.rows))
    if len(rows) > 1:
        return f"rows {rows[0]} to {rows[-1]}"
    return f"row {rows[0]}" if rows else ""


def column_letters(column: int) -> str:
    """Letters of a column as spreadsheets write them: 1 is A, 27 is AA."""
    letters = ""
    while column > 0:
        column, digit = divmod(column - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters
