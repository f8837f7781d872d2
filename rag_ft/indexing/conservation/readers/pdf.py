"""PDF: the characters of each page's text layer, its notes and the values of its form."""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from rag_ft.indexing.conservation.source import Source
from rag_ft.indexing.conservation.words import MAY_JOIN
from rag_ft.indexing.formats.pdf.calls import address_of, text_calls

RUNNING = "running headers and footers"
OUTSIDE = "outside the page"
HIDDEN = "hidden notes"

_NUMBERS = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(r"^0\b|\b0$")
_SET_APART = re.compile(r"(?<!\S)[^\W\d_](?: [^\W\d_](?!\S)){3,}")
"""Letters with gaps between them, which may be words that are set so."""
_EDGE_LINES = 3
_MANY_PAGES = 3
_ANGLES_PER_PAGE = 40
_LONGEST_NOTE = 1_000_000
_NO_NOTES = frozenset({2, 16, 20})
"""Kinds of annotations: links, pop-ups (which show another's text) and fields of a form."""
_TEXT_FIELD = 6
_TEXT_FIELDS = frozenset({4, 5, _TEXT_FIELD})
"""Kinds of fields: those with a choice or a text."""
_RIGHT_TO_LEFT = ("R", "AL")
_LINE_HYPHENS = (0x2, 0xFFFE)
"""What pdfium writes for a hyphen at the end of a line."""
_NOT_SHOWN, _PASSWORD = 2 | 32, 1 << 13
"""Flags of a note and of a field."""


def pdf_source(data: bytes) -> Source:
    """Read all pages; those that show images or characters without a meaning, and no text, are numbered."""
    import pypdfium2

    source = Source()
    document = pypdfium2.PdfDocument(data)
    try:
        document.init_forms()
        pages = [_read_page(document, index, source) for index in range(len(document))]
    finally:
        document.close()
    running = _running_lines([page.lines for page in pages])
    for number, page in enumerate(pages, start=1):
        part = f"page {number}"
        edges = _edges(page.lines)
        for position, line in enumerate(page.lines):
            frame = position in edges and _unnumbered(line.text) in running
            source.add(line.text + "\n", part=part, reason=RUNNING if frame else "", ordered=False)
        source.add(page.outside, part=part, reason=OUTSIDE, ordered=False)
        for note, reason in page.notes:
            source.add(note + "\n", part=part, reason=reason, ordered=False)
    return source


class _Line(NamedTuple):
    text: str
    x: float
    y: float


class _Page(NamedTuple):
    lines: list[_Line]
    outside: str
    """What stands outside the part of the page that is shown."""
    notes: list[tuple[str, str]]
    """Notes and values, each with the reason why a text need not have it."""


def _read_page(document: Any, index: int, source: Source) -> _Page:
    page = document[index]
    content = page.get_textpage()
    lines, outside = _lines(page, content)
    notes = list(_notes(document, page))
    legible = any(line.text.strip("\ufffd \t\xad") for line in lines)
    if not legible and not notes and (lines or content.count_chars() or _has_images(page)):
        source.pages_without_text.append(index + 1)
    content.close()
    page.close()
    return _Page(lines, outside, notes)


def _lines(page: Any, content: Any) -> tuple[list[_Line], str]:
    """The lines of a page as pdfium parts them, and what is not shown of it.

    Between characters of another height, a superscript and its word, is a gap that a text may have or not. In turned
    text, which pdfium joins, a line ends where two characters do not stand side by side.
    """
    import pypdfium2.raw as pdfium

    turned = _is_turned(content)
    left, bottom, right, top = page.get_bbox()
    rectangle = pdfium.FS_RECTF()
    lines: list[_Line] = []
    outside: list[str] = []
    parts: list[str] = []
    drawn: list[tuple[float, float, str]] = []
    place = before = (0.0, 0.0, 0.0)
    cut = False  # by a hyphen at the end of a line
    ended = supposed = False  # a line, and a space, as pdfium sees them
    edge = baseline = 0.0
    origin_x, origin_y = ctypes.c_double(), ctypes.c_double()
    # called for every character, most with addresses
    calls, text_page, box = text_calls(), address_of(content), ctypes.addressof(rectangle)
    unicode_of, box_of, origin_of, is_generated = calls.unicode_of, calls.box_of, calls.origin_of, calls.is_generated
    origin = ctypes.addressof(origin_x), ctypes.addressof(origin_y)

    def end() -> None:
        if any(unicodedata.bidirectional(part[0]) in _RIGHT_TO_LEFT for part in parts):
            parts[:] = _from_the_right(drawn)
        drawn.clear()
        if "".join(parts).strip():
            lines.append(_Line(_SET_APART.sub(_joined, "".join(parts)), place[0], place[1]))
        parts.clear()

    for index in range(content.count_chars()):
        code = unicode_of(text_page, index)
        if code in (10, 13):
            ended = True
            continue
        if not code or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            continue
        character = chr(code)
        if code in _LINE_HYPHENS:
            if ended:
                end()
            ended = False
            parts.append(character)
            cut = True
            continue
        if code == 32 and is_generated(text_page, index) == 1:
            supposed = True
            continue
        if character.isspace() or not box_of(text_page, index, box):
            parts.append(" ")
            outside.append(" ")
            continue
        x0, x1, y0, y1 = rectangle.left, rectangle.right, rectangle.bottom, rectangle.top
        width, height = abs(x1 - x0), abs(y1 - y0)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        if not (left - 1 <= x <= right + 1 and bottom - 1 <= y <= top + 1):
            outside.append(character)
            continue
        extent = width if width > height else height
        here = (x, y, extent)
        origin_of(text_page, index, *origin)
        line = origin_y.value
        # Before and after a superscript, pdfium sees the end of a line.
        if ended:
            beside = 0 < x - before[0] < 2 * extent and abs(y - before[1]) < 0.6 * max(extent, before[2])
            if turned or cut or not beside:
                end()
            ended = False
        if parts and turned and math.hypot(x - before[0], y - before[1]) > 1.2 * max(extent, before[2]) > 0:
            end()
        elif line != baseline and parts and not turned and not cut:
            if abs(line - baseline) > 0.05 * max(extent, before[2]):
                parts.append(MAY_JOIN)
        if supposed and parts:
            # pdfium sees a space, also where letters are only a little apart.
            parts.append(" " if turned or x0 - edge > 0.15 * extent else MAY_JOIN)
        supposed = False
        if not parts:
            place = here
        parts.append(character)
        drawn.append((x0, x1, character))
        before, edge, baseline, cut = here, x1, line, False
    end()
    return lines, "".join(outside).strip()


def _from_the_right(drawn: list[tuple[float, float, str]]) -> list[str]:
    """The characters of a line of Hebrew or Arabic from right to left; whether a gap parts words is left open."""
    parts: list[str] = []
    end = 0.0
    for left, right, character in sorted(drawn, key=lambda box: -box[0]):
        gap = end - right if parts else 0.0
        parts += [MAY_JOIN] if gap > 0.15 * (right - left) else []
        parts.append(character)
        end = left
    return parts


def _joined(letters: re.Match[str]) -> str:
    return letters[0].replace(" ", MAY_JOIN)


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


def _notes(document: Any, page: Any) -> Iterator[tuple[str, str]]:
    import pypdfium2.raw as pdfium

    form = document.formenv
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        note = pdfium.FPDFPage_GetAnnot(page, index)
        if not note:
            continue
        reason = HIDDEN if pdfium.FPDFAnnot_GetFlags(note) & _NOT_SHOWN else ""
        try:
            kind = pdfium.FPDFAnnot_GetSubtype(note)
            if kind not in _NO_NOTES:
                text = _string(lambda *target, note=note: pdfium.FPDFAnnot_GetStringValue(note, b"Contents", *target))
            elif kind == pdfium.FPDF_ANNOT_WIDGET and form is not None:
                field = pdfium.FPDFAnnot_GetFormFieldType(form, note)
                if pdfium.FPDFAnnot_GetFormFieldFlags(form, note) & _PASSWORD and field == _TEXT_FIELD:
                    reason = "passwords"
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
            yield text, reason


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


def _edges(lines: list[_Line]) -> set[int]:
    """Lines at the edges of a page: the first and last that it draws, and those that stand there."""
    shown = range(len(lines))
    edges = {*shown[:_EDGE_LINES], *shown[-_EDGE_LINES:]}
    for across in (lambda position: lines[position].x, lambda position: lines[position].y):
        by_place = sorted(shown, key=across)
        edges.update((*by_place[: 2 * _EDGE_LINES], *by_place[-2 * _EDGE_LINES :]))
    return edges


def _running_lines(pages: list[list[_Line]]) -> set[str]:
    """Lines at the edges of many pages, equal but for numbers; none if many pages would be nothing else."""
    seen: Counter[str] = Counter()
    for lines in pages:
        seen.update({_unnumbered(lines[position].text) for position in _edges(lines)})
    running = {line for line, count in seen.items() if count >= max(_MANY_PAGES, 0.4 * len(pages))}
    # The page's number alone, or beside a chapter's name.
    running |= {line for line, count in seen.items() if count > 1 and _PAGE_NUMBER.search(line)}
    only_running = sum(all(_unnumbered(line.text) in running for line in lines) for lines in pages)
    return running if only_running * 2 <= len(pages) else set()
