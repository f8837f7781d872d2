"""Recognised words → the text of a page, in paragraphs."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

_LEAST_CONFIDENCE = 0.3
"""Below this, a word is more often a stain than a word."""


class Word(NamedTuple):
    """A word as tesseract gives it."""

    text: str
    confidence: float
    """From 0 to 1."""
    paragraph: tuple[int, int]
    """Block and paragraph."""
    line: int
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Left, top, right and bottom in steps of the page (`indexing.places`)."""


class RecognisedPage(NamedTuple):
    """The text of a page."""

    text: str
    confidence: float
    """Mean over its characters, from 0 to 1."""
    boxes: bytes = b""
    """Box of each character, as `Extracted.char_boxes` has them: a word's box, cut into equal parts."""


def page_of(words: Iterable[Word]) -> RecognisedPage:
    """Join words to lines and lines to paragraphs with an empty line between them; what is hardly a word goes."""
    kept = [
        word
        for word in words
        if word.text.strip()
        and (word.confidence >= _LEAST_CONFIDENCE if any(map(str.isalnum, word.text)) else word.confidence >= 0.6)
    ]
    text = _Text()
    for _, group in groupby(kept, key=lambda word: word.paragraph):
        text.begin_paragraph()
        for _, line in groupby(group, key=lambda word: word.line):
            text.add_line([*line])
    characters = sum(len(word.text) for word in kept)
    confidence = sum(word.confidence * len(word.text) for word in kept) / characters if characters else 0.0
    return RecognisedPage("".join(text.characters), round(confidence, 3), b"".join(text.boxes))


_NOWHERE = (0, 0, 0, 0)
_BOX = struct.Struct("<4H")


class _Text:
    """Characters with their boxes, as they are put together."""

    def __init__(self) -> None:
        self.characters: list[str] = []
        self.boxes: list[bytes] = []

    def begin_paragraph(self) -> None:
        """Leave an empty line after the paragraph before."""
        if self.characters:
            self._add("\n\n", _NOWHERE)

    def add_line(self, words: list[Word]) -> None:
        """Continue the paragraph with a line; a word that the layout has cut is joined."""
        before = "".join(self.characters[-2:])
        if before.endswith("-") and before[:1].isalpha() and words[0].text[:1].islower():
            self.characters.pop()
            self.boxes.pop()
        elif before and not before.endswith("\n"):
            self._add(" ", _NOWHERE)
        for i, word in enumerate(words):
            if i:
                self._add(" ", _NOWHERE)
            self._add(word.text, word.box)

    def _add(self, text: str, box: tuple[int, int, int, int]) -> None:
        left, top, right, bottom = box
        for i, character in enumerate(text):
            start, end = (left + (right - left) * edge // len(text) for edge in (i, i + 1))
            self.characters.append(character)
            self.boxes.append(_BOX.pack(start, top, end, bottom))
