"""The stories of OpenDocument (text, notes, text boxes, cells) → blocks in reading order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rag_ft.indexing.formats.blocks import BlockBuilder, Blocks
from rag_ft.indexing.formats.office.xml import local_name
from rag_ft.indexing.formats.opendocument.container import DRAW, LINK, TABLE, TEXT, Container
from rag_ft.indexing.formats.opendocument.line import Line, LineReader, chart_rows
from rag_ft.indexing.formats.opendocument.styles import Counter, Styles
from rag_ft.indexing.formats.tables import table_rows
from rag_ft.indexing.formats.word.names import whole_number
from rag_ft.indexing.formats.word.running import without_pages
from rag_ft.indexing.formats.word.table import MAX_SPAN, Cell, Row, table_lines

_MOST_ROWS = 1_000_000
_WEIGHT = 16
"""Characters that a repeated cell counts for, besides its text."""

_PASSED = {TEXT + name for name in ("section", "index-body", "index-title", "numbered-paragraph", "list-header")}
_PASSED |= {f"{TEXT}{name}-index" for name in ("alphabetical", "illustration", "object", "table", "user")}
_PASSED |= {TEXT + "table-of-content", TEXT + "bibliography"}
_PASSED |= {DRAW + name for name in ("text-box", "frame", "g", "a")}


class StoryWriter:
    """Writes stories to blocks. Notes and text boxes follow their paragraph, from a cell their table."""

    def __init__(self, container: Container, styles: Styles, blocks: Blocks) -> None:
        self._container = container
        self._styles = styles
        self._blocks = blocks
        self.builder = BlockBuilder(blocks)
        self._reader = LineReader(container, styles)
        self._running_reader = LineReader(container, styles, running=True)
        self._outline = Counter(styles.outline)
        self._counters: dict[str, Counter] = {}  # by the list's style
        self._by_id: dict[str, Counter] = {}
        self._cells: list[list[str]] = []  # texts of the open cells, from the outermost
        self._bold: list[list[bool]] = []
        self._later: list[Line] = []  # lines whose notes and boxes follow the outermost open table
        self._listing = 0
        self._code: list[str] = []  # lines of a code block that may go on
        self._start = ""  # what comes before the next paragraph of a note
        self.headings = True
        """Whether headings are headings; those within notes and cells are not."""

    def story(self, element: Any) -> None:
        """Write all that an element holds."""
        for node in element:
            self._part(node)
        self._end_code()

    def _end_code(self) -> None:
        """Write the lines of code that were read as one block."""
        lines, self._code = self._code, []
        self.builder.put("\n".join(lines).rstrip(), kind="code")

    def end(self) -> None:
        """End the document."""
        self.builder.end()

    def running(self, element: Any, written: set[str]) -> None:
        """Write a header or footer without page numbers, each text once in a document."""
        for paragraph in element.iter(TEXT + "p", TEXT + "h"):
            text = without_pages(self._running_reader.read(paragraph).text)
            if text and text not in written:
                written.add(text)
                self._put(text)

    def _part(self, node: Any) -> None:
        tag = node.tag
        if tag != TEXT + "p" and isinstance(tag, str):
            self._end_code()
        if tag == TEXT + "h":
            self._heading(node)
        elif tag == TEXT + "p":
            self._paragraph(self._reader.read(node), "")
        elif tag == TEXT + "list":
            self._list(node, 1, "", None)
        elif tag == TABLE + "table":
            self.table(node)
        elif tag in _PASSED:
            if not _is_hidden(node):
                self.story(node)
        elif tag == DRAW + "object":
            self._object(node)
        elif isinstance(tag, str) and tag.startswith(DRAW):
            self.story(node)

    def _heading(self, node: Any) -> None:
        level = max(whole_number(node.get(TEXT + "outline-level"), 1), 1)
        line = self._reader.read(node)
        cached = next((" ".join((part.text or "").split()) for part in node.iterchildren(TEXT + "number")), None)
        number = "" if node.get(TEXT + "is-list-header") == "true" else self._outline.next(level)
        number = number if cached is None else cached
        text = " ".join(line.text.split())
        if not text or self._cells or not self.headings or self._listing:
            self._paragraph(line, number)
            return
        self.builder.put(f"{number} {text}" if number and number != "-" else text, level)
        self._attached(line)

    def _paragraph(self, line: Line, marker: str) -> None:
        text = line.text
        if line.code is not None and not (marker or self._cells or self._listing or self._start):
            if text or self._code:
                self._code.append(line.code)
            if line.notes or line.boxes:
                self._end_code()
                self._attached(line)
            return
        self._end_code()
        if text and self._start:
            text, self._start = self._start + text, ""
        if self._cells:
            text = " ".join(text.split())
            self._cells[-1].append(f"{marker} {text}" if marker and text else text)
            if text:
                self._bold[-1].append(line.bold)
            self._later.append(line)
            return
        if self._listing and marker and text:
            self.builder.open("item", marker=f"{marker} ")
            self.builder.put(" ".join(text.split()))
            self.builder.close("item")
        else:
            self._put(text)
        self._attached(line)

    def _put(self, text: str) -> None:
        if text:
            self.builder.put(" ".join(text.split()) if self._listing else text)

    def _attached(self, line: Line) -> None:
        for start, body in line.notes:
            outer = self._start, self.headings
            self._start, self.headings = start, False
            self.story(body)
            self._start, self.headings = outer
        for box in line.boxes:
            self.story([box])

    def _list(self, element: Any, level: int, style: str, counter: Counter | None) -> None:
        own = element.get(TEXT + "style-name")
        if own and own != style:
            counter = None  # a list in a list, with numbers of its own
        style = own or style
        if counter is None:
            continued = self._by_id.get(element.get(TEXT + "continue-list") or "")
            if continued is None and element.get(TEXT + "continue-numbering") == "true":
                continued = self._counters.get(style)
            counter = continued or Counter(self._styles.list_levels(style))
            self._counters[style] = counter
            for name, value in element.items():
                if name.endswith("}id"):
                    self._by_id[value] = counter
        if not self._cells and not self._listing:
            self.builder.open("list")
        self._listing += not self._cells
        for item in element:
            if item.tag == TEXT + "list-header":
                self._item(item, level, style, counter, "")
            elif item.tag == TEXT + "list-item":
                given = item.get(TEXT + "start-value")
                holds_text = any(part.tag in (TEXT + "p", TEXT + "h") for part in item)
                start = None if given is None else whole_number(given, 1)
                self._item(item, level, style, counter, counter.next(level, start) if holds_text else "")
        self._listing -= not self._cells
        if not self._cells and not self._listing:
            self.builder.close("list")

    def _item(self, item: Any, level: int, style: str, counter: Counter, marker: str) -> None:
        for part in item:
            if part.tag == TEXT + "list":
                self._list(part, level + 1, style, counter)
            elif part.tag == TEXT + "h" and not self._cells:
                # A numbered heading, as programs write that convert from other formats.
                listing, self._listing = self._listing, 0
                self.builder.close("list")
                self._numbered_heading(part, marker)
                self.builder.open("list")
                self._listing = listing
                marker = ""
            elif part.tag == TEXT + "p":
                line = self._reader.read(part)
                self._paragraph(line, marker)
                marker = "" if line.text else marker
            else:
                self._part(part)

    def _numbered_heading(self, node: Any, marker: str) -> None:
        line = self._reader.read(node)
        text = " ".join(line.text.split())
        if text:
            level = max(whole_number(node.get(TEXT + "outline-level"), 1), 1)
            self.builder.put(f"{marker} {text}" if marker not in ("", "-") else text, level)
        self._attached(line)

    def _object(self, node: Any) -> None:
        """Write an embedded chart; other objects are pictures here."""
        root = self._container.part(f"{node.get(LINK + 'href') or ''}/content.xml")
        if root is None or next((part for part in root.iter() if local_name(part) == "chart"), None) is None:
            return
        titles, rows = chart_rows(root)
        for title in titles:
            self._put(title)
        if not self._cells:
            self._write_table(table_rows(rows, True))

    def table(self, element: Any) -> None:
        """Write a table as one block; one of a single cell is only a frame around its content."""
        rows = list(_rows(element, False))
        elements = [cell for row, _ in rows for cell in row if cell.tag == TABLE + "table-cell"]
        if len(elements) == 1 and not self._cells:
            self.story(elements[0])
            return
        outermost = not self._cells
        above: dict[int, tuple[Cell, int]] = {}
        grid: list[Row] = []
        for row, header in rows:
            cells = list(self._cells_of(row, above))
            repeated = min(whole_number(row.get(TABLE + "number-rows-repeated"), 1), _MOST_ROWS)
            if not any(cell.text for cell in cells):
                repeated = 1
            for _ in range(max(repeated, 1)):
                if repeated > 1:
                    self._blocks.count(sum(len(cell.text) + _WEIGHT for cell in cells))
                grid.append(Row(list(cells), header))
        lines = table_lines(grid, None, self._blocks.count)
        if not outermost:
            self._cells[-1].extend(lines)
            return
        self._write_table(lines)
        later, self._later = self._later, []
        for line in later:
            self._attached(line)

    def _write_table(self, lines: list[str]) -> None:
        self.builder.open("table")
        for line in lines:
            self.builder.put(line)
        self.builder.close("table")

    def _cells_of(self, row: Any, above: dict[int, tuple[Cell, int]]) -> Iterator[Cell]:
        """The cells of a row, those that span rows repeated. `above`: such cells by column, and for how many rows."""
        column = 0
        for node in row:
            repeated = min(max(whole_number(node.get(TABLE + "number-columns-repeated"), 1), 1), MAX_SPAN)
            if node.tag == TABLE + "covered-table-cell":
                for offset in range(repeated):
                    held = above.get(column + offset)
                    if held is not None and held[1] > 0:
                        self._blocks.count(len(held[0].text) + _WEIGHT)
                        above[column + offset] = (held[0], held[1] - 1)
                        yield held[0]
                column += repeated
            elif node.tag == TABLE + "table-cell":
                text, bold = self._cell(node)
                span = min(max(whole_number(node.get(TABLE + "number-columns-spanned"), 1), 1), MAX_SPAN)
                for _ in range(repeated):
                    self._blocks.count((repeated > 1) * (len(text) + _WEIGHT))
                    cell = Cell(text, column, span, bold)
                    above[column] = (cell, whole_number(node.get(TABLE + "number-rows-spanned"), 1) - 1)
                    yield cell
                    column += 1

    def _cell(self, element: Any) -> tuple[str, bool]:
        self._cells.append([])
        self._bold.append([])
        self.story(element)
        bold = self._bold.pop()
        return " ".join(filter(None, self._cells.pop())), bool(bold) and all(bold)


def _is_hidden(element: Any) -> bool:
    display = element.get(TEXT + "display")
    return bool(display == "none" or (display == "condition" and element.get(TEXT + "is-hidden") == "true"))


def _rows(element: Any, header: bool) -> Iterator[tuple[Any, bool]]:
    """The rows of a table, and whether each is one of its header rows."""
    for node in element:
        if node.tag == TABLE + "table-row":
            if node.get(TABLE + "visibility") != "collapse":
                yield node, header
        elif node.tag == TABLE + "table-header-rows":
            yield from _rows(node, True)
        elif node.tag in (TABLE + "table-rows", TABLE + "table-row-group"):
            yield from _rows(node, header)
