"""What the parts of a document are: headings, prose, code, lists and tables, and their items, rows and lines."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rag_ft.schema import BlockKind, Document, PassageKind
from rag_ft.text.parts import ITEM_MARK


class Part(NamedTuple):
    """A span of a document that is of one kind."""

    start: int
    end: int
    kind: PassageKind


def parts_of(document: Document) -> list[Part]:
    """The parts of a document in order; together they hold every character.

    A format names code, lists and tables (`Document.blocks`); in the rest, plain text shows some of them: code between
    fences, lines that begin with an item's mark, rows of cells between bars. Whoever made the document may have given
    blocks and headings that overlap or lie outside the text: of those that overlap, the first counts.
    """
    text = document.text
    named = [Part(block.start, block.end, block.kind) for block in document.blocks]
    named += [Part(heading.start, heading.start + len(heading.text), "heading") for heading in document.headings]
    fences = [match.end() for match in _FENCE_END.finditer(text)]
    parts: list[Part] = []
    end = 0
    for part in [*sorted(named), Part(len(text), len(text), "prose")]:
        start, stop = min(part.start, len(text)), min(part.end, len(text))
        if start < end:
            continue
        parts += _shown(text, end, start, fences)
        end = max(start, stop)
        if start < end:
            parts.append(Part(start, end, part.kind))
    return parts


_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_FENCE_END = re.compile(r"^[ \t]*(?:```+|~~~+)[ \t]*$", re.MULTILINE)
_ITEM = re.compile(rf"[ \t]*{ITEM_MARK}[ \t]+\S")
_NAMED_ITEM = re.compile(r"[ \t]*(?:[-+*•–‣◦▪●○·]|\(?(?:\d{1,3}(?:\.\d{1,3})*|[^\W\d_]|[ivxIVX]{1,6})[.)])[ \t]+(?=\S)")
"""The marks in what a format says is a list: more kinds, since nothing else can be meant."""
_ROW = re.compile(r"[ \t]*\||[^\n|]*[ \t]\|[ \t]")


def _shown(text: str, start: int, end: int, fences: list[int]) -> Iterator[Part]:
    """The parts of text that no format has named, as plain text shows them. `fences`: ends of lines that are fences."""
    prose = start  # where the prose begins that is not given yet
    rows: list[Part] = []
    lines = _Lines(text, start, end)
    for line in lines:
        kind: BlockKind | None = None
        stop = line.end
        if _FENCE.match(text, line.start, line.end):
            closing = bisect.bisect_right(fences, line.end)
            if closing < len(fences) and fences[closing] <= end:
                kind, stop = "code", fences[closing]
        elif _ITEM.match(text, line.start, line.end):
            kind, stop = "list", lines.end_of_list(line)
        elif _ROW.match(text, line.start, line.end):
            rows.append(Part(line.start, line.end, "table"))
            continue
        if len(rows) > 1:
            yield from _prose(prose, rows[0].start)
            yield Part(rows[0].start, rows[-1].end, "table")
            prose = rows[-1].end
        rows = []
        if kind is not None:
            yield from _prose(prose, line.start)
            yield Part(line.start, stop, kind)
            prose = stop
            lines.skip_to(stop)
    if len(rows) > 1:
        yield from _prose(prose, rows[0].start)
        yield Part(rows[0].start, rows[-1].end, "table")
        prose = rows[-1].end
    yield from _prose(prose, end)


def _prose(start: int, end: int) -> Iterator[Part]:
    if start < end:
        yield Part(start, end, "prose")


class _Line(NamedTuple):
    start: int
    end: int
    """Without the line end."""


class _Lines:
    """The lines of a span of text, some of which may be skipped."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text = text
        self._next = start
        self._end = end

    def __iter__(self) -> Iterator[_Line]:
        while self._next < self._end:
            line = self._at(self._next)
            self._next = line.end + 1
            yield line

    def skip_to(self, offset: int) -> None:
        """Continue after the line that ends at an offset."""
        self._next = offset + 1

    def end_of_list(self, first: _Line) -> int:
        """Where a list ends: at an empty line that no further item follows."""
        end = first.end
        blank = False
        line = first
        while line.end < self._end:
            line = self._at(line.end + 1)
            if not self._text[line.start : line.end].strip():
                blank = True
                continue
            if blank and not _ITEM.match(self._text, line.start, line.end):
                break
            blank, end = False, line.end
        return end

    def _at(self, start: int) -> _Line:
        end = self._text.find("\n", start, self._end)
        return _Line(start, self._end if end < 0 else end)


class Element(NamedTuple):
    """An item, a row or a line, without white space around it."""

    start: int
    end: int


def elements(text: str, part: Part) -> list[Element]:
    """The items of a list, each with its continuation lines; else the lines of a part."""
    starts = [line.start for line in _Lines(text, part.start, part.end)]
    if part.kind == "list":
        starts = [start for start in starts if start == part.start or _NAMED_ITEM.match(text, start, part.end)]
    spans = zip(starts, [*starts[1:], part.end], strict=True)
    return [Element(*span) for span in (trimmed(text, *span) for span in spans) if span[0] < span[1]]


def mark_length(item: str) -> int:
    """Length of the bullet or number that an item begins with, and of the blanks after it; 0 for an item without."""
    mark = _NAMED_ITEM.match(item)
    return mark.end() if mark else 0


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


_KINDS: tuple[PassageKind, ...] = ("prose", "code", "list", "table", "heading")


class Kinds:
    """The kinds of spans of a document, found without looking through all of its parts."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = list(parts)
        self._ends = [part.end for part in self._parts]

    def of(self, start: int, end: int) -> PassageKind:
        """The kind that most characters of a span have."""
        sizes = dict.fromkeys(_KINDS, 0)
        position = bisect.bisect_right(self._ends, start)
        while position < len(self._parts) and self._parts[position].start < end:
            part = self._parts[position]
            sizes[part.kind] += min(end, part.end) - max(start, part.start)
            position += 1
        return max(_KINDS, key=lambda kind: sizes[kind])
