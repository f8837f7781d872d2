"""PDF: the characters of each page's text layer, its notes and the values of its form."""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rag_ft.indexing.conservation.source import Source

RUNNING = "running headers and footers"

_NUMBERS = re.compile(r"\d+")
_EDGE_LINES = 3
_MANY_PAGES = 3
_ANGLES_PER_PAGE = 40
_LONGEST_NOTE = 1_000_000
_NO_NOTES = frozenset({2, 16, 20})
"""Kinds of annotations: links, pop-ups (which show another's text) and fields of a form."""
_TEXT_FIELDS = frozenset({4, 5, 6})
"""Kinds of fields: those with a choice or a text."""


def pdf_source(data: bytes) -> Source:
    """Read all pages; those that show images and have no text are numbered."""
    import pypdfium2

    source = Source()
    document = pypdfium2.PdfDocument(data)
    try:
        document.init_forms()
        pages = [_read_page(document, index, source) for index in range(len(document))]
    finally:
        document.close()
    running = _running_lines([text.split("\n") for text, _ in pages])
    for number, (text, notes) in enumerate(pages, start=1):
        part = f"page {number}"
        lines = text.split("\n")
        edges = _edges(lines)
        for position, line in enumerate(lines):
            frame = position in edges and _unnumbered(line) in running
            source.add(line + "\n", part=part, reason=RUNNING if frame else "", ordered=False)
        for note in notes:
            source.add(note + "\n", part=part, ordered=False)
    return source


def _read_page(document: Any, index: int, source: Source) -> tuple[str, list[str]]:
    """The lines of a page, and its notes and values."""
    page = document[index]
    content = page.get_textpage()
    text = _turned_text(content) if _is_turned(content) else content.get_text_range()
    notes = list(_notes(document, page))
    if not text.strip() and not notes and _has_images(page):
        source.pages_without_text.append(index + 1)
    content.close()
    page.close()
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _has_images(page: Any) -> bool:
    import pypdfium2.raw as pdfium

    return next(iter(page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3)), None) is not None


def _is_turned(content: Any) -> bool:
    """Whether some of a page's characters are not upright; a few are asked."""
    import pypdfium2.raw as pdfium

    count = content.count_chars()
    angles = (
        pdfium.FPDFText_GetCharAngle(content, index) for index in range(0, count, max(1, count // _ANGLES_PER_PAGE))
    )
    return any(0.05 < angle < 2 * math.pi - 0.05 for angle in angles)


def _turned_text(content: Any) -> str:
    """The characters of a page, with a space where two do not stand side by side: pdfium joins turned lines."""
    import pypdfium2.raw as pdfium

    parts: list[str] = []
    before: tuple[float, float, float] | None = None
    rectangle = pdfium.FS_RECTF()
    for index in range(content.count_chars()):
        code = pdfium.FPDFText_GetUnicode(content, index)
        if not code or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            continue
        if pdfium.FPDFText_GetLooseCharBox(content, index, ctypes.byref(rectangle)):
            width, height = abs(rectangle.right - rectangle.left), abs(rectangle.top - rectangle.bottom)
            here = ((rectangle.left + rectangle.right) / 2, (rectangle.top + rectangle.bottom) / 2, max(width, height))
            if before is not None and not chr(code).isspace():
                distance = math.hypot(here[0] - before[0], here[1] - before[1])
                if distance > 1.2 * max(here[2], before[2]) > 0:
                    parts.append("\n")
            before = here
        parts.append(chr(code))
    return "".join(parts)


def _notes(document: Any, page: Any) -> Iterator[str]:
    import pypdfium2.raw as pdfium

    form = document.formenv
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        note = pdfium.FPDFPage_GetAnnot(page, index)
        if not note:
            continue
        try:
            kind = pdfium.FPDFAnnot_GetSubtype(note)
            if kind not in _NO_NOTES:
                text = _string(lambda *target, note=note: pdfium.FPDFAnnot_GetStringValue(note, b"Contents", *target))
            elif kind == pdfium.FPDF_ANNOT_WIDGET and form is not None:
                field = pdfium.FPDFAnnot_GetFormFieldType(form, note)
                text = (
                    _string(lambda *target, note=note: pdfium.FPDFAnnot_GetFormFieldValue(form, note, *target))
                    if field in _TEXT_FIELDS
                    else ""
                )
            else:
                text = ""
        finally:
            pdfium.FPDFPage_CloseAnnot(note)
        if text.strip():
            yield text


def _string(ask: Any) -> str:
    """A text that pdfium writes as UTF-16 into a buffer of the size it says."""
    import pypdfium2.raw as pdfium

    size = ask(None, 0)
    if not 2 < size <= _LONGEST_NOTE:
        return ""
    buffer = (pdfium.FPDF_WCHAR * (size // 2 + 1))()
    ask(buffer, size)
    return bytes(buffer)[: size - 2].decode("utf-16-le", "replace")


def _unnumbered(line: str) -> str:
    return _NUMBERS.sub("0", " ".join(line.split()))


def _edges(lines: list[str]) -> set[int]:
    shown = [position for position, line in enumerate(lines) if line.strip()]
    return {*shown[:_EDGE_LINES], *shown[-_EDGE_LINES:]}


def _running_lines(pages: list[list[str]]) -> set[str]:
    """Lines at the edges of many pages, equal but for numbers; none if many pages would be nothing else."""
    seen: Counter[str] = Counter()
    for lines in pages:
        seen.update({_unnumbered(lines[position]) for position in _edges(lines)})
    running = {line for line, count in seen.items() if count >= max(_MANY_PAGES, 0.4 * len(pages))}
    only_running = sum(all(_unnumbered(line) in running for line in lines if line.strip()) for lines in pages)
    return running if only_running * 2 <= len(pages) else set()
