"""ODP: slides in their order, each shape where a reader comes to it."""

from __future__ import annotations

import math
import re
from typing import Any

from rag_ft.extras import require_extra
from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.office.xml import local_name
from rag_ft.indexing.formats.opendocument.container import (
    DRAW,
    OFFICE,
    PRESENTATION,
    SVG,
    TEXT,
    Container,
    body_of,
)
from rag_ft.indexing.formats.opendocument.line import LineReader, comment_by
from rag_ft.indexing.formats.opendocument.story import StoryWriter
from rag_ft.indexing.formats.opendocument.styles import Styles
from rag_ft.indexing.formats.zip_container import open_zip

_RUNNING = frozenset(("page-number", "date-time", "footer", "header", "page"))
_TITLES = frozenset(("title",))
_LENGTH = re.compile(r"(-?\d{1,9}(?:\.\d+)?)(cm|mm|in|pt)?")
_IN_MM = {"cm": 10.0, "mm": 1.0, "in": 25.4, "pt": 25.4 / 72}
_SIDE_BY_SIDE_MM = 6.0


def read_odp(data: bytes) -> Extracted:
    """Read the slides of a presentation in order, each under its title; hidden slides are located as hidden."""
    require_extra("formats", "reading ODP files", "lxml", "docx")
    with open_zip(data) as archive:
        container = Container(archive)
        content, common = container.content(), container.part("styles.xml")
        slides = body_of(content, "presentation", holds="slides")
        styles = Styles(common, content)
        blocks = Blocks()
        writer = StoryWriter(container, styles, blocks)
        reader = LineReader(container, styles)
        for number, page in enumerate(slides.iterchildren(DRAW + "page"), start=1):
            style = page.get(DRAW + "style-name")
            hidden = styles.property("drawing-page", style, PRESENTATION + "visibility") == "hidden"
            writer.end()
            blocks.begin_location(f"slide {number}{' (hidden)' if hidden else ''}")
            _write(page, number, writer, reader)
        writer.end()
        title, metadata = container.properties()
    return blocks.extracted(title, metadata)


def _write(page: Any, number: int, writer: StoryWriter, reader: LineReader) -> None:
    shapes = [node for node in page if isinstance(node.tag, str) and node.tag.startswith(DRAW)]
    shapes = [node for node in shapes if node.get(PRESENTATION + "class") not in _RUNNING]
    shapes = [node for node in shapes if node.get(PRESENTATION + "placeholder") != "true"]
    titles = [node for node in shapes if node.get(PRESENTATION + "class") in _TITLES]
    title = " ".join(reader.read(line).text for node in titles for line in node.iter(TEXT + "p"))
    others = _in_order([node for node in shapes if node.get(PRESENTATION + "class") not in _TITLES])
    notes = next(page.iterchildren(PRESENTATION + "notes"), None)
    comments = [node for node in page if node.tag == OFFICE + "annotation"]
    if not title.strip() and not others and notes is None and not comments:
        return
    writer.builder.put(" ".join(title.split()) or f"Slide {number}", 1)
    writer.headings = False
    for node in others:
        writer.story([node])
    texts = [] if notes is None else [line for node in notes if _is_notes(node) for line in node.iter(TEXT + "p")]
    spoken = " ".join(filter(None, (reader.read(line).text for line in texts)))
    if spoken:
        writer.builder.put(f"Notes: {' '.join(spoken.split())}")
    for comment in comments:
        text = " ".join(reader.read(line).text for line in comment if local_name(line) == "p")
        writer.builder.put(comment_by(comment) + " ".join(text.split()))


def _is_notes(node: Any) -> bool:
    return bool(node.get(PRESENTATION + "class") == "notes" and node.get(PRESENTATION + "placeholder") != "true")


def _in_order(shapes: list[Any]) -> list[Any]:
    """Shapes from the top down, and from left to right where they stand side by side."""
    rows: list[list[Any]] = []
    for shape in sorted(shapes, key=lambda node: _millimetres(node.get(SVG + "y"))):
        if rows and _millimetres(shape.get(SVG + "y")) - _millimetres(rows[-1][0].get(SVG + "y")) <= _SIDE_BY_SIDE_MM:
            rows[-1].append(shape)
        else:
            rows.append([shape])
    return [shape for row in rows for shape in sorted(row, key=lambda node: _millimetres(node.get(SVG + "x")))]


def _millimetres(length: str | None) -> float:
    match = _LENGTH.fullmatch(length or "")
    return math.inf if match is None else float(match[1]) * _IN_MM.get(match[2] or "mm", 1.0)
