"""Words → pieces of lines, without any order among them yet."""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from rag_ft.indexing.formats.pdf.characters import Glyph, Style
from rag_ft.indexing.formats.pdf.pieces import WIDE_GAP, Boxed, Piece
from rag_ft.indexing.formats.pdf.words import Word, is_rtl, words_of
from rag_ft.indexing.formats.scripts import scripted

_SAME_LINE = 0.3
_SCRIPT_SIZE = 0.85
_RAISED = 0.15
_LOWERED = 0.08
_LONGEST_SCRIPT = 24
_TAIL = 40


def pieces_of(glyphs: Sequence[Glyph]) -> list[Piece]:
    """The pieces of lines of one page and direction, from top to bottom and from left to right."""
    rows = _rows(_Run.of(words_of(glyphs)))
    return [piece for row in rows for run in _merged(row) if (piece := _piece(run)).text]


class _Run:
    """Words that follow one another on a line, as the page draws them."""

    __slots__ = ("baseline", "size", "words", "x0", "x1")

    def __init__(self, word: Word) -> None:
        self.words = [word]
        self.x0, self.x1, self.baseline, self.size = word.x0, word.x1, word.baseline, word.size

    @classmethod
    def of(cls, words: Iterable[Word]) -> list[_Run]:
        """Runs of words in the order in which the page draws them; their lines may be slightly askew."""
        runs: list[_Run] = []
        for word in words:
            last = runs[-1] if runs else None
            if last is not None and last.continued_by(word.x0, word.baseline, word.size):
                last.add(word)
            else:
                runs.append(cls(word))
        return runs

    def continued_by(self, x0: float, baseline: float, size: float) -> bool:
        before = self.words[-1]
        gap = x0 - before.x1
        level = abs(before.baseline - baseline) <= _SAME_LINE * min(before.size, size)
        if not level and min(before.size, size) <= _SCRIPT_SIZE * max(before.size, size):
            level = abs(before.baseline - baseline) <= max(before.size, size) / 2
        return level and -0.3 * size < gap <= WIDE_GAP * max(size, before.size)

    def add(self, word: Word) -> None:
        self.words.append(word)
        self.x0, self.x1 = min(self.x0, word.x0), max(self.x1, word.x1)
        if word.size > self.size:
            self.size, self.baseline = word.size, word.baseline

    def take(self, run: _Run) -> None:
        for word in run.words:
            self.add(word)


def _rows(runs: list[_Run]) -> Iterator[list[_Run]]:
    """Runs on one height, each row from left to right."""
    row: list[_Run] = []
    for run in sorted(runs, key=lambda run: (run.baseline, run.x0)):
        if row and run.baseline - row[0].baseline > _SAME_LINE * min(row[0].size, run.size):
            yield sorted(row, key=lambda run: (run.x0, run.x1))
            row = []
        row.append(run)
    if row:
        yield sorted(row, key=lambda run: (run.x0, run.x1))


def _merged(row: list[_Run]) -> list[_Run]:
    """Runs of a row, those without a wide gap between them as one. Text drawn twice for effect is kept once."""
    merged: list[_Run] = []
    for run in row:
        last = merged[-1] if merged else None
        if last is not None and run.x0 - last.x1 <= WIDE_GAP * max(run.size, last.size):
            if not _is_shadow(last, run):
                last.take(run)
        else:
            merged.append(run)
    return merged


def _is_shadow(run: _Run, other: _Run) -> bool:
    """Whether a run draws the last words of another again, slightly moved."""
    before = run.words[-len(other.words) :]
    return len(before) == len(other.words) and all(
        abs(one.x0 - two.x0) < 0.3 * one.size
        and abs(one.x1 - two.x1) < 0.3 * one.size
        and len(one.glyphs) == len(two.glyphs)
        and all(first.text == second.text for first, second in zip(one.glyphs, two.glyphs, strict=True))
        for one, two in zip(before, other.words, strict=True)
    )


def _piece(run: _Run) -> Piece:
    """The text of a run, with superscripts and subscripts written as such."""
    words = run.words
    sizes: Counter[Style] = Counter(glyph.style for word in words for glyph in word.glyphs)
    total = sizes.total()
    bold = sum(count for style, count in sizes.items() if style.bold) > 0.9 * total
    mono = all(style.mono for style in sizes)
    by_size: Counter[float] = Counter()
    for style, count in sizes.items():
        if mono or not style.mono:  # words in another font are often smaller
            by_size[style.size] += count
    size = max(by_size, key=lambda size: (by_size[size], size))
    level = next((word.baseline for word in words if abs(word.size - size) < 0.01 * size), run.baseline)
    if any(is_rtl(glyph.text) for word in words for glyph in word.glyphs):
        words = _rtl_words(words, total)
    else:
        words = sorted(words, key=lambda word: word.x0)
    text = _Text()
    spans, starts = array("f"), array("i")
    before: Word | None = None
    for word in words:
        if before is not None:
            gap = word.x0 - before.x1
            text.space(max(round(gap / _advance(word)), 1) if mono else 1)
        starts.append(text.length)
        spans.extend((word.x0, word.x1))
        # In a line that is askew, each word has its own height.
        own = word.baseline if abs(word.size - size) < 0.01 * size else level
        text.add(word, size, own)
        before = word
    content = Boxed("".join(text.parts), text.boxes)
    return Piece(content, spans, starts, run.x0, run.x1, level, Style(size, bold, mono))


def _rtl_words(words: list[Word], total: int) -> list[Word]:
    """Words of a line that has some to be read from right to left, in the order in which they are read."""
    for word in words:
        if sum(is_rtl(glyph.text) for glyph in word.glyphs) * 2 > len(word.glyphs):
            glyphs = sorted(word.glyphs, key=lambda glyph: -glyph.x0)
            word.glyphs = [glyph for run in _runs(glyphs, lambda glyph: _is_ltr(glyph.text)) for glyph in run]
    if sum(is_rtl(glyph.text) for word in words for glyph in word.glyphs) * 2 <= total:
        return sorted(words, key=lambda word: word.x0)
    leftward = sorted(words, key=lambda word: -word.x1)
    return [word for run in _runs(leftward, lambda word: _is_ltr(word.glyphs[0].text)) for word in run]


_Item = TypeVar("_Item")


def _runs(items: list[_Item], is_ltr: Callable[[_Item], bool]) -> Iterator[list[_Item]]:
    """Runs of items from right to left; those to be read from left to right are turned round."""
    for ltr, group in groupby(items, key=is_ltr):
        run = list(group)
        yield run[::-1] if ltr else run


def _is_ltr(character: str) -> bool:
    return unicodedata.bidirectional(character[:1]) in ("L", "EN", "AN")


def _advance(word: Word) -> float:
    glyph = word.glyphs[0]
    return max(glyph.x1 - glyph.x0, 0.2 * glyph.style.size)


class _Text:
    """The text of a piece while it is written."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.boxes = array("i")
        self.length = 0
        self._after_mark = False  # of a note, in brackets

    def space(self, count: int) -> None:
        self._after_mark = False
        self._put(" " * count, (-1,) * count)

    def add(self, word: Word, size: float, baseline: float) -> None:
        """Add a word; `size` and `baseline` are those of the line."""
        if all(glyph.style.size > _SCRIPT_SIZE * size for glyph in word.glyphs):
            self._space_after_mark(word.glyphs[0])
            texts = [glyph.text for glyph in word.glyphs]
            text = "".join(texts)
            if len(text) == len(texts):
                self._put(text, [glyph.box for glyph in word.glyphs])
                return
        script: list[Glyph] = []
        place = 0
        for glyph in word.glyphs:
            here = 0
            if glyph.style.size <= _SCRIPT_SIZE * size:
                height = baseline - glyph.baseline
                here = 1 if height >= _RAISED * size else -1 if height <= -_LOWERED * size else 0
            if here != place:
                self._put_script(script, place)
                script, place = [], here
            if here:
                script.append(glyph)
                continue
            self._space_after_mark(glyph)
            self._put(glyph.text, (glyph.box,))
        self._put_script(script, place)

    def _space_after_mark(self, glyph: Glyph) -> None:
        if self._after_mark and glyph.text.isalnum():
            self.space(1)
        self._after_mark = False

    def _put_script(self, glyphs: list[Glyph], place: int) -> None:
        if not glyphs:
            return
        content = "".join(glyph.text for glyph in glyphs)
        if len(content) > _LONGEST_SCRIPT:
            written = content
        else:
            written = scripted(content, self._tail(), above=place > 0)
        boxes = []
        rest = iter(glyphs)
        glyph = next(rest, None)
        for character in written:
            if glyph is not None and unicodedata.normalize("NFKC", character) == unicodedata.normalize(
                "NFKC", glyph.text
            ).replace("\u2212", "-" if character != "\u2212" else "\u2212"):
                boxes.append(glyph.box)
                glyph = next(rest, None)
            else:
                boxes.append(-1)
        self._put(written, boxes)
        self._after_mark = written.endswith("]")

    def _tail(self) -> str:
        tail = ""
        for part in reversed(self.parts):
            tail = part[-_TAIL:] + tail
            if len(tail) >= _TAIL:
                break
        return tail

    def _put(self, text: str, boxes: Sequence[int]) -> None:
        # A character may be written as several, a ligature for example: each has the same box.
        self.parts.append(text)
        self.boxes.extend(boxes if len(boxes) == len(text) else (boxes[0],) * len(text))
        self.length += len(text)
