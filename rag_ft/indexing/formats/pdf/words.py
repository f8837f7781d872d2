"""Characters → words, by the gaps between them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rag_ft.indexing.formats.pdf.characters import Glyph

_WORD_GAP = 0.15
_RTL_GAP = 0.25
_OVERDRAWN = 0.02
_SCRIPT_SIZE = 0.85
_LOWERED = 0.08
_LONGEST_SCRIPT = 24


class Word:
    """Characters without a gap between them."""

    __slots__ = ("apart", "baseline", "glyphs", "size", "x0", "x1")

    def __init__(self, glyph: Glyph, apart: bool) -> None:
        self.glyphs = [glyph]
        self.apart = apart
        """Whether the page draws a space before it."""
        self.x0, self.x1 = glyph.x0, glyph.x1
        self.baseline, self.size = glyph.baseline, glyph.style.size

    def add(self, glyph: Glyph) -> None:
        """Add a character at the end."""
        self.glyphs.append(glyph)
        self.x0, self.x1 = min(self.x0, glyph.x0), max(self.x1, glyph.x1)
        if glyph.style.size > self.size:
            self.baseline, self.size = glyph.baseline, glyph.style.size


def words_of(glyphs: Sequence[Glyph]) -> list[Word]:
    """The words of one page and direction, in the order in which the page draws them, with their superscripts."""
    return _with_scripts(list(_with_tracked_words(_words(glyphs))))


def _words(glyphs: Sequence[Glyph]) -> list[Word]:
    words: list[Word] = []
    last: Glyph | None = None
    space: Glyph | None = None
    for glyph in glyphs:
        if glyph.text == " ":
            space = glyph
            continue
        if last is not None and _continues(last, glyph, space):
            words[-1].add(glyph)
        else:
            words.append(Word(glyph, space is not None))
        last, space = glyph, None
    return words


def _continues(last: Glyph, glyph: Glyph, space: Glyph | None) -> bool:
    """Whether a character belongs to the word of the one drawn before it."""
    size = max(last.style.size, glyph.style.size)
    if abs(last.baseline - glyph.baseline) > size / 2:
        return False
    if glyph.x0 == last.x0 and space is None:
        return True  # a ligature is several characters in one box
    gap = last.x0 - glyph.x1 if _leftward(last, glyph) else glyph.x0 - last.x1
    if space is not None:
        # A space counts unless the next character is drawn over it.
        return space.x1 - space.x0 > 0.1 * size and -0.3 * size < gap < _OVERDRAWN * size
    # Arabic letters that do not join have gaps between them.
    return -0.5 * size < gap < (_RTL_GAP if is_rtl(glyph.text) and is_rtl(last.text) else _WORD_GAP) * size


def _leftward(last: Glyph, glyph: Glyph) -> bool:
    return glyph.x1 <= last.x0 + 0.3 * glyph.style.size and (is_rtl(glyph.text) or is_rtl(last.text))


def is_rtl(character: str) -> bool:
    """Whether a character is read from right to left, or belongs to such text."""
    return character >= "\u0590" and unicodedata.bidirectional(character) in ("R", "AL", "NSM", "AN")


_FEWEST_TRACKED = 4


def _with_tracked_words(words: list[Word]) -> Iterator[Word]:
    """Letters that are set apart from one another, all by the same gap, as words."""
    group: list[Word] = []
    for word in words:
        apart = word.apart or len(word.glyphs) > 1 or not word.glyphs[0].text.isalpha()
        near = (
            not apart
            and group
            and word.baseline == group[-1].baseline
            and word.size == group[-1].size
            and 0 < word.x0 - group[-1].x1 < word.size
        )
        if not near:
            yield from _tracked(group)
            group = []
            if len(word.glyphs) > 1 or not word.glyphs[0].text.isalpha():
                yield word
                continue
        group.append(word)
    yield from _tracked(group)


def _tracked(group: list[Word]) -> list[Word]:
    if len(group) < _FEWEST_TRACKED:
        return group
    gaps = [after.x0 - before.x1 for before, after in pairwise(group)]
    usual = sorted(gaps)[len(gaps) // 2]
    words = [group[0]]
    for gap, word in zip(gaps, group[1:], strict=True):
        if gap > 1.5 * usual + 0.05 * word.size:
            words.append(word)
        else:
            words[-1].add(word.glyphs[0])
    return words


_BUCKET = 4.0
_MOST_NEIGHBOURS = 50


def _with_scripts(words: list[Word]) -> list[Word]:
    """Superscripts and subscripts that are drawn apart from their word, put at its end."""
    if len({word.size for word in words}) < 2:
        return words
    by_end: dict[int, list[Word]] = {}
    for word in words:
        by_end.setdefault(int(word.x1 // _BUCKET), []).append(word)
    rest: list[Word] = []
    for word in words:
        base = None if word.apart or len(word.glyphs) > _LONGEST_SCRIPT else _base_of(word, by_end)
        if base is None:
            rest.append(word)
        else:
            for glyph in word.glyphs:
                base.add(glyph)
    return rest


def _base_of(script: Word, by_end: dict[int, list[Word]]) -> Word | None:
    """The word at whose end a smaller one stands, raised or lowered."""
    bucket = int(script.x0 // _BUCKET)
    for near in (bucket, bucket - 1, bucket + 1):
        for word in by_end.get(near, ())[:_MOST_NEIGHBOURS]:
            height = abs(word.baseline - script.baseline)
            if (
                script.size <= _SCRIPT_SIZE * word.size
                and _LOWERED * word.size <= height <= word.size / 2
                and abs(script.x0 - word.x1) < _WORD_GAP * word.size
                and word.glyphs[-1].style.size == word.size
            ):
                return word
    return None
