"""Pieces that stand side by side → slices, with the strips without text that may be gutters between columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rag_ft.indexing.formats.pdf.pieces import WIDE_GAP, Piece

_NARROW = 0.2
_BETWEEN_WORDS = 0.6
_ALIGNED = 0.1
_CORE = 0.5


class Slice:
    """What stands side by side."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces
        self.top = min(piece.top for piece in pieces)
        self.bottom = max(piece.bottom for piece in pieces)
        self.x0 = min(piece.x0 for piece in pieces)
        self.x1 = max(piece.x1 for piece in pieces)
        self.size = max(pieces, key=lambda piece: len(piece.text)).style.size
        self.free = self._free()

    def _free(self) -> list[Strip]:
        """Strips without text, from the far left to the far right."""
        if all(piece.style.mono for piece in self.pieces):
            spans = [(self.x0, self.x1)]  # code: a gap in it is no gutter
        else:
            spans = sorted(
                (piece.spans[i], piece.spans[i + 1]) for piece in self.pieces for i in range(0, len(piece.spans), 2)
            )
        strips: list[Strip] = []
        end = -math.inf
        for x0, x1 in spans:
            if x0 - end >= _NARROW * self.size:
                strips.append(Strip(end, x0))
            end = max(end, x1)
        return [*strips, Strip(end, math.inf)]

    def wide(self, strip: Strip) -> bool:
        """Whether a strip of this slice is wider than a gap between words, with text on both sides."""
        return WIDE_GAP * self.size < strip.end - strip.start < math.inf


class Strip(NamedTuple):
    """A strip from top to bottom without text, perhaps a gutter between columns."""

    start: float
    end: float
    support: int = 0
    """Slices with text on both sides of it."""
    wide: int = 0
    """Slices in which it is wider than a gap between words."""
    aligned: int = 0
    """Slices in which the text after it begins where it did in those above."""
    wide_below: bool = False
    """Whether it is wide in another slice than the first."""

    @property
    def is_gutter(self) -> bool:
        """Whether enough slices have it, wide enough or with aligned text after it."""
        if not self.wide:
            return False
        return self.wide * 2 >= self.support or (self.aligned + 1 >= self.support and self.wide_below)


def agree(strip: Strip, other: Strip, size: float) -> bool:
    """Whether two strips may be the same gutter: a gap between words only is where what follows it is aligned."""
    least = min(strip.end - strip.start, other.end - other.start)
    if math.inf in (strip.end, other.end):
        return True  # there is no text to the right of it
    return least >= _BETWEEN_WORDS * size or abs(strip.end - other.end) <= _ALIGNED * size


def slices_of(pieces: Sequence[Piece]) -> Iterator[Slice]:
    """Pieces that stand side by side, from top to bottom; lines of columns may stand between those of others."""
    slices = list(_level_slices(pieces))
    held: list[Piece] = []
    for i, part in enumerate(slices):
        held += part.pieces
        if not _interleave(*slices[i : i + 3]):
            yield part if len(held) == len(part.pieces) else Slice(held)
            held = []


def _interleave(part: Slice, beside: Slice | None = None, below: Slice | None = None) -> bool:
    """Whether the second of three slices stands beside the first and third, which are lines of one column."""
    if beside is None or below is None:
        return False
    apart = beside.x0 - part.x1 if beside.x0 > part.x0 else part.x0 - beside.x1
    also_apart = beside.x0 - below.x1 if beside.x0 > part.x0 else below.x0 - beside.x1
    if min(apart, also_apart) < WIDE_GAP * part.size:
        return False
    return below.top - part.bottom < 1.2 * part.size and part.x0 < below.x1 and below.x0 < part.x1


def _level_slices(pieces: Sequence[Piece]) -> Iterator[Slice]:
    """Pieces that overlap in height."""
    held: list[Piece] = []
    bottom = -math.inf
    for piece in sorted(pieces, key=lambda piece: piece.baseline - _CORE * piece.style.size):
        if held and piece.baseline - _CORE * piece.style.size >= bottom:
            yield Slice(held)
            held, bottom = [], -math.inf
        held.append(piece)
        bottom = max(bottom, piece.baseline)
    if held:
        yield Slice(held)
