"""PDF: the text layer, form values and notes of each page, in reading order, with the box of each character."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.limits import check_document_size
from rag_ft.indexing.formats.pdf.annotations import Note, read_annotations
from rag_ft.indexing.formats.pdf.characters import Boxes, PageText, Sheet, drawn_lines
from rag_ft.indexing.formats.pdf.headings import Headings
from rag_ft.indexing.formats.pdf.hyphens import Hyphens
from rag_ft.indexing.formats.pdf.layout import Flow, Region, page_regions
from rag_ft.indexing.formats.pdf.lines import pieces_of
from rag_ft.indexing.formats.pdf.paragraphs import LineSpacing, Paragraph, ParagraphBuilder
from rag_ft.indexing.formats.pdf.pieces import Boxed, Piece
from rag_ft.indexing.formats.pdf.rules import Rules
from rag_ft.indexing.formats.pdf.running import without_running_lines
from rag_ft.indexing.formats.pdf.table import Table
from rag_ft.indexing.formats.pdf.writing import Writer
from rag_ft.schema import Metadata


def read_pdf(data: bytes) -> Extracted:
    """Read the text of a document, with its headings, pages, lists, tables, code and the boxes of its characters."""
    require_extra("formats", "reading PDF files", "pypdfium2")
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("is encrypted: save a copy without a password") from error
        raise Unreadable("is not a readable PDF, or is cut off") from error
    try:
        extracted = _read(document)
    finally:
        document.close()
    if not extracted.text:
        raise Unreadable("has no text layer (scanned pages?): build with --ocr to recognise its text")
    return extracted


_FILE_NAME = re.compile(
    r"microsoft (?:word|excel|powerpoint) - .*|\S+\.(?:html?|docx?|pdf|odt|tex|dvi|rtf|pptx?|xlsx?|md|txt|indd)", re.I
)
"""Titles that programs write, which name the file that was printed."""


@dataclass
class _Page:
    """A page before its text is put in order."""

    size: tuple[float, float]
    pieces: list[Piece]
    """Those of the direction that most of its text has."""
    turned: list[list[Piece]]
    """Those of each other direction."""
    rules: Rules
    notes: list[Note]
    regions: list[Region] = field(default_factory=list)


def _read(document: Any) -> Extracted:
    boxes = Boxes()
    pages: list[_Page] = []
    labels: list[JsonValue] = []
    chars = 0
    check_document_size(0, 0, len(document))
    document.init_forms()
    for index in range(len(document)):
        page = _page(document, index, boxes)
        chars += sum(len(piece.text) for piece in page.pieces)
        check_document_size(chars, 0, len(pages))
        pages.append(page)
        labels.append(document.get_page_label(index) or str(index + 1))
    for page, pieces in zip(pages, without_running_lines([page.pieces for page in pages]), strict=True):
        page.pieces = pieces
    for page in pages:
        page.regions = list(page_regions(page.pieces, page.rules))
        for turned in page.turned:
            page.regions += page_regions(turned, Rules())
    writer = _write(document, pages)
    properties = document.get_metadata_dict(skip_empty=True)
    metadata: Metadata = {
        key.lower(): value for key, value in properties.items() if key in ("Author", "Subject", "Keywords")
    }
    if labels != [str(index + 1) for index in range(len(labels))]:
        metadata["page_labels"] = labels
    title = str(properties.get("Title", ""))
    extracted = writer.blocks.extracted("" if _FILE_NAME.fullmatch(title.strip()) else title, metadata)
    extracted.page_sizes = tuple(page.size for page in pages)
    extracted.char_boxes = boxes.packed(writer.boxes)
    return extracted


def _page(document: Any, index: int, boxes: Boxes) -> _Page:
    page = document[index]
    content = page.get_textpage()
    try:
        sheet = Sheet(page)
        text = PageText(sheet, boxes)
        text.read(content)
        notes = read_annotations(document, page, text)
        rules = list(drawn_lines(page, sheet))
    finally:
        content.close()
        page.close()
    directions = sorted(filter(text.glyphs.get, text.glyphs), key=lambda angle: (-len(text.glyphs[angle]), angle))
    main = directions[0] if directions else 0
    frame = sheet.frame(main)
    corners = [(frame.turned(x0, y0), frame.turned(x1, y1)) for x0, y0, x1, y1 in rules]
    turned_rules = [(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)) for (ax, ay), (bx, by) in corners]
    width, height = (sheet.height, sheet.width) if main in (90, 270) else (sheet.width, sheet.height)
    pieces = [pieces_of(text.glyphs[angle]) for angle in directions]
    if not any(_is_legible(piece) for group in pieces for piece in group):
        pieces = []
    return _Page(
        (round(sheet.width, 3), round(sheet.height, 3)),
        pieces[0] if pieces else [],
        pieces[1:],
        Rules(turned_rules, width, height),
        notes,
    )


def _is_legible(piece: Piece) -> bool:
    """Whether a piece has any character that stands for something."""
    return bool(piece.text.strip("\ufffd \t"))


def _write(document: Any, pages: list[_Page]) -> Writer:
    everything = [page.pieces for page in pages] + [turned for page in pages for turned in page.turned]
    headings = Headings(document, everything)
    flows = [region for page in pages for region in page.regions if isinstance(region, Flow)]
    hyphens = Hyphens(piece.text for pieces in everything for piece in pieces)
    builder = ParagraphBuilder(hyphens, LineSpacing(flows), headings.typewritten)
    built: list[list[list[Paragraph] | Table]] = [
        [list(builder.paragraphs(part, page.rules)) if isinstance(part, Flow) else part for part in page.regions]
        for page in pages
    ]
    headings.prepare(
        (index, paragraph)
        for index, parts in enumerate(built)
        for part in parts
        if not isinstance(part, Table)
        for paragraph in part
    )
    writer = Writer(headings, hyphens)
    for index, (page, parts) in enumerate(zip(pages, built, strict=True)):
        writer.begin_page(index)
        for part in parts:
            if isinstance(part, Table):
                writer.add_table(part)
            else:
                writer.add_paragraphs(part)
        for note in page.notes:
            writer.add_note(_note(note))
    writer.end()
    return writer


def _note(note: Note) -> Boxed:
    start = "" if note.is_shown else f"Comment by {note.author}: " if note.author else "Comment: "
    return Boxed(start + note.text.strip("\n"))
