"""Pieces of lines: text with the box of each character, and the edges of its words."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from rag_ft.indexing.formats.pdf.characters import ASCENT, DESCENT, Style

WIDE_GAP = 1.0
"""A gap wider than this share of the size may lie between two columns."""

_MOST_SPACES = 400


class Boxed:
    """Text with the number of the box of each of its characters; -1 for those that the page does not draw."""

    __slots__ = ("boxes", "text")

    def __init__(self, text: str = "", boxes: array[int] | None = None) -> None:
        self.text = text
        self.boxes = array("i", (-1,)) * len(text) if boxes is None else boxes

    def __getitem__(self, span: slice) -> Boxed:
        return Boxed(self.text[span], self.boxes[span])

    def trimmed(self) -> Boxed:
        """The text without white space at its ends."""
        start = len(self.text) - len(self.text.lstrip())
        return self[start : max(len(self.text.rstrip()), start)]


def joined(parts: Iterable[Boxed], gap: str = " ") -> Boxed:
    """Texts as one, with a gap between them that is not drawn."""
    texts: list[str] = []
    boxes = array("i")
    for part in parts:
        if texts:
            boxes.extend((-1,) * len(gap))
        texts.append(part.text)
        boxes.extend(part.boxes)
    return Boxed(gap.join(texts), boxes)


def single_spaced(content: Boxed) -> Boxed:
    """A text with one space for several."""
    if "  " not in content.text:
        return content
    kept = [
        offset
        for offset, character in enumerate(content.text)
        if not (character == " " and content.text[offset - 1 : offset] == " ")
    ]
    text = "".join(content.text[offset] for offset in kept)
    return Boxed(text, array("i", (content.boxes[offset] for offset in kept)))


class Piece(NamedTuple):
    """Text on one baseline without a wide gap; a whole line, or what one column has of it."""

    content: Boxed
    spans: array[float]
    """Left and right edge of each word, in turn."""
    starts: array[int]
    """Offset of each word in the text."""
    x0: float
    x1: float
    baseline: float
    style: Style

    @property
    def text(self) -> str:
        """Its characters."""
        return self.content.text

    @property
    def top(self) -> float:
        """Upper edge of its letters."""
        return self.baseline - ASCENT * self.style.size

    @property
    def bottom(self) -> float:
        """Lower edge of its letters."""
        return self.baseline + DESCENT * self.style.size

    @property
    def advance(self) -> float:
        """Usual width of its characters."""
        return max((self.x1 - self.x0) / max(len(self.text), 1), 0.2 * self.style.size, 0.01)

    @property
    def widest_gap(self) -> float:
        """The widest gap between two of its words."""
        gaps = (self.spans[i + 1] - self.spans[i] for i in range(1, len(self.spans) - 1, 2))
        return max(gaps, default=0.0)

    def words(self, first: int, last: int) -> Piece:
        """The words from one number up to another."""
        start = self.starts[first]
        end = self.starts[last] if last < len(self.starts) else len(self.text)
        content = self.content[start:end].trimmed()
        starts = array("i", (offset - start for offset in self.starts[first:last]))
        spans = self.spans[first * 2 : last * 2]
        return Piece(content, spans, starts, spans[0], spans[-1], self.baseline, self.style)


def side_by_side(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one line as one, from left to right."""
    if len(pieces) == 1:
        return pieces[0]
    main = max(pieces, key=lambda piece: len(piece.text))
    spans, starts = array("f"), array("i", pieces[0].starts)
    for piece in pieces:
        spans.extend(piece.spans)
    mono = all(piece.style.mono for piece in pieces)
    parts, length = [pieces[0].content], len(pieces[0].text)
    for before, piece in pairwise(pieces):
        count = max(round((piece.x0 - before.x1) / before.advance), 1) if mono else 1
        parts += [Boxed(" " * min(count, _MOST_SPACES)), piece.content]
        length += len(parts[-2].text)
        starts.extend(start + length for start in piece.starts)
        length += len(piece.text)
    content = joined(parts, "")
    x0, x1 = min(piece.x0 for piece in pieces), max(piece.x1 for piece in pieces)
    style = main.style._replace(bold=all(piece.style.bold for piece in pieces), mono=mono)
    return Piece(content, spans, starts, x0, x1, main.baseline, style)
