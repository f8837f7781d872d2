"""Recognised words → the text of a page, in paragraphs."""

from __future__ import annotations

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


class RecognisedPage(NamedTuple):
    """The text of a page."""

    text: str
    confidence: float
    """Mean over its characters, from 0 to 1."""


def page_of(words: Iterable[Word]) -> RecognisedPage:
    """Join words to lines and lines to paragraphs with an empty line between them; what is hardly a word goes."""
    kept = [
        word
        for word in words
        if word.text.strip()
        and (word.confidence >= _LEAST_CONFIDENCE if any(map(str.isalnum, word.text)) else word.confidence >= 0.6)
    ]
    paragraphs = []
    for _, group in groupby(kept, key=lambda word: word.paragraph):
        text = ""
        for _, line in groupby(group, key=lambda word: word.line):
            text = _continued(text, " ".join(word.text for word in line))
        paragraphs.append(text)
    characters = sum(len(word.text) for word in kept)
    confidence = sum(word.confidence * len(word.text) for word in kept) / characters if characters else 0.0
    return RecognisedPage("\n\n".join(paragraphs), round(confidence, 3))


def _continued(text: str, line: str) -> str:
    """A paragraph with its next line; a word that the layout has cut is joined."""
    if not text:
        return line
    if text.endswith("-") and text[-2:-1].isalpha() and line[:1].islower():
        return text[:-1] + line
    return f"{text} {line}"
