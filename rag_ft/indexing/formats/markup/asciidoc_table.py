"""AsciiDoc's tables: cells in rows, by the number of columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

_SPEC = re.compile(
    r"(?:^|(?<=[\s|!¦:;,]))(?:(?P<columns>\d{1,3})?(?:\.(?P<rows>\d{1,5}))?(?P<how>[+*]))?[<^>]?(?:\.[<^>])?(?P<style>[aehlmdsv])?\Z"
)
_COLUMN = re.compile(r"\s*(?:(\d{1,3})\*)?[^a-z]*([aehlmdsv])?\s*\Z")
_WIDEST = 1_000


class TableCell(NamedTuple):
    """A cell as it is written."""

    text: str
    columns: int = 1
    rows: int = 1
    style: str = ""


class Table(NamedTuple):
    """Rows of cells, and whether the first one names the columns."""

    rows: list[list[TableCell]]
    header: bool


def read_table(lines: Sequence[str], attributes: dict[str, str], separator: str) -> Table:
    """Read the lines between a table's delimiters. `attributes`: `cols`, `options`, `format`, `separator`."""
    options = attributes.get("options", attributes.get("opts", ""))
    styles = _styles(attributes.get("cols", ""))
    kind = attributes.get("format", "csv" if separator == "," else "dsv" if separator == ":" else "psv")
    separator = attributes.get("separator", {"csv": ",", "dsv": ":", "tsv": "\t"}.get(kind, separator))
    filled = [i for i, line in enumerate(lines) if line.strip()]
    implied = bool(filled) and filled[0] == 0 and len(lines) > 1 and not lines[1].strip() and len(filled) > 1
    header = "header" in options or (implied and "noheader" not in options)
    if kind in ("csv", "tsv", "dsv") and len(separator) == 1:
        cells = csv.reader([line for line in lines if line.strip()], delimiter=separator)
        return Table([[TableCell(cell.strip()) for cell in row] for row in cells], header)
    read = _cells(lines, separator)
    if not styles:
        first = lines[filled[0]] if filled else ""
        count = sum(cell.columns for cell in _cells([first], separator))
        styles = [""] * max(count, 1)
    return Table(_in_rows(read, styles), header)


def _styles(columns: str) -> list[str]:
    """The style of each column that `cols` names, `a` for AsciiDoc, `h` for headings."""
    styles: list[str] = []
    if columns.strip().isdigit():
        return [""] * min(int(columns), _WIDEST)
    for part in re.split(r"[,;]", columns) if columns.strip() else []:
        match = _COLUMN.match(part)
        if match is not None:
            styles += [match[2] or ""] * min(int(match[1] or 1), _WIDEST)
        else:
            styles.append("")
    return styles[:_WIDEST]


def _cells(lines: Sequence[str], separator: str) -> list[TableCell]:
    """Split lines at separators; what stands right before one says how its cell is made."""
    pieces = re.split(rf"(?<!\\){re.escape(separator)}", "\n".join(lines))
    cells: list[TableCell] = []
    spec: re.Match[str] | None = None
    for i, piece in enumerate(pieces):
        following = _SPEC.search(piece[-24:]) if i < len(pieces) - 1 else None
        body = piece[: len(piece) - (len(following[0]) if following is not None else 0)]
        if i > 0 or body.strip():
            text = body.replace(f"\\{separator}", separator).strip("\n").strip(" ")
            columns, rows, times, style = 1, 1, 1, ""
            if spec is not None:
                columns, rows = int(spec["columns"] or 1), int(spec["rows"] or 1)
                style = spec["style"] or ""
                if spec["how"] == "*":
                    times, columns, rows = columns, 1, 1
            cells += [TableCell(text, min(columns, _WIDEST), rows, style)] * min(times, _WIDEST)
        spec = following
    return cells


def _in_rows(cells: Sequence[TableCell], styles: list[str]) -> list[list[TableCell]]:
    """Cells in rows as wide as the table, with room for those that reach down from the rows above."""
    width = len(styles)
    rows: list[list[TableCell]] = []
    below: dict[int, int] = {}  # by row, the columns that cells of rows above take
    row: list[TableCell] = []
    used = 0
    for cell in cells:
        number = len(rows)
        column = min(used + below.get(number, 0), width - 1)
        row.append(cell if cell.style else cell._replace(style=styles[column]))
        used += cell.columns
        for i in range(number + 1, number + min(cell.rows, len(cells) + 1)):
            below[i] = below.get(i, 0) + cell.columns
        if used + below.get(number, 0) >= width:
            rows.append(row)
            row, used = [], 0
    return [*rows, row] if row else rows
