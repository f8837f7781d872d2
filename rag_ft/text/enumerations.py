"""Enumerations in a text: the things that "plants, animals and tools" lists. English conjunctions only."""

from __future__ import annotations

import re

from rag_ft.text.spans import Span

_CONJUNCTION = r"(?:(?:and/or|and|or|as\s+well\s+as)\b|&)"
_SEPARATOR = re.compile(
    # No comma within a number or a date: "1,163", "July 4, 1776".
    rf"\s*[,;](?!\d)(?!(?<=\d[,;])\s+\d{{4}}\b)\s*(?:{_CONJUNCTION}\s*)?|\s+{_CONJUNCTION}\s+",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_BEFORE = re.compile(r"(?:both|either)\s+", re.IGNORECASE)
"""What stands before the first item and is not part of it."""

_PAIRS = {"(": ")", "[": "]", "{": "}", "“": "”", "«": "»", '"': '"', "`": "`"}


def enumerated(text: str) -> list[Span]:
    """Spans of the things that a text lists, in order, each of them once; empty where it lists fewer than two.

    What stands in brackets or quotation marks is not taken apart.
    """
    before = _BEFORE.match(text)
    start = before.end() if before else 0
    items: list[Span] = []
    seen: set[tuple[str, ...]] = set()
    for end, following in [*_separators(text), (len(text), len(text))]:
        words = tuple(_WORD.findall(text[start:end].casefold()))
        if words and words not in seen:
            seen.add(words)
            items.append(_trimmed(text, start, end))
        start = following
    return items if len(items) > 1 else []


def _separators(text: str) -> list[tuple[int, int]]:
    """Offsets of what stands between the items: commas and conjunctions outside of brackets and quotation marks."""
    within = _bracketed(text)
    return [match.span() for match in _SEPARATOR.finditer(text) if not within[match.start()]]


def _bracketed(text: str) -> list[bool]:
    """Whether each character stands in brackets or quotation marks that are closed again."""
    within = [False] * len(text)
    end = 0
    for i, character in enumerate(text):
        if i >= end and character in _PAIRS:
            closing = text.find(_PAIRS[character], i + 1)
            if closing > 0:
                end = closing + 1
                within[i:end] = [True] * (end - i)
    return within


def _trimmed(text: str, start: int, end: int) -> Span:
    """A span without white space at its ends."""
    piece = text[start:end]
    return Span(start + len(piece) - len(piece.lstrip()), end - (len(piece) - len(piece.rstrip())))
