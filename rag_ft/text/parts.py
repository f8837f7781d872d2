"""Which parts of a passage may be an answer of whole sentences: its units, and the words by which a unit is named.

A unit is a sentence, a list item, a row of a table or a block of code, as `sentences` cuts them. A completion names the
first and the last unit of a part by their first words, so that to answer with eighty words takes some ten tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import Span

LEAD_WORDS = 4
"""Words that name a unit, unless another unit of the passage begins with the same ones."""

MOST_UNITS = 6
"""Longest part: more is a page to read and not an answer."""

_WORD = re.compile(r"\S+")
_HEADING = re.compile(r"(?:#{1,6}\s+|#{2,6})\S[^\n]*|[^\n]+\n(?:=+|-+)\s*")
_QUESTION_END = re.compile(r"[?？][\"'”’»)\]*_` \t]*\Z")
_LONGEST_END = 8
"""Characters at the end of a unit that are looked at for a question mark and what closes behind it."""


def passage_units(text: str, headings: Collection[str] = ()) -> list[Span]:
    """Spans of the units of a passage's text in order, without its headings and questions, which answer nothing.

    `headings`: texts of the headings that the passage stands under; lines marked as headings are left out anyway.
    """
    known = {heading.strip().casefold() for heading in headings}
    return [
        Span(start, end)
        for start, end in sentence_spans(text)
        if not _HEADING.fullmatch(text, start, end)
        and text[start:end].strip("#* \t").casefold() not in known
        and not _QUESTION_END.search(text, max(start, end - _LONGEST_END), end)
        and any(character.isalnum() for character in text[start:end])
    ]


def unit_leads(text: str, units: Sequence[Span]) -> list[str]:
    """The words that each unit is named by: its first four, more where another unit begins with them too, all where it
    is shorter. Equal units are named alike, and the first of them is meant.
    """
    wholes = [text[unit.start : unit.end] for unit in units]
    leads = []
    for unit, whole in zip(units, wholes, strict=True):
        others = [other for other in wholes if other != whole]
        ends = [word.end() for word in _WORD.finditer(text, *unit)]
        starts = (text[unit.start : end] for end in ends[LEAD_WORDS - 1 :])
        leads.append(next((lead for lead in starts if not any(other.startswith(lead) for other in others)), whole))
    return leads


def unit_runs(text: str, units: Sequence[Span]) -> list[tuple[int, int]]:
    """First and last index of every run of units that a part may be, in reading order.

    A run ends with a unit that introduces the next one ("Run this:") only where the passage ends there, too.
    """
    return [
        (first, last)
        for first in range(len(units))
        for last in range(first, min(first + MOST_UNITS, len(units)))
        if not introduces(text, units, last)
    ]


def units_within(text: str, units: Sequence[Span], start: int, end: int) -> range:
    """Indices of the units that lie at least half within `start` and `end`, and of what the last of them introduces:
    the first `MOST_UNITS`, or none.
    """
    inside = [
        i for i, unit in enumerate(units) if 2 * (min(unit.end, end) - max(unit.start, start)) >= unit.end - unit.start
    ]
    if not inside:
        return range(0)
    first, last = inside[0], min(inside[-1], inside[0] + MOST_UNITS - 1)
    while last - first + 1 < MOST_UNITS and introduces(text, units, last):
        last += 1
    while last > first and introduces(text, units, last):
        last -= 1
    return range(first, last + 1)


ITEM_MARK = r"(?:[-*•–‣◦▪●○]|\(?\d{1,3}[.)]|\(?[a-z]\))"
"""Pattern of the marks by which plain text shows list items."""

_ITEM = re.compile(rf"{ITEM_MARK}\s")


def is_item(text: str, unit: Span) -> bool:
    """Whether a unit begins with the mark of a list item."""
    return _ITEM.match(text, unit.start, unit.end) is not None


def introduces(text: str, units: Sequence[Span], i: int) -> bool:
    """Whether a unit ends in a colon and another one follows."""
    return i + 1 < len(units) and text.endswith(":", units[i].start, units[i].end)
