"""Tables whose cells span rows and columns → lines of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rag_ft.indexing.formats.tables import table_rows


class Cell(NamedTuple):
    """A table cell as the source states it."""

    text: str
    columns: int = 1
    rows: int = 1
    header: bool = False


class _Slot(NamedTuple):
    cell: Cell
    first: bool
    """Whether the cell starts in this row."""


def grid_lines(rows: Sequence[Sequence[Cell]], count: Callable[[int], None]) -> list[str]:
    """Write each data row as one line, with column names where the table has them.

    A cell that spans rows or columns is repeated in each. Rows of header cells, also within the table, name the columns
    below; names above one another are joined. A cell as wide as the table is a line of its own. `count` is called with
    the length of every repeated text, and raises if there are too many.
    """
    grid = _filled(rows, max(map(len, rows), default=0), count)
    width = max(map(len, grid), default=0)
    lines: list[str] = []
    names: list[list[_Slot]] = []
    body: list[list[_Slot]] = []
    continued = False  # the names stood above other rows already
    for slots in grid:
        if width > 1 and len(slots) == width and len({id(slot.cell) for slot in slots}) == 1:
            if slots[0].first:
                lines += _section(names, body, continued)
                continued = bool(body)
                names, body = names if body else [], []
                lines += [slots[0].cell.text] if slots[0].cell.text else []
        elif all(slot.cell.header for slot in slots if slot.cell.text) and any(slot.cell.text for slot in slots):
            if body:
                lines += _section(names, body, continued)
                names, body, continued = [], [], False
            names.append(slots)
        else:
            body.append(slots)
    return lines + _section(names, body, continued)


_ALWAYS_WIDE = 32
_WEIGHT = 64
"""Characters that a repeated cell counts for, besides its text: it takes time and memory without any."""


def _filled(rows: Sequence[Sequence[Cell]], most_cells: int, count: Callable[[int], None]) -> list[list[_Slot]]:
    """Every row with a slot per column."""
    grid: list[list[_Slot]] = []
    open_cells: dict[int, tuple[Cell, int]] = {}  # by column: the cell from above, and for how many more rows
    for row in rows:
        slots: list[_Slot] = []
        cells = iter(row)
        cell = next(cells, None)
        while cell is not None or len(slots) in open_cells:
            column = len(slots)
            if column in open_cells:
                above, left = open_cells.pop(column)
                count(len(above.text) + _WEIGHT)
                slots.append(_Slot(above, first=False))
                if left > 1:
                    open_cells[column] = (above, left - 1)
                continue
            assert cell is not None
            for offset in range(min(cell.columns, max(most_cells, _ALWAYS_WIDE))):
                if offset and len(slots) in open_cells:
                    break  # cells overlap in a wrong table
                if offset:
                    count(len(cell.text) + _WEIGHT)
                if cell.rows > 1:
                    open_cells[len(slots)] = (cell, cell.rows - 1)
                slots.append(_Slot(cell, first=True))
            cell = next(cells, None)
        grid.append(slots)
    return grid


def _section(names: list[list[_Slot]], body: list[list[_Slot]], continued: bool) -> list[str]:
    """Rows below the same column names."""
    if not names:
        return [line for slots in body for line in _plain_row(slots)]
    if not body:
        return [] if continued else [line for slots in names for line in table_rows([_once(slots)], False)]
    joined: list[str] = []
    for column in range(max(map(len, names))):
        cells = {id(row[column].cell): row[column].cell.text for row in names if column < len(row)}
        joined.append(" ".join(text for text in cells.values() if text))
    texts = [[slot.cell.text for slot in slots] for slots in body]
    lines = table_rows([joined, *texts], True)
    with_names = len(lines) > sum(any(row) for row in texts)
    return lines[1:] if continued and with_names else lines


def _plain_row(slots: list[_Slot]) -> list[str]:
    cells = [slot.cell for slot in slots]
    if len(cells) == 2 and cells[0].header and not cells[1].header and cells[0].text and cells[1].text:
        return [f"{cells[0].text.rstrip(':')}: {cells[1].text}"]
    return table_rows([_once(slots)], False)


def _once(slots: list[_Slot]) -> list[str]:
    """Texts of a row without column names, where a repeated column says nothing."""
    return list({id(slot.cell): slot.cell.text for slot in slots}.values())
