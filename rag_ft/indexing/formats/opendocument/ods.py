"""ODS: the sheets of a workbook as a person sees them, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.office.xml import local_name
from rag_ft.indexing.formats.opendocument.container import OFFICE, TABLE, TEXT, Container, body_of
from rag_ft.indexing.formats.opendocument.line import LineReader, comment_by
from rag_ft.indexing.formats.opendocument.styles import Styles
from rag_ft.indexing.formats.sheets.cells import Cell, SheetRow
from rag_ft.indexing.formats.sheets.tables import one_line, write_tables
from rag_ft.indexing.formats.word.names import whole_number
from rag_ft.indexing.formats.zip_container import open_zip
from rag_ft.indexing.locations import column_letters

_LAST_ROW = 1_048_576
_LAST_COLUMN = 16_384
_WEIGHT = 16
_MOST_NAMED = 100
_GROUPS = frozenset(TABLE + name for name in ("table-row-group", "table-rows", "table-header-rows"))


def read_ods(data: bytes) -> Extracted:
    """Read the sheets of a workbook in order, each under its name, cells as they are shown.

    Hidden sheets, rows and columns are left out, but not rows that a filter hides.
    """
    require_extra("formats", "reading ODS files", "lxml", "docx")
    with open_zip(data) as archive:
        container = Container(archive)
        content, common = container.content(), container.part("styles.xml")
        sheets = body_of(content, "spreadsheet", holds="sheets")
        styles = Styles(common, content)
        blocks = Blocks()
        hidden: list[str] = []
        without_value: list[str] = []
        for table in sheets.iterchildren(TABLE + "table"):
            name = one_line(table.get(TABLE + "name") or "")
            if styles.property("table", table.get(TABLE + "style-name"), TABLE + "display") == "false":
                hidden.append(name)
                continue
            rows = iter(_Sheet(table, name, LineReader(container, styles), blocks, without_value))
            first = next((row for row in rows if row.cells or row.comments), None)
            if first is not None:
                blocks.begin_location(f"sheet {name}")
                blocks.add(name, level=2)
                write_tables(blocks, chain([first], rows))
        title, metadata = container.properties()
    if hidden:
        metadata["hidden_sheets"] = list(hidden[:_MOST_NAMED])
    if without_value:
        metadata["formulas_without_value"] = list(without_value[:_MOST_NAMED])
    return blocks.extracted(title, metadata)


class _Sheet:
    """The rows of a sheet that are not hidden."""

    def __init__(self, table: Any, name: str, reader: LineReader, blocks: Blocks, without_value: list[str]) -> None:
        self._table = table
        self._name = name
        self._reader = reader
        self._blocks = blocks
        self._without_value = without_value
        self._above: dict[int, tuple[Cell, int]] = {}  # by column, cells that span rows, and for how many more
        self._hidden: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[SheetRow]:
        column = number = 1
        for node in self._table.iter(TABLE + "table-column"):
            repeated = max(whole_number(node.get(TABLE + "number-columns-repeated"), 1), 1)
            if node.get(TABLE + "visibility") == "collapse":
                self._hidden.append((column, column + repeated - 1))
            column += repeated
        for element in self._rows(self._table):
            repeated = min(max(whole_number(element.get(TABLE + "number-rows-repeated"), 1, _LAST_ROW), 1), _LAST_ROW)
            cells, comments = self._cells(element, number)
            if element.get(TABLE + "visibility") != "collapse" and (cells or comments):
                size = sum(len(cell.text) + _WEIGHT for cell in cells)
                for i in range(min(repeated, _LAST_ROW - number + 1)):
                    if repeated > 1:
                        self._blocks.count(size)
                    yield SheetRow(number + i, cells, comments)
            number += repeated

    def _rows(self, element: Any) -> Iterator[Any]:
        for node in element:
            if node.tag == TABLE + "table-row":
                yield node
            elif node.tag in _GROUPS:
                yield from self._rows(node)

    def _cells(self, row: Any, number: int) -> tuple[list[Cell], tuple[tuple[int, str], ...]]:
        cells: list[Cell] = []
        comments: list[tuple[int, str]] = []
        column = 1
        for node in row:
            repeated = max(whole_number(node.get(TABLE + "number-columns-repeated"), 1), 1)
            if node.tag == TABLE + "covered-table-cell" and self._above:
                for at in range(column, column + min(repeated, _LAST_COLUMN)):
                    held = self._above.get(at)
                    if held is not None and held[1] > 0:
                        self._above[at] = (held[0], held[1] - 1)
                        cells.append(held[0])
            elif node.tag == TABLE + "table-cell":
                text, bold = self._text(node, column, number, comments)
                if text:
                    span = max(whole_number(node.get(TABLE + "number-columns-spanned"), 1, _LAST_COLUMN), 1)
                    down = whole_number(node.get(TABLE + "number-rows-spanned"), 1, _LAST_ROW) - 1
                    for at in range(column, column + min(repeated, _LAST_COLUMN)):
                        self._blocks.count((repeated > 1) * (len(text) + _WEIGHT))
                        cells.append(Cell(at, text, bold, span))
                        if down > 0:
                            self._above[at] = (cells[-1], down)
            column += repeated
        if self._hidden:
            cells = [cell for cell in cells if not any(first <= cell.column <= last for first, last in self._hidden)]
        return cells, tuple(comments)

    def _text(self, cell: Any, column: int, number: int, comments: list[tuple[int, str]]) -> tuple[str, bool]:
        """The text of a cell as it is shown, and whether it is bold; its comment is added to the others."""
        lines: list[str] = []
        bold: list[bool] = []
        for node in cell:
            if node.tag == TEXT + "p":
                line = self._reader.read(node)
                lines.append(line.text)
                bold.append(line.bold)
            elif node.tag == OFFICE + "annotation":
                text = " ".join(self._reader.read(part).text for part in node if local_name(part) == "p")
                comments.append((column, comment_by(node) + one_line(text)))
        text = one_line(" ".join(lines))
        if not text and cell.get(TABLE + "formula") and cell.get(OFFICE + "value-type") is None:
            self._without_value.append(f"{self._name}!{column_letters(min(column, _LAST_COLUMN))}{number}")
        return text, bool(bold) and all(bold)
