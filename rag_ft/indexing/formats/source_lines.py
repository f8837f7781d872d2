"""Lines of a file's source → where they stand in the text that was read from it, for formats with markup.

Both hold the same words in the same order, but for markup, list marks and repeated column names. So each line of the
source is looked for by its first words, a little beyond where the line before it was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from rag_ft.indexing.formats.extracted import LineAnchor

_WORD = re.compile(r"[^\W_]+")
_REACH = 40
"""Words of the text that may lie between two lines: column names that rows repeat, text that is not in the source."""
_MARKUP = 6
"""Words at the beginning of a line that may be markup: a link's address, a tag with attributes."""
_LOST, _FAR = 4, 3_000
"""After so many lines that were not found, the next is looked for within so many words: the text has more than the
source there."""
_INSERTED, _NAMES = 3, 12
"""Words that may stand in the text, and not in the source, between two words of a line, or of a row."""
_COMPARED = 3
"""Words in a row that make sure that it is the line."""


class SourceLine(NamedTuple):
    """A line of a file that may hold text."""

    number: int
    """Counted from 1."""
    text: str
    """Its words; the fewer are markup, the better the line is found."""
    row: bool = False
    """Whether it is a table's row, whose text may repeat the names of the columns."""


def line_anchors(text: str, lines: Iterable[SourceLine]) -> tuple[LineAnchor, ...]:
    """Where each line of the source begins in the text; lines that are not found are left out.

    An anchor is at the beginning of its line in the text, before a list mark or a row's column name, unless another
    line of the source stands there; inside a paragraph it is at the line's first word.
    """
    words = _WORD.findall(text)
    starts = [word.start() for word in _WORD.finditer(text)]
    anchors: list[LineAnchor] = []
    next_word = lost = 0
    for line in lines:
        wanted = _WORD.findall(line.text)
        found = _find(words, next_word, wanted[: _MARKUP + _COMPARED])
        if found is None and lost >= _LOST:
            found = _find_far(words, next_word, wanted[:_COMPARED])
        if found is None:
            lost += len(wanted) >= _COMPARED
            continue
        lost = 0
        offset = _beginning(text, starts[found], anchors[-1].offset if anchors else -1)
        next_word = _end(words, found, wanted, _NAMES if line.row else _INSERTED)
        anchors.append(LineAnchor(offset, line.number))
    return tuple(anchors)


def _find(words: list[str], first: int, wanted: list[str]) -> int | None:
    """The first word of the text, from `first` on, at which some words of a line stand; its earliest words count most.

    Three words must be equal in a row, or two, or one if the line has no more or it is its first.
    """
    stop = min(first + _REACH, len(words))
    for skipped in range(min(len(wanted), _MARKUP)):
        compared = wanted[skipped : skipped + _COMPARED]
        position = first - 1
        best, equal = None, 0
        while True:
            try:
                position = words.index(compared[0], position + 1, stop)
            except ValueError:
                break
            length = 1
            while length < len(compared) and words[position + length : position + length + 1] == [compared[length]]:
                length += 1
            if length > equal:
                best, equal = position, length
            if equal == len(compared):
                break
        if best is not None and (skipped == 0 or equal >= min(2, len(compared))):
            return best
    return None


def _find_far(words: list[str], first: int, wanted: list[str]) -> int | None:
    """The first place, much further on, at which the line's first three words stand in a row."""
    position, stop = first - 1, min(first + _FAR, len(words))
    while len(wanted) == _COMPARED:
        try:
            position = words.index(wanted[0], position + 1, stop)
        except ValueError:
            return None
        if words[position : position + _COMPARED] == wanted:
            return position
    return None


def _end(words: list[str], found: int, wanted: list[str], inserted: int) -> int:
    """The word of the text after a line that begins at `found`: its words are followed as far as they are there."""
    skipped = wanted.index(words[found])
    rest = wanted[skipped:]
    if words[found : found + len(rest)] == rest:
        return found + len(rest)
    position = found
    for word in rest:
        if position < len(words) and words[position] == word:
            position += 1
        elif word in words[position : position + 1 + inserted]:
            position = words.index(word, position) + 1
    return max(position, found + 1)


def _beginning(text: str, offset: int, before: int) -> int:
    """Where the line of a word begins: with the text's line, or after the white space before the word."""
    line_start = text.rfind("\n", 0, offset) + 1
    if line_start > before:
        return line_start
    while offset > before + 1 and not text[offset - 1].isspace():
        offset -= 1
    return offset


def line_ends(text: str) -> int:
    r"""Number of line ends in a text; `\r\n` counts once, as editors count it."""
    return text.count("\n") + text.count("\r") - text.count("\r\n")
