"""The stories of a Word document (text, notes, text boxes, headers) → blocks in reading order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rag_ft.indexing.formats.blocks import BlockBuilder, Blocks
from rag_ft.indexing.formats.office.package import OfficePackage, relation_id
from rag_ft.indexing.formats.tables import table_rows
from rag_ft.indexing.formats.word.drawings import chart_lines, diagram_lines
from rag_ft.indexing.formats.word.line import Attached, Line, LineReader
from rag_ft.indexing.formats.word.names import DRAWING, WORD, child, switch, value, whole_number
from rag_ft.indexing.formats.word.notes import KINDS, Notes
from rag_ft.indexing.formats.word.numbering import Numbering
from rag_ft.indexing.formats.word.styles import ParagraphStyle, Styles
from rag_ft.indexing.formats.word.table import MAX_SPAN, Cell, Row, table_lines

_TRANSPARENT = frozenset(
    WORD + name for name in ("sdt", "sdtContent", "customXml", "smartTag", "ins", "moveTo", "hyperlink", "dir", "bdo")
)
_LEFT_OUT = frozenset(WORD + name for name in ("sdtPr", "customXmlPr", "moveFrom", "del"))
_STARTS = {"default": "", "first": "titlePg", "even": "evenAndOddHeaders"}


class StoryWriter:
    """Writes stories to blocks. Notes, text boxes and diagrams follow their paragraph, from a cell their table."""

    def __init__(self, package: OfficePackage, blocks: Blocks) -> None:
        self._package = package
        self._settings = package.related("settings")
        self._styles = Styles(package.related("styles"))
        self._numbering = Numbering(package.related("numbering"))
        self._notes = Notes(package, self._settings)
        self._blocks = blocks
        self._builder = BlockBuilder(blocks)
        self._cells: list[list[str]] = []  # texts of the open cells, from the outermost
        self._bold: list[list[bool]] = []
        self._later: list[tuple[str, Attached] | list[str]] = []  # what follows the outermost open table
        self._listing = False  # whether a list is open in the builder
        self._listed: tuple[str | None, bool] = (None, False)  # of its outer items: the id, and whether it has bullets
        self._code: list[str] = []  # lines of a code block that may go on
        self._in_item = False  # whether what is attached to an item is being written
        self._written: set[str] = set()  # headers and footers by part and by text

    def write_document(self, body: Any) -> None:
        """Write the text of a document, each header once before and each footer after its section."""
        sections = [
            node
            for part in _parts(body)
            for node in ([part] if part.tag == WORD + "sectPr" else [child(part, "pPr", "sectPr")])
            if node is not None
        ]
        starts = iter(sections)
        section = next(starts, None)
        self._begin_section(section)
        reader = _StoryReader(self, self._package.main)
        for part in _parts(body):
            reader.read(part)
            if child(part, "pPr", "sectPr") is not None:
                reader.end()
                self._running(section, "footer")
                section = next(starts, None)
                self._begin_section(section)
        reader.end()
        self._running(section, "footer")
        self._end_list()
        self._builder.end()

    def paragraph(self, line: Line, style: ParagraphStyle, marker: str | None, source: str) -> None:
        """Write a paragraph, heading or list item with what is attached to it."""
        text = " ".join(line.text.split()) if marker is not None or self._cells else line.text
        is_code = style.code and not (self._cells or style.level or marker)
        if not is_code:
            self.end_code()
        if is_code:
            if text or self._code:
                self._end_list()
                self._code.append((line.raw or line.text).rstrip())
        elif self._cells:
            self._cells[-1].append(f"{marker} {text}" if marker and text else text)
            if text:
                self._bold[-1].append(line.bold)
        elif style.level and text:
            self._end_list()
            shown = "" if marker in (None, "-") else marker
            self._builder.put(f"{shown} {text}" if shown else text, style.level)
        elif marker and text:
            self._begin_list(style, marker)
            self._builder.open("item", marker=f"{marker} ")
            self._builder.put(text)
            self._builder.close("item")
        elif text:
            if not (self._listing and (marker == "" or style.listed == "continued" or self._in_item)):
                self._end_list()
            self._builder.put(text)
        if line.attached:
            self.end_code()
        outer, self._in_item = self._in_item, self._listing
        for attached in line.attached:
            # Text boxes stay in their cell; the rest is read after the table, so that rows stay rows.
            if self._cells and attached.kind != "box":
                self._later.append((source, attached))
            else:
                self._attached(source, attached)
        self._in_item = outer

    def end_code(self) -> None:
        """Write the lines of code that were read as one block."""
        lines, self._code = self._code, []
        self._builder.put("\n".join(lines).rstrip(), kind="code")

    def table(self, table: Any, source: str, running: bool) -> None:
        """Write a table as one block; one of a single cell is only a frame around its content."""
        rows = [row for row in _parts(table) if row.tag == WORD + "tr" and not _is_gone(row)]
        cells = [[cell for cell in _parts(row) if cell.tag == WORD + "tc" and not _is_deleted(cell)] for row in rows]
        if sum(map(len, cells)) == 1 and not self._cells:
            self.story(next(row[0] for row in cells if row), source, running)
            return
        above: dict[int, Cell] = {}
        grid: list[Row] = []
        for row, row_cells in zip(rows, cells, strict=True):
            column = whole_number(value(row, "trPr", "gridBefore"), 0, MAX_SPAN)
            grid.append(Row(header=switch(row, "trPr", "tblHeader") is True))
            for element in row_cells:
                span = max(whole_number(value(element, "tcPr", "gridSpan"), 1, MAX_SPAN), 1)
                merged = child(element, "tcPr", "vMerge")
                if merged is not None and merged.get(WORD + "val") != "restart" and column in above:
                    cell = above[column]
                    self._blocks.count(len(cell.text))
                else:
                    cell = Cell(*self._cell(element, source, running))
                    if merged is not None:
                        above[column] = cell
                    else:
                        above.pop(column, None)
                grid[-1].cells.append(Cell(cell.text, column, span, cell.bold))
                column += span
        lines = table_lines(grid, self._styles.table_heads(table), self._blocks.count)
        if self._cells:
            self._later.append(lines)
            return
        self._write_table(lines)
        while self._later:
            later, self._later = self._later, []
            for item in later:
                if isinstance(item, list):
                    self._write_table(item)
                else:
                    self._attached(*item)

    def story(self, element: Any, source: str, running: bool = False) -> None:
        """Write the paragraphs and tables of a cell, note, text box, header or footer."""
        reader = _StoryReader(self, source, running)
        for part in _parts(element):
            reader.read(part)
        reader.end()

    def reader(self, running: bool) -> LineReader:
        """A reader for the paragraphs of a new story."""
        return LineReader(self._styles, self._notes, running)

    def style_of(self, paragraph: Any) -> ParagraphStyle:
        """The style of a paragraph."""
        return self._styles.paragraph(child(paragraph, "pPr"))

    def marker_of(self, style: ParagraphStyle) -> str | None:
        """Count a paragraph in its list; see `Numbering.marker`."""
        marker = self._numbering.marker(style)
        if marker is None and style.number_id is None and style.listed == "bullet":
            return "-"
        return marker

    def mark_is_hidden(self, paragraph: Any, style: ParagraphStyle) -> bool:
        """Whether a paragraph's end is hidden, so that the next one goes on in its line."""
        return self._styles.run(child(paragraph, "pPr", "rPr"), style.run).hidden

    def embedded(self, name: str) -> None:
        """Note a part that is a document of another format."""
        if name and name not in self._package.unread:
            self._package.unread.append(name)

    def target(self, key: str, source: str) -> str:
        """Name of the part behind a relation's id, "" if there is none."""
        return self._package.target(key, source) or ""

    def _begin_section(self, properties: Any) -> None:
        self._notes.begin_section(properties)
        self._running(properties, "header")

    def _running(self, section: Any, kind: str) -> None:
        """Write the headers or footers that a section shows, each text once in a document."""
        if section is None:
            return
        for reference in section.iterchildren(WORD + f"{kind}Reference"):
            shown_by = _STARTS.get(reference.get(WORD + "type", "default"), "")
            holder = self._settings if shown_by == "evenAndOddHeaders" else section
            name = self.target(relation_id(reference), self._package.main)
            if not name or name in self._written or (shown_by and not switch(holder, shown_by)):
                continue
            self._written.add(name)
            root = self._package.part(name)
            if root is not None:
                self._end_list()
                self.story(root, name, running=True)

    def write_once(self, text: str) -> bool:
        """Whether the text of a header or footer is new."""
        is_new = text not in self._written
        self._written.add(text)
        return is_new

    def _cell(self, element: Any, source: str, running: bool) -> tuple[str, int, int, bool]:
        self._cells.append([])
        self._bold.append([])
        self.story(element, source, running)
        bold = self._bold.pop()
        return " ".join(filter(None, self._cells.pop())), 0, 1, bool(bold) and all(bold)

    def _write_table(self, lines: list[str]) -> None:
        self._end_list()
        self._builder.open("table")
        for line in lines:
            self._builder.put(line)
        self._builder.close("table")

    def _attached(self, source: str, attached: Attached) -> None:
        if attached.kind in KINDS:
            note = self._notes.take(attached.kind, attached.key)
            if note is not None:
                self._note(note, attached)
        elif attached.kind == "box":
            self.story(attached.element, source)
        elif attached.kind == "text":
            self._put(attached.key)
        else:
            name = self.target(attached.key, source)
            root = self._package.part(name) if name else None
            if root is not None and attached.kind == "diagram":
                for text in diagram_lines(root):
                    self._put(text)
            elif root is not None:
                title, rows = chart_lines(root)
                self._put(title)
                self._write_table(table_rows(rows, True))

    def _note(self, note: Any, attached: Attached) -> None:
        """Write a note's paragraphs, the first behind its mark or its author's name."""
        source = self._package.related_name(f"{attached.kind}s")
        author = " ".join((note.get(WORD + "author") or "").split())
        start = f"[{attached.mark}]" if attached.mark else ""
        if attached.kind == "comment":
            start = f"Comment by {author}:" if author else "Comment:"
        reader = _StoryReader(self, source, start=start)
        for part in _parts(note):
            reader.read(part)
        reader.end()

    def _put(self, text: str) -> None:
        text = " ".join(text.split())
        if text and self._cells:
            self._cells[-1].append(text)
        elif text:
            self._builder.put(text)

    def _begin_list(self, style: ParagraphStyle, marker: str) -> None:
        """Open a list unless one is open; numbers after bullets, or bullets after numbers, are a list of their own."""
        if not style.list_level:
            listed = (style.number_id, marker == "-")
            if listed[0] != self._listed[0] and listed[1] != self._listed[1]:
                self._end_list()
            self._listed = listed
        if not self._listing:
            self._builder.open("list")
            self._listing = True

    def _end_list(self) -> None:
        if self._listing:
            self._builder.close("list")
            self._listing = False


class _StoryReader:
    """Reads one story part by part, joining paragraphs whose end is deleted or hidden to the next one."""

    def __init__(self, writer: StoryWriter, source: str, running: bool = False, start: str = "") -> None:
        self._writer = writer
        self._source = source
        self._running = running
        self._lines = writer.reader(running)
        self._start = start  # what comes before the first paragraph's text
        self._held: list[Line] = []
        self._held_style = ParagraphStyle()

    def read(self, part: Any) -> None:
        """Read a paragraph, table or embedded document; anything else is ignored."""
        if part.tag == WORD + "p":
            self._paragraph(part)
        elif part.tag == WORD + "tbl":
            self.end()
            self._writer.table(part, self._source, self._running)
        elif part.tag == WORD + "altChunk":
            self._writer.end_code()
            self._writer.embedded(self._writer.target(relation_id(part), self._source))

    def end(self) -> None:
        """Write a paragraph that was held back for one that did not come, and code that may have gone on."""
        if self._held:
            self._write(Line("", [], True), self._held_style, None)
        self._writer.end_code()

    def _paragraph(self, paragraph: Any) -> None:
        style = self._writer.style_of(paragraph)
        line = self._lines.read(paragraph, style.run)
        properties = child(paragraph, "pPr")
        deleted = _is_deleted_mark(properties)
        frame = child(properties, "framePr")
        dropped = frame is not None and frame.get(WORD + "dropCap") in ("drop", "margin") and len(line.text) < 10
        hidden = self._writer.mark_is_hidden(paragraph, style) and not style.level
        if deleted or dropped or hidden:
            if line.text or line.attached:
                self._held.append(line)
                self._held_style = style
            return
        self._write(line, style, self._writer.marker_of(style))

    def _write(self, line: Line, style: ParagraphStyle, marker: str | None) -> None:
        if self._held:
            lines = [*self._held, line]
            self._held = []
            attached = [item for part in lines for item in part.attached]
            text = "".join(part.raw for part in lines).strip()
            line = Line(text, attached, all(part.bold for part in lines if part.text))
        if self._running and line.text and not self._writer.write_once(line.text):
            line = Line("", line.attached, False)
        if self._start and line.text:
            line = Line(f"{self._start} {line.text}", line.attached, False)
            self._start = ""
        self._writer.paragraph(line, style, marker, self._source)


def _parts(element: Any) -> Iterator[Any]:
    """The paragraphs, tables, rows or cells of an element, through content controls and tracked insertions."""
    stack = list(reversed(element))
    while stack:
        part = stack.pop()
        if part.tag in _TRANSPARENT:
            if switch(part, "sdtPr", "showingPlcHdr") is not True:
                stack.extend(reversed(part))
        elif isinstance(part.tag, str) and part.tag not in _LEFT_OUT and not part.tag.startswith(DRAWING):
            yield part


def _is_gone(row: Any) -> bool:
    """Whether a row is deleted or hidden."""
    return child(row, "trPr", "del") is not None or switch(row, "trPr", "hidden") is True


def _is_deleted(cell: Any) -> bool:
    return child(cell, "tcPr", "cellDel") is not None


def _is_deleted_mark(properties: Any) -> bool:
    return any(child(properties, "rPr", name) is not None for name in ("del", "moveFrom"))
