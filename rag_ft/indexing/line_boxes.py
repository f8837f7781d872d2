"""Boxes of characters on a page → one box for each line, whichever way the text is turned.

A line is what a reader sees as one: neighbouring characters at the same height, or, in turned text, in the same column.
A wide gap, as between the columns of a table, also ends a box, so that no box covers what stands between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rag_ft.indexing.places import STEPS, Places
from rag_ft.schema import Box, PageSize

_GAP = 2.5
"""Widest gap inside a line, in heights of its characters."""
_OVERLAP = 0.5
"""Share of the smaller character's height that neighbours on a line have in common."""
_OVERLAP_AFTER_GAP = 0.8
"""The same beyond a gap as wide as a character: what stands there may be a column with lines of its own."""
_NEAR = 0.25
"""Distance, in heights, up to which a mark such as a quotation mark counts as on the line of its neighbour."""
_SAME_FONT = 2.4
"""Greatest ratio of the heights of two letters on a line: `j` and `x` of one font have 2; an initial may have more."""
_SLANT = 1.6
"""Greatest height of a line, in heights of its tallest character: slanted text is boxed in pieces."""


class Rectangle(NamedTuple):
    """A rectangle in points from the page's top left corner."""

    x0: float
    y0: float
    x1: float
    y1: float

    def union(self, other: Rectangle) -> Rectangle:
        """The smallest rectangle that covers both."""
        return Rectangle(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def turned(self) -> Rectangle:
        """The rectangle with its axes exchanged."""
        return Rectangle(self.y0, self.x0, self.y1, self.x1)


def quote_boxes(places: Places, start: int, end: int, text: str) -> tuple[Box, ...]:
    """The boxes of a quote, in order: one for each of its lines. `text`: the quote, whose white space has no box.

    Raises PlacesError.
    """
    boxes: list[Box] = []
    line: _Line | None = None
    for offset, character, (x0, y0, x1, y1) in zip(
        range(start, end), text, places.boxes(start, end).tolist(), strict=False
    ):
        if character.isspace() or x0 == y0 == x1 == y1 == 0:
            continue
        page = places.page_of(offset)
        width, height = places.page_sizes[page - 1]
        rectangle = Rectangle(x0 * width / STEPS, y0 * height / STEPS, x1 * width / STEPS, y1 * height / STEPS)
        if line is None or line.page != page or not line.takes(rectangle, character.isalnum()):
            if line is not None:
                boxes.append(line.box())
            line = _Line(page, rectangle, character.isalnum())
    if line is not None:
        boxes.append(line.box())
    return tuple(boxes)


def page_sizes(places: Places, boxes: Sequence[Box]) -> tuple[PageSize, ...]:
    """The sizes of the pages that boxes are on, in order."""
    pages = sorted({box.page for box in boxes})
    return tuple(
        PageSize(page=page, width=round(width, 2), height=round(height, 2))
        for page in pages
        for width, height in [places.page_sizes[page - 1]]
    )


class _Line:
    """A line under construction. Two characters beside each other show which way it runs."""

    def __init__(self, page: int, first: Rectangle, letter: bool) -> None:
        self.page = page
        self._whole = self._last = first
        self._turned: bool | None = None
        self._letters = [first] if letter else []
        """The first letter or digit, and the tallest one."""

    def takes(self, rectangle: Rectangle, letter: bool) -> bool:
        """Take a character if it continues the line; `letter`: whether it is a letter or a digit."""
        turned = self._turned
        if turned is None:
            turned = _shared(self._last.turned(), rectangle.turned()) > _shared(self._last, rectangle)
        if not self._continues(rectangle, letter, turned):
            return False
        sides = (self._last.turned(), rectangle.turned()) if turned else (self._last, rectangle)
        if _shared(*sides) >= _OVERLAP and self._last != rectangle:
            self._turned = turned
        self._whole = self._whole.union(rectangle)
        self._last = rectangle
        if letter:
            self._letters = [max((*self._letters, rectangle), key=_Line._height_of(turned))]
        return True

    @staticmethod
    def _height_of(turned: bool) -> Callable[[Rectangle], float]:
        return (lambda box: box.x1 - box.x0) if turned else (lambda box: box.y1 - box.y0)

    def _continues(self, rectangle: Rectangle, letter: bool, turned: bool) -> bool:
        whole, last, new = self._whole, self._last, rectangle
        if turned:
            whole, last, new = whole.turned(), last.turned(), new.turned()
        height = new.y1 - new.y0
        size = max(height, new.x1 - new.x0, last.y1 - last.y0, last.x1 - last.x0)
        if letter and self._letters:
            tallest = self._height_of(turned)(self._letters[0])
            size = max(size, tallest)
            if max(tallest, height) > _SAME_FONT * min(tallest, height):
                return False
        gap = max(new.x0 - last.x1, last.x0 - new.x1)
        apart = max(new.y0 - whole.y1, whole.y0 - new.y1)
        needed = _OVERLAP if gap <= size else _OVERLAP_AFTER_GAP
        level = _shared(whole, new) >= needed or (apart <= _NEAR * size and gap <= size / 2)
        grown = max(whole.y1, new.y1) - min(whole.y0, new.y0)
        return level and gap <= _GAP * size and grown <= _SLANT * size

    def box(self) -> Box:
        """The line's box, rounded outwards to hundredths of a point."""
        whole = self._whole
        return Box(
            page=self.page,
            x0=math.floor(whole.x0 * 100) / 100,
            y0=math.floor(whole.y0 * 100) / 100,
            x1=math.ceil(whole.x1 * 100) / 100,
            y1=math.ceil(whole.y1 * 100) / 100,
        )


def _shared(one: Rectangle, other: Rectangle) -> float:
    """How much of the lower rectangle's height both have in common, from 0 to 1."""
    common = min(one.y1, other.y1) - max(one.y0, other.y0)
    least = min(one.y1 - one.y0, other.y1 - other.y0)
    return 0.0 if common <= 0 else min(common / least, 1.0)
