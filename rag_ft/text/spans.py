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

_WORD = re.compile(
    rf"(?:(?<![\w.…)\]}}])\.(?=\w))?{_LETTERS}(?:[-'’‐‑._]{_LETTERS}|(?<=\d)[,:](?=\d){_LETTERS})*"
    r"(?:(?<=[^\W\d_])(?:#|\+\+)(?![\w#+]))?"
)
"""A word is not cut at hyphens, apostrophes, inner full stops (3.5, e.g, faiss.Index) or commas and colons between
digits (10:30am). A full stop may begin it (.env, .05), and `#` or `++` end it (C#, C++)."""

_UNITS = frozenset("%‰°")
_CURRENCIES = frozenset("$£€¥")
"""Belong to the number beside them, even after a blank: `99.95 %`, `€ 140`."""

_BEFORE_A_NUMBER = _CURRENCIES | frozenset("<>≤≥≈±~=§№")
"""Belong to the number after them, even after a blank: `€ 140`, `< .05`, `§ 5`."""

_NUMBER_AFTER = re.compile(r".\s?\.?\d")

_LABEL = re.compile(r"(?:[QAF]|Question|Answer|Frage|Antwort)(?P<sign>[:.)])(?=\s)")
"""Labels that start the lines of a list of questions and answers; not part of an answer."""

_QUESTION_LINE = re.compile(r"^[ \t]*[QF]\.\s", re.MULTILINE)
_ANSWER_LINE = re.compile(r"^[ \t]*A\.\s", re.MULTILINE)

_ABBREVIATED = re.compile(
    r"(?:(?<![\w.])(?:[^\W\d_]\.)+[^\W\d_]|\b(?:Inc|Ltd|Co|Corp|Jr|Sr|Bros|St|Ave|Blvd|Rd|etc|al|Chr|Mio|Mrd|usw|Str))\Z"
)
"""What keeps its full stop also at the end of a sentence: D.C., a.m., Inc."""
_LONGEST_ABBREVIATION = 16

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
    quote: bool = False
    """Whether it is a straight double quote that opens or closes a quotation."""


def candidate_spans(text: str, sentences: Sequence[tuple[int, int]], max_chars: int = MAX_ANSWER_CHARS) -> list[Span]:
    """All spans that may be an answer, ordered by start, then end.

    A span starts and ends at a word, or at a symbol that belongs to a word (`$5`, `40%`). It lies inside one of
    `sentences` and has at most `max_chars` characters (a single longer word is left whole), no unmatched bracket and
    an even number of straight double quotes.
    """
    spans: list[Span] = []
    labelled = _QUESTION_LINE.search(text) is not None and _ANSWER_LINE.search(text) is not None
    for sentence_start, sentence_end in sentences:
        pieces = _pieces(text, sentence_start, sentence_end, labelled)
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
                elif other.quote:
                    quotes += 1
                if other.last and not open_brackets and quotes % 2 == 0:
                    spans.append(Span(piece.start, other.end))
    return spans


def _pieces(text: str, start: int, end: int, labelled: bool) -> list[_Piece]:
    """Words and single symbols of a sentence, in order; `labelled`: `A.` and `Q.` are labels and not initials."""
    pieces: list[_Piece] = []
    position = start
    label = _LABEL.match(text, start, end)
    if label is not None and label["sign"] == "." and len(label[0]) == 2 and not labelled:
        label = None  # F. Scott Fitzgerald
    text_start = label.end() if label else start
    quoted = False
    token = start  # start of the run of characters that are not white space
    while position < end:
        if text[position].isspace():
            position += 1
            token = position
            continue
        word = _WORD.match(text, position, end)
        if word:
            pieces.append(_Piece(position, word.end(), position >= text_start, True))
            position = word.end()
            continue
        symbol = text[position]
        quote = symbol == '"' and (quoted or not text[max(start, position - 1) : position].isdigit())  # else inches
        quoted ^= quote
        pieces.append(
            _Piece(
                position,
                position + 1,
                first=position >= text_start and _may_be_first(text, position, token, end),
                last=_may_be_last(text, position, token, start, end),
                quote=quote,
            )
        )
        position += 1
    return pieces


_BEGINS_A_NAME = frozenset("%:!")
"""Begin names of systems, if a letter or digit follows a blank and them: `%APPDATA%`, `:q!`, `:8443`, `!important`."""


def _may_be_first(text: str, position: int, token: int, end: int) -> bool:
    symbol = text[position]
    if symbol in _BEGINS_A_NAME:
        starts = position == token or (position == token + 1 and text[token] in "([{\"'“‘`")
        return starts and position + 1 < end and (text[position + 1].isalnum() or text[position + 1] == "_")
    if symbol in _NEVER_FIRST:
        return False
    if position + 1 < end and not text[position + 1].isspace():
        return True
    return symbol in _BEFORE_A_NUMBER and _NUMBER_AFTER.match(text, position, end) is not None


def _may_be_last(text: str, position: int, token: int, start: int, end: int) -> bool:
    symbol = text[position]
    after_space = position == start or text[position - 1].isspace()
    if symbol == ".":
        # A full stop ends an answer only where it belongs to an abbreviation: "U.S.", "Inc." inside a sentence.
        if after_space:
            return False
        window = text[max(start, position - _LONGEST_ABBREVIATION) : position]
        return position + 1 < end or _ABBREVIATED.search(window) is not None
    before = text[max(start, position - 2) : position]
    if symbol in _UNITS | _CURRENCIES and (before[-1:].isdigit() or (after_space and before[:1].isdigit())):
        return True
    if symbol == "%" and position > token:  # %APPDATA%
        return text[token] == "%" and text[position - 1].isalnum()
    if symbol == "!" and position > token:  # :q!
        return text[token] == ":" and text[position - 1].isalnum()
    return symbol not in _NEVER_LAST and not after_space
