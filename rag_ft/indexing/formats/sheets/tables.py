"""The rows of a sheet → its tables, row by row, with bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from rag_ft.indexing.formats.blocks import Blocks, LocatedCell
from rag_ft.indexing.formats.sheets.cells import Cell, SheetRow
from rag_ft.indexing.formats.sheets.header import SAMPLE_ROWS, named_rows, names_of

_FLUSHED_CHARS = 500_000
_LONG = 40
"""A single cell with more characters in a table of three columns is a line about it."""


def write_tables(blocks: Blocks, rows: Iterable[SheetRow], header_rows: Collection[int] = ()) -> None:
    """Write the tables of the sheet that was begun last: tables end at rows without text.

    `header_rows`: numbers of the rows of which the file says that they name columns.
    """
    source = iter(rows)
    row = next(source, None)
    while row is not None:
        if not row.cells and not row.comments:
            row = next(source, None)
            continue
        table = _Table(blocks, header_rows)
        previous = row.number - 1
        while row is not None and (row.cells or row.comments) and row.number == previous + 1:
            table.add(row)
            previous = row.number
            row = next(source, None)
        table.end()


class _Table:
    """A table under construction: a sample of rows until its column names are known, then line by line."""

    def __init__(self, blocks: Blocks, header_rows: Collection[int]) -> None:
        self._blocks = blocks
        self._header_rows = header_rows
        self._sample: list[SheetRow] | None = []
        self._names: dict[int, str] = {}
        self._unused: dict[int, tuple[str, int]] = {}  # names that no row has used yet, and where they stand
        self._width = 0
        self._lines: list[str] = []
        self._cells: list[LocatedCell] = []  # of the lines
        self._chars = 0
        self._go_on = False

    def add(self, row: SheetRow) -> None:
        """Add the next row."""
        if self._sample is None:
            self._write(row)
            return
        self._sample.append(row)
        if len(self._sample) > SAMPLE_ROWS:
            self._begin(self._sample)

    def end(self) -> None:
        """Write what is left."""
        if self._sample is not None:
            self._begin(self._sample)
        if self._unused:
            number = next(iter(self._unused.values()))[1]
            self._write(SheetRow(number, [Cell(column, name) for column, (name, _) in self._unused.items()]), False)
        self._flush()

    def _begin(self, sample: list[SheetRow]) -> None:
        """Find the column names, and write the rows so far."""
        self._sample = None
        self._width = max(len(row.cells) for row in sample)
        first = 0
        while first < len(sample) - 1 and _is_caption(sample, first):
            self._write(sample[first], False)
            first += 1
        table = sample[first:]
        named = 0
        if all(row.cells for row in table[:2]):
            marked = table[0].number in self._header_rows
            named = named_rows([row.cells for row in table if row.cells], marked)
        names = names_of([row.cells for row in table[:named]])
        self._names = {column: name for column, name in names.items() if name}
        where = table[named - 1].number if named else 0
        self._unused = {column: (name, where) for column, name in self._names.items()}
        for row in table[:named]:
            if row.comments:
                self._write(SheetRow(row.number, [], row.comments))
        for row in table[named:]:
            self._write(row)

    def _write(self, row: SheetRow, with_names: bool = True) -> None:
        """Write a row as a line."""
        cells = row.cells
        named = with_names and not self._is_line(cells)
        if named and self._names and any(cell.span > 1 for cell in cells):
            cells = self._repeated(cells)
        parts: list[str] = []
        located = self._cells
        offset = self._chars
        size, number, names = 0, row.number, self._names if named else {}
        for column, text, _, _ in cells:
            if column in names:
                text = f"{names[column]}: {text}"
                if self._unused:
                    self._unused.pop(column, None)
            located.append((offset, number, column))
            parts.append(text)
            offset += len(text) + 3
            size += len(text)
            if size > _FLUSHED_CHARS:  # one row may hold one long text many times
                self._blocks.count(size)
                size = 0
        for column, text in row.comments:
            located.append((offset, number, column))
            parts.append(text)
            offset += len(text) + 3
            size += len(text)
        if not parts:
            return
        line = _JOINED.join(parts)
        self._blocks.count(size + 3 * len(parts))
        self._lines.append(line)
        self._chars += len(line) + 1
        if self._chars > _FLUSHED_CHARS:
            self._flush()

    def _repeated(self, cells: Sequence[Cell]) -> list[Cell]:
        """A row's cells, those that span columns repeated under each of their names."""
        taken = {cell.column for cell in cells}
        more = [
            cell._replace(column=column, span=1)
            for cell in cells
            if cell.span > 1
            for column in self._names
            if cell.column < column < cell.column + cell.span and column not in taken
        ]
        return sorted([*cells, *more])

    def _is_line(self, cells: Sequence[Cell]) -> bool:
        """Whether a row is a line about the table: one cell that is long, as wide as the table, or begins with `#`."""
        if len(cells) != 1 or self._width < 2:
            return False
        cell = cells[0]
        return cell.span >= self._width or cell.text.startswith("#") or (self._width > 2 and len(cell.text) > _LONG)

    def _flush(self) -> None:
        if self._lines:
            self._blocks.add_rows("\n".join(self._lines), self._cells, self._go_on)
            self._go_on = True
            self._lines, self._cells, self._chars = [], [], 0


_JOINED = " | "


def _is_caption(rows: Sequence[SheetRow], position: int) -> bool:
    """Whether a row above a table has one cell only, while the rows below it have several."""
    row, below = rows[position], rows[position + 1 :]
    if len(row.cells) > 1:
        return False
    if not row.cells:
        return True
    if row.cells[0].span > 2 and any(len(other.cells) > 1 for other in below):
        return True
    return len(next((other.cells for other in below if len(other.cells) != 1), ())) > 1 and row.cells[0].span == 1


def one_line(text: str) -> str:
    """A cell's text on one line."""
    return " ".join(text.split()) if not text.isalnum() else text


def rows_of(records: Iterable[Sequence[str]]) -> Iterator[SheetRow]:
    """Rows of plain texts, counted from 1."""
    for number, record in enumerate(records, start=1):
        yield SheetRow(
            number, [Cell(column, text) for column, value in enumerate(record, start=1) if (text := one_line(value))]
        )
