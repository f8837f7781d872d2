"""The cells and rows of a sheet, as any format gives them."""

from __future__ import annotations

from typing import NamedTuple


class Cell(NamedTuple):
    """A cell that has text."""

    column: int
    """Its column, counted from 1."""
    text: str
    bold: bool = False
    span: int = 1
    """Columns that it is merged over."""


class SheetRow(NamedTuple):
    """A row of a sheet: its cells from left to right, and comments beside them."""

    number: int
    """The row's number, counted from 1."""
    cells: list[Cell]
    comments: tuple[tuple[int, str], ...] = ()
    """Column and text of each comment."""
