"""XLSX: the sheets of a workbook as a person sees them, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.office.package import OfficePackage, refuse_binary, relation_id
from rag_ft.indexing.formats.sheets.cells import Cell, SheetRow
from rag_ft.indexing.formats.sheets.number_format import shown
from rag_ft.indexing.formats.sheets.tables import one_line, write_tables
from rag_ft.indexing.formats.sheets.workbook import (
    Merged,
    Style,
    column_number,
    drawn_texts,
    elements,
    extras_of,
    local_name,
    shared_texts,
    styles_of,
    text_of,
)
from rag_ft.indexing.formats.zip_container import open_zip
from rag_ft.indexing.locations import column_letters
from rag_ft.schema import Metadata

_MOST_NAMED = 100
_PLAIN = Style()
_LAST_ROW = 1_048_576
_LAST_COLUMN = 16_384


def read_xlsx(data: bytes) -> Extracted:
    """Read the sheets of a workbook in order, each under its name.

    Numbers and dates are written as their formats show them, formulas as the values that were saved with them. Hidden
    sheets, rows and columns are left out, but not rows that a filter or a closed group hides. Sheets that are damaged
    are named in the metadata as `unread_parts`; formulas that were saved without a value as `formulas_without_value`.
    """
    require_extra("formats", "reading XLSX files", "lxml", "docx")
    refuse_binary(data, ".xlsx")
    with open_zip(data) as archive:
        package = OfficePackage(archive, "xl/workbook.xml")
        reader = _WorkbookReader(package)
        reader.read()
        properties = package.core_properties()
    return reader.blocks.extracted(properties.get("title", ""), reader.metadata(properties.get("creator", "")))


class _WorkbookReader:
    """Reads the sheets of a workbook."""

    def __init__(self, package: OfficePackage) -> None:
        self.blocks = Blocks()
        self._package = package
        self._texts: list[str] = []
        self._styles: list[Style] = []
        self._from_1904 = False
        self._unread: list[str] = []
        self._hidden: list[str] = []
        self._without_value: list[str] = []

    def read(self) -> None:
        """Read all sheets that are not hidden."""
        package = self._package
        root = package.main_document()
        if local_name(root) != "workbook":
            raise Unreadable("is damaged (it lists no sheets), or of another format: use a complete copy")
        parts = {local_name(node): node for node in root}
        if "workbookPr" in parts:
            self._from_1904 = parts["workbookPr"].get("date1904") in ("1", "true")
        self._texts = shared_texts(package)
        self._styles = styles_of(package)
        self._unread = package.unread
        for sheet in parts.get("sheets", ()):
            name = one_line(sheet.get("name") or "")
            if sheet.get("state") in ("hidden", "veryHidden"):
                self._hidden.append(name)
                continue
            target = package.target(relation_id(sheet))
            if target is None or "chartsheet" in target or "dialogsheet" in target:
                if target is None:
                    self._unread.append(f"sheet {name}")
                continue
            try:
                self._read_sheet(name, target)
            except (Unreadable, MemoryError, RecursionError):
                raise
            except Exception:  # the container and the parser raise anything on a damaged sheet
                self._unread.append(f"sheet {name} is damaged")

    def metadata(self, author: str) -> Metadata:
        """What is known about the workbook beside its text."""
        metadata: Metadata = {"author": author} if author and author != "openpyxl" else {}
        if self._unread:
            metadata["unread_parts"] = list(self._unread[:_MOST_NAMED])
        if self._hidden:
            metadata["hidden_sheets"] = list(self._hidden[:_MOST_NAMED])
        if self._without_value:
            metadata["formulas_without_value"] = list(self._without_value)
        if self._package.has_macros:
            metadata["macros"] = "ignored"
        return metadata

    def _read_sheet(self, name: str, part: str) -> None:
        extras = extras_of(self._package, part)
        rows = _SheetRows(self, name, part, extras.merged, extras.filtered, extras.comments)
        drawn = [text for text in drawn_texts(self._package, part) if text]
        source = iter(rows)
        first = next((row for row in source if row.cells or row.comments), None)
        if first is None and not drawn:
            return
        self.blocks.begin_location(f"sheet {name}")
        self.blocks.add(name, level=2)
        if first is not None:
            write_tables(self.blocks, chain([first], source), extras.header_rows)
        for text in drawn:
            self.blocks.count(len(text))
            self.blocks.add(text)

    def value_of(self, cell: Any, style: Style, sheet: str, row: int, column: int) -> str:
        """The text of a cell as a person sees it."""
        kind = cell.get("t")
        value: str | None = None
        formula = False
        for node in cell:
            tag = node.tag
            if tag.endswith("}v"):
                value = node.text
            elif tag.endswith("}f"):
                formula = True
            elif tag.endswith("}is"):
                return text_of(node)
        if value is None:
            if formula and kind != "str":
                self._note_without_value(f"{sheet}!{column_letters(column)}{row}")
            return ""
        if kind == "s":
            number = int(value) if value.isdigit() and len(value) < 10 else -1
            return self._texts[number] if 0 <= number < len(self._texts) else ""
        if kind is None or kind == "n":
            return shown(value.strip(), style.code, self._from_1904)
        if kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        if kind == "d":
            return one_line(value.removesuffix("T00:00:00").replace("T", " "))
        return one_line(value)

    def _note_without_value(self, place: str) -> None:
        if len(self._without_value) < _MOST_NAMED:
            self._without_value.append(place)

    def style_of(self, cell: Any) -> Style:
        """The style of a cell."""
        number = cell.get("s")
        if number is None or not number.isdigit() or int(number[:9]) >= len(self._styles):
            return _PLAIN
        return self._styles[int(number)]

    def stream(self, part: str) -> Any:
        """Open the part of a sheet."""
        return self._package.stream(part)


class _SheetRows:
    """The rows of a sheet that are not hidden, merged cells repeated in each of their rows."""

    def __init__(
        self,
        book: _WorkbookReader,
        name: str,
        part: str,
        merged: list[Merged],
        filtered: bool,
        comments: dict[int, list[tuple[int, str]]],
    ) -> None:
        self._book = book
        self._name = name
        self._part = part
        self._filtered = filtered
        self._comments = comments
        self._merged = iter(merged)
        self._next_merged = next(self._merged, None)
        self._starting: dict[int, Merged] = {}  # by column, those that begin in the present row
        self._open: dict[int, tuple[Merged, Cell]] = {}  # by column, those with text that began above
        self._hidden_columns: list[tuple[int, int]] = []
        self._columns: dict[str, int] = {}

    def __iter__(self) -> Iterator[SheetRow]:
        number = 0
        with self._book.stream(self._part) as stream:
            for element in elements(stream, "row", "col"):
                if local_name(element) == "col":
                    self._column(element)
                    continue
                given = element.get("r") or ""
                number = int(given) if given.isdigit() and number < int(given[:9]) <= _LAST_ROW else number + 1
                row = self._row(element, number)
                if not self._is_hidden(element):
                    yield row

    def _column(self, element: Any) -> None:
        first, last = element.get("min") or "", element.get("max") or ""
        if element.get("hidden") in ("1", "true") and element.get("outlineLevel") in (None, "0"):
            if first.isdigit() and last.isdigit() and len(self._hidden_columns) < _LAST_COLUMN:
                self._hidden_columns.append((int(first[:6]), int(last[:6])))

    def _is_hidden(self, row: Any) -> bool:
        """Whether a row is hidden, but not by a filter or in a group that was closed: these a click opens."""
        return row.get("hidden") in ("1", "true") and row.get("outlineLevel") in (None, "0") and not self._filtered

    def _row(self, element: Any, number: int) -> SheetRow:
        self._begin_merged(number)
        cells: list[Cell] = []
        column = 0
        for node in element:
            letters = (node.get("r") or "").rstrip("0123456789")
            if letters not in self._columns:
                if len(letters) > 3 or not ((letters.isascii() and letters.isupper()) or not letters):
                    continue
                self._columns[letters] = column_number(letters)
            column = self._columns[letters] or column + 1
            style = self._book.style_of(node)
            text = self._book.value_of(node, style, self._name, number, column)
            if not text:
                continue
            span = 1
            if self._starting and column in self._starting:
                merged = self._starting[column]
                span = merged.last_column - merged.column + 1
                if merged.last_row > number:
                    self._open[column] = (merged, Cell(column, text, style.bold, span))
            cells.append(Cell(column, text, style.bold, span))
        if self._open:
            cells = self._with_open(cells, number)
        if self._hidden_columns:
            cells = [cell for cell in cells if not self._in_hidden_column(cell.column)]
        comments = tuple(self._comments.pop(number, ())) if self._comments else ()
        return SheetRow(number, cells, comments)

    def _begin_merged(self, number: int) -> None:
        if self._starting:
            self._starting = {}
        while self._next_merged is not None and self._next_merged.row <= number:
            if self._next_merged.row == number:
                self._starting[self._next_merged.column] = self._next_merged
            self._next_merged = next(self._merged, None)

    def _with_open(self, cells: list[Cell], number: int) -> list[Cell]:
        """A row's cells with those merged cells that began above."""
        here = {cell.column for cell in cells}
        for column, (merged, cell) in list(self._open.items()):
            if merged.last_row < number:
                del self._open[column]
            elif merged.row < number and column not in here:
                cells.append(cell)
        return sorted(cells)

    def _in_hidden_column(self, column: int) -> bool:
        return any(first <= column <= last for first, last in self._hidden_columns)
