"""Which spans of a passage may be an answer: whole words, inside one sentence, brackets balanced."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_ANSWER_CHARS = 160
"""Longest candidate span. Every question of SQuAD 2.0's development set has an accepted answer within it."""


class Span(NamedTuple):
    """Character offsets into a passage's text, end exclusive."""

    start: int
    end: int


_LETTERS = (
    r"[\w\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    r"\u0900-\u0963\u0966-\u0dff\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ece\u1000-\u1049\u1050-\u109f"
    r"\u1780-\u17d3\u200c\u200d]+"
)
"""Words, with accents and vowel signs that `\\w` lacks: Hebrew, Arabic, the scripts of India, Thai, Burmese, Khmer."""

_WORD = re.compile(rf"{_LETTERS}(?:[-'’‐‑._]{_LETTERS}|(?<=\d)[,:](?=\d){_LETTERS})*")
"""A word is not cut at hyphens, apostrophes, inner full stops (3.5, e.g, faiss.Index) or commas and colons between
digits (10:30am)."""

_UNITS = frozenset("%‰°")
_CURRENCIES = frozenset("$£€¥")
"""Belong to the number beside them, even after a blank: `99.95 %`, `€ 140`."""

_LABEL = re.compile(r"(?:[QAF]|Question|Answer|Frage|Antwort)[:.)](?=\s)")
"""Labels that start the lines of a list of questions and answers; not part of an answer."""

_STOPS = "，、；：。！？،؛؟۔।॥"
"""Stops and commas of Chinese, Japanese, Arabic and Hindi."""

_NEVER_FIRST = frozenset(",.;:!?)]}%‰°”’»）」』》〉】" + _STOPS)
_NEVER_LAST = frozenset(",;:!?([{“‘«¿¡$£€¥#@（「『《〈【" + _STOPS)
_PAIRS = dict(zip(")]}”»）」』》〉】", "([{“«（「『《〈【", strict=True))
_OPENERS = frozenset(_PAIRS.values())


class _Piece(NamedTuple):
    start: int
    end: int
    first: bool
    """Whether an answer may start with it."""
    last: bool
    """Whether an answer may end with it."""


def candidate_spans(text: str, sentences: Sequence[tuple[int, int]], max_chars: int = MAX_ANSWER_CHARS) -> list[Span]:
    """All spans that may be an answer, ordered by start, then end.

    A span starts and ends at a word, or at a symbol that belongs to a word (`$5`, `40%`). It lies inside one of
    `sentences` and has at most `max_chars` characters (a single longer word is left whole), no unmatched bracket and
    an even number of straight double quotes.
    """
    spans: list[Span] = []
    for sentence_start, sentence_end in sentences:
        pieces = _pieces(text, sentence_start, sentence_end)
        for i, piece in enumerate(pieces):
            if not piece.first:
                continue
            open_brackets: list[str] = []
            quotes = 0
            for other in pieces[i:]:
                if other.end - piece.start > max_chars and other is not piece:
                    break
                symbol = text[other.start] if other.end - other.start == 1 else ""
                if symbol in _OPENERS:
                    open_brackets.append(symbol)
                elif symbol in _PAIRS:
                    if not open_brackets or open_brackets.pop() != _PAIRS[symbol]:
                        break  # closes a bracket from before the span: no longer span can be balanced
                elif symbol == '"':
                    quotes += 1
                if other.last and not open_brackets and quotes % 2 == 0:
                    spans.append(Span(piece.start, other.end))
    return spans


def _pieces(text: str, start: int, end: int) -> list[_Piece]:
    """Words and single symbols of a sentence, in order."""
    pieces: list[_Piece] = []
    position = start
    label = _LABEL.match(text, start, end)
    text_start = label.end() if label else start
    while position < end:
        if text[position].isspace():
            position += 1
            continue
        word = _WORD.match(text, position, end)
        if word:
            pieces.append(_Piece(position, word.end(), position >= text_start, True))
            position = word.end()
            continue
        symbol = text[position]
        after_space = position == start or text[position - 1].isspace()
        before_space = position + 1 >= end or text[position + 1].isspace()
        amount = symbol in _CURRENCIES and text[position + 2 : min(position + 3, end)].isdigit()
        before = text[max(start, position - 2) : position]
        share = symbol in _UNITS | _CURRENCIES and (before[-1:].isdigit() or (after_space and before[:1].isdigit()))
        # A full stop ends an answer only where it belongs to an abbreviation: "U.S.", "Inc." inside a sentence.
        dot = symbol == "." and position + 1 < end and not after_space
        pieces.append(
            _Piece(
                position,
                position + 1,
                first=symbol not in _NEVER_FIRST and position >= text_start and (not before_space or amount),
                last=dot or share or (symbol != "." and symbol not in _NEVER_LAST and not after_space),
            )
        )
        position += 1
    return pieces
