"""PPTX: slides in their order, with their notes and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import BlockBuilder, Blocks
from rag_ft.indexing.formats.extracted import Extracted, Unreadable
from rag_ft.indexing.formats.office.package import OfficePackage, refuse_binary, relation_id
from rag_ft.indexing.formats.slides.paragraphs import body_paragraphs, paragraphs
from rag_ft.indexing.formats.slides.shapes import (
    RUNNING,
    SLIDE,
    TITLES,
    Layout,
    Shape,
    described,
    in_reading_order,
    placeholders,
)
from rag_ft.indexing.formats.tables import table_rows
from rag_ft.indexing.formats.word.drawings import chart_lines, diagram_lines
from rag_ft.indexing.formats.word.names import CHART, DECORATIVE, DIAGRAM, DRAWING, whole_number
from rag_ft.indexing.formats.word.table import MAX_SPAN, Cell, Row, table_lines
from rag_ft.indexing.formats.zip_container import open_zip
from rag_ft.schema import Metadata

_HEIGHT = 6_858_000
_MOST_NAMED = 100
_FILE_NAME = re.compile(r"\S+\.[A-Za-z]{3,4}")
_NO_TITLES = frozenset(
    ("powerpoint presentation", "powerpoint-präsentation", "présentation powerpoint", "presentation")
)


def read_pptx(data: bytes) -> Extracted:
    """Read the slides of a presentation in order, each under its title.

    Hidden slides are read and located as hidden. Notes and comments follow their slide. What repeats on every slide
    (number, date, footer) and what only layouts hold is left out. Slides that are damaged are named in the metadata as
    `unread_parts`.
    """
    require_extra("formats", "reading PPTX files", "docx")
    refuse_binary(data, ".pptx")
    with open_zip(data) as archive:
        package = OfficePackage(archive, "ppt/presentation.xml")
        root = package.main_document()
        if root.tag != SLIDE + "presentation":
            raise Unreadable("is damaged (it lists no slides), or of another format: use a complete copy")
        deck = _DeckReader(package, root)
        deck.read()
        properties = package.core_properties()
    title = properties.get("title", "")
    title = "" if " ".join(title.split()).casefold() in _NO_TITLES else title
    return deck.blocks.extracted(title, deck.metadata(properties.get("creator", "")))


class _DeckReader:
    """Reads the slides of a presentation."""

    def __init__(self, package: OfficePackage, root: Any) -> None:
        self.blocks = Blocks()
        self._package = package
        self._root = root
        size = next(root.iterchildren(SLIDE + "sldSz"), None)
        self._height = _HEIGHT if size is None else whole_number(size.get("cy"), _HEIGHT, 100_000_000)
        self._layouts: dict[str, Layout] = {}
        self._unread: list[str] = []
        self._authors: dict[str, str] = {}

    def read(self) -> None:
        """Read all slides in the order of the presentation, each once."""
        for kind in ("commentAuthors", "authors"):
            authors = self._package.related(kind)
            for node in () if authors is None else authors:
                self._authors[node.get("id") or ""] = " ".join((node.get("name") or "").split())
        listed = next(self._root.iterchildren(SLIDE + "sldIdLst"), ())
        first = whole_number(self._root.get("firstSlideNum"), 1)
        seen: set[str] = set()
        for number, entry in enumerate(listed, start=first):
            part = self._package.target(relation_id(entry))
            if part is not None and part in seen:
                continue
            seen.add(part or "")
            slide = None if part is None else self._package.part(part)
            if part is None or slide is None:
                self._unread.append(f"slide {number} is damaged or missing")
                continue
            hidden = " (hidden)" if slide.get("show") in ("0", "false") else ""
            self.blocks.begin_location(f"slide {number}{hidden}")
            _SlideWriter(self, part, number).write(slide)

    def metadata(self, author: str) -> Metadata:
        """What is known about the presentation beside its text."""
        metadata: Metadata = {"author": author} if author and author != "python-pptx" else {}
        slides = {name for name in self._package.unread if name.startswith("ppt/slides/slide")}
        unread = [*self._unread, *(name for name in self._package.unread if name not in slides)]
        if unread:
            metadata["unread_parts"] = list(unread[:_MOST_NAMED])
        if self._package.has_macros:
            metadata["macros"] = "ignored"
        return metadata

    def shapes(self, slide: Any, part: str) -> tuple[list[Shape], Layout]:
        """The shapes of a slide in reading order, and the layout that it follows."""
        layout = self._layout(self._package.related_name("slideLayout", part))
        return in_reading_order(slide, layout, self._height), layout

    def _layout(self, name: str) -> Layout:
        if name not in self._layouts:
            master_name = self._package.related_name("slideMaster", name) if name else ""
            master = self._package.part(master_name) if master_name else None
            layout = self._package.part(name) if name else None
            styles = None if master is None else next(master.iterchildren(SLIDE + "txStyles"), None)
            self._layouts[name] = Layout(placeholders(layout), placeholders(master), styles)
        return self._layouts[name]

    def part(self, key: str, source: str) -> Any:
        """Parse the part behind a relation's id; None where there is none."""
        name = self._package.target(key, source)
        return self._package.part(name) if name else None

    def notes(self, part: str) -> Any:
        """The notes page of a slide; None where there is none."""
        return self._package.related("notesSlide", part)

    def comments(self, part: str) -> Iterator[str]:
        """The comments on a slide and the replies to them, with the names of their authors."""
        for name in self._package.related_names("comments", part):
            root = self._package.part(name)
            for node in () if root is None else root.iter():
                if str(node.tag).rpartition("}")[2] in ("cm", "reply"):
                    texts = [child.text or "" for child in node if str(child.tag).endswith("}text")]
                    for body in (child for child in node if str(child.tag).endswith("}txBody")):
                        texts += ["".join(text.text or "" for text in line.iter(DRAWING + "t")) for line in body]
                    text = " ".join(" ".join(texts).split())
                    author = self._authors.get(node.get("authorId") or "", "")
                    if text:
                        yield f"Comment by {author}: {text}" if author else f"Comment: {text}"


class _SlideWriter:
    """Writes one slide."""

    def __init__(self, deck: _DeckReader, part: str, number: int) -> None:
        self._deck = deck
        self._part = part
        self._number = number
        self._builder = BlockBuilder(deck.blocks)
        self._listing = False
        self._headed = False

    def write(self, slide: Any) -> None:
        """Write the shapes of a slide, its notes and comments."""
        shapes, layout = self._deck.shapes(slide, self._part)
        title = " ".join(
            paragraph.text for shape in shapes if shape.kind in TITLES for paragraph in paragraphs(shape, layout)
        )
        if title:
            self._builder.put(title, 1)
            self._headed = True
        for shape in shapes:
            if shape.kind not in RUNNING:
                self._shape(shape, layout, text=shape.kind not in TITLES)
        notes = self._deck.notes(self._part)
        if notes is not None:
            start = "Notes: "
            for shape in in_reading_order(notes, Layout(), _HEIGHT):
                if shape.kind == "body":
                    for paragraph in paragraphs(shape, Layout()):
                        self._put(start + paragraph.marker + paragraph.text)
                        start = ""
        for comment in self._deck.comments(self._part):
            self._put(comment)
        self._end_list()
        self._builder.end()

    def _shape(self, shape: Shape, layout: Layout, text: bool) -> None:
        name = described(shape.element)
        description = "" if name is None else " ".join((name.get("descr") or "").split())
        if description and not _FILE_NAME.fullmatch(description):
            if not any(node.get("val") in ("1", "true") for node in name.iter(DECORATIVE)):
                self._put(f"[Image: {description}]")
        if text:
            for paragraph in paragraphs(shape, layout):
                self._put(paragraph.text, paragraph.marker)
            self._end_list()
        for data in shape.element.iter(DRAWING + "graphicData"):
            for node in data:
                if node.tag == DRAWING + "tbl":
                    self._table(node)
                elif node.tag == CHART + "chart":
                    self._chart(self._deck.part(relation_id(node), self._part))
                elif node.tag == DIAGRAM + "relIds":
                    root = self._deck.part(relation_id(node, "dm"), self._part)
                    for line in [] if root is None else diagram_lines(root):
                        self._put(line)

    def _put(self, text: str, marker: str = "") -> None:
        if not text:
            return
        if not self._headed:
            self._builder.put(f"Slide {self._number}", 1)
            self._headed = True
        if not marker:
            self._end_list()
            self._builder.put(text)
            return
        if not self._listing:
            self._builder.open("list")
            self._listing = True
        self._builder.open("item", marker=marker)
        self._builder.put(text)
        self._builder.close("item")

    def _end_list(self) -> None:
        if self._listing:
            self._builder.close("list")
            self._listing = False

    def _lines(self, lines: list[str]) -> None:
        """Write lines as a table."""
        if not lines:
            return
        if not self._headed:
            self._builder.put(f"Slide {self._number}", 1)
            self._headed = True
        self._end_list()
        self._builder.open("table")
        for line in lines:
            self._builder.put(line)
        self._builder.close("table")

    def _chart(self, root: Any) -> None:
        if root is None:
            return
        title, rows = chart_lines(root)
        self._put(title)
        self._lines(table_rows(rows, True))
        for name in root.iter(CHART + "title"):
            text = " ".join("".join(node.text or "" for node in name.iter(DRAWING + "t")).split())
            if text != title:  # of an axis
                self._put(text)

    def _table(self, table: Any) -> None:
        properties = next(table.iterchildren(DRAWING + "tblPr"), None)
        headed = None if properties is None else properties.get("firstRow") in ("1", "true")
        above: dict[int, Cell] = {}
        rows: list[Row] = []
        for element in table.iterchildren(DRAWING + "tr"):
            rows.append(Row())
            for column, node in enumerate(element.iterchildren(DRAWING + "tc")):
                if node.get("hMerge") in ("1", "true"):
                    continue
                span = max(whole_number(node.get("gridSpan"), 1, MAX_SPAN), 1)
                if node.get("vMerge") in ("1", "true") and column in above:
                    text, bold = above[column].text, above[column].bold
                    self._deck.blocks.count(len(text))
                else:
                    body = next(node.iterchildren(DRAWING + "txBody"), None)
                    lines = [] if body is None else list(body_paragraphs(body))
                    text = " ".join(line.marker + line.text for line in lines)
                    bold = bool(lines) and all(line.bold for line in lines)
                cell = Cell(text, column, span, bold)
                above[column] = cell
                rows[-1].cells.append(cell)
        self._lines(table_lines(rows, headed or None, self._deck.blocks.count))
