"""Tables of Word documents → lines: which rows name the columns, and which cells go on in others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rag_ft.indexing.formats.tables import table_rows

MAX_SPAN = 63
"""Columns of a table in Word."""

_LONGEST_NAME = 80
_MOST_NAMES = 5  # rows
_EVIDENCE_ROWS = 2


@dataclass
class Cell:
    """A cell's text and place."""

    text: str
    column: int
    span: int = 1
    bold: bool = False
    """Whether all of its text is bold."""


@dataclass
class Row:
    """A row's cells, and whether it is repeated at the top of each page."""

    cells: list[Cell] = field(default_factory=list)
    header: bool = False

    @property
    def width(self) -> int:
        """Columns up to the end of its last cell."""
        return max((cell.column + cell.span for cell in self.cells), default=0)


def table_lines(rows: list[Row], headed: bool | None, count: Callable[[int], None]) -> list[str]:
    """Write a table as lines, data rows with the names of their columns.

    A row with one cell as wide as the table is a line of its own. `headed` says whether the table's style sets the
    first row apart; None: nothing says so. `count` is called with the length of each repeated text, and raises if
    there are too many.
    """
    rows = [row for row in rows if any(cell.text for cell in row.cells)]
    width = max((row.width for row in rows), default=0)
    lines: list[str] = []
    while rows and not rows[0].header and _is_line(rows[0], width):
        lines += _texts(rows.pop(0))
    names_end = _header_rows(rows, headed)
    if not names_end:
        return lines + table_rows([_texts(row) for row in rows], False)
    names = _names(rows[:names_end])
    section: list[list[str]] = [names]
    for row in rows[names_end:]:
        if _is_line(row, width):
            lines += _section(section, first=len(section) > 1) + _texts(row)
            section = [names]
        elif not (row.header and _names([row]) == names):
            section.append(_filled(row, count))
    return lines + _section(section, first=len(section) > 1 or not lines)


def _section(rows: list[list[str]], first: bool) -> list[str]:
    return table_rows(rows, True) if first else []


def _texts(row: Row) -> list[str]:
    return [cell.text for cell in row.cells if cell.text]


def _is_line(row: Row, width: int) -> bool:
    return width > 1 and len(_texts(row)) == 1 and max(cell.span for cell in row.cells if cell.text) == width


def _filled(row: Row, count: Callable[[int], None]) -> list[str]:
    """The texts of a row by column, that of a wide cell in each of its columns."""
    texts = [""] * row.width
    for cell in row.cells:
        count((cell.span - 1) * len(cell.text))
        texts[cell.column : cell.column + cell.span] = [cell.text] * cell.span
    return texts


def _names(rows: list[Row]) -> list[str]:
    """Column names; those of several rows are joined, from the top down."""
    names: list[list[str]] = [[] for _ in range(max(row.width for row in rows))]
    for row in rows:
        for cell in row.cells:
            for name in names[cell.column : cell.column + cell.span]:
                if cell.text and cell.text not in name:
                    name.append(cell.text)
    return [" ".join(name) for name in names]


def _header_rows(rows: list[Row], headed: bool | None) -> int:
    """Count the rows at the top that name the columns."""
    marked = next((index for index, row in enumerate(rows) if not row.header), len(rows))
    if len(rows) < 2 or marked == len(rows):
        return 0
    if 0 < marked <= _MOST_NAMES and all(
        len(cell.text) <= _LONGEST_NAME for row in rows[:marked] for cell in row.cells
    ):
        return marked
    return 1 if not marked and _could_name(rows[0], rows[1:]) and _names_columns(rows[0], rows[1:], headed) else 0


def _could_name(first: Row, others: list[Row]) -> bool:
    """Whether a row's cells could be names: short, different, without numbers; the first may be empty."""
    texts = [cell.text for cell in first.cells]
    named = [text for text in texts if text]
    return (
        len(named) >= max(len(texts) - 1, 1)
        and all(texts[1:])
        and len({text.casefold() for text in named}) == len(named)
        and all(len(text) <= _LONGEST_NAME and not text.endswith((".", ":", "?")) for text in named)
        and not any(_is_numeric(text) for text in named)
        and (len(texts) > 1 or all(len(row.cells) == 1 for row in others[:1]))
        and first.width >= max(row.width for row in others)
    )


def _names_columns(first: Row, others: list[Row], headed: bool | None) -> bool:
    """Whether something says that the first row names columns: bold type, its style, or numbers below words only."""
    bold = all(cell.bold for cell in first.cells if cell.text)
    if bold and not all(cell.bold for row in others for cell in row.cells if cell.text):
        return True
    if headed or (headed is None and len(first.cells) > 2):
        return len(first.cells) > 1
    return (
        len(others) >= _EVIDENCE_ROWS
        and headed is not False
        and any(
            all(cell.column != column or _is_numeric(cell.text) for row in others for cell in row.cells)
            for column in range(1, first.width)
        )
    )


def _is_numeric(text: str) -> bool:
    """Whether a text is mostly a number, perhaps with a unit."""
    return any(character.isdigit() for character in text) and sum(character.isalpha() for character in text) <= 4
