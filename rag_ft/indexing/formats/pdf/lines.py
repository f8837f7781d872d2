"""Characters → words by the gaps between them → pieces of lines, without any order among them yet."""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple, TypeVar

from rag_ft.indexing.formats.pdf.characters import ASCENT, DESCENT, Glyph, Style
from rag_ft.indexing.formats.scripts import scripted

WIDE_GAP = 1.0
"""A gap wider than this share of the size may lie between two columns."""

_WORD_GAP, _RTL_GAP = 0.15, 0.25
_OVERDRAWN = 0.02
_SAME_LINE = 0.3
_SCRIPT_SIZE = 0.85
_RAISED, _LOWERED = 0.15, 0.08
_LONGEST_SCRIPT = 24
_TAIL = 40
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


class _Word:
    """Characters without a gap between them."""

    __slots__ = ("apart", "baseline", "glyphs", "size", "x0", "x1")

    def __init__(self, glyph: Glyph, apart: bool) -> None:
        self.glyphs = [glyph]
        self.apart = apart
        """Whether the page draws a space before it."""
        self.x0, self.x1 = glyph.x0, glyph.x1
        self.baseline, self.size = glyph.baseline, glyph.style.size

    def add(self, glyph: Glyph) -> None:
        self.glyphs.append(glyph)
        self.x0, self.x1 = min(self.x0, glyph.x0), max(self.x1, glyph.x1)
        if glyph.style.size > self.size:
            self.baseline, self.size = glyph.baseline, glyph.style.size


def pieces_of(glyphs: Sequence[Glyph]) -> list[Piece]:
    """The pieces of lines of one page and direction, from top to bottom and from left to right."""
    rows = _rows(_Run.of(_with_scripts(list(_with_tracked_words(_words(glyphs))))))
    return [piece for row in rows for run in _merged(row) if (piece := _piece(run)).text]


def _words(glyphs: Sequence[Glyph]) -> list[_Word]:
    words: list[_Word] = []
    last: Glyph | None = None
    space: Glyph | None = None
    for glyph in glyphs:
        if glyph.text == " ":
            space = glyph
            continue
        if last is not None and _continues(last, glyph, space):
            words[-1].add(glyph)
        else:
            words.append(_Word(glyph, space is not None))
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
    return -0.5 * size < gap < (_RTL_GAP if _is_rtl(glyph.text) and _is_rtl(last.text) else _WORD_GAP) * size


def _leftward(last: Glyph, glyph: Glyph) -> bool:
    return glyph.x1 <= last.x0 + 0.3 * glyph.style.size and (_is_rtl(glyph.text) or _is_rtl(last.text))


def _is_rtl(character: str) -> bool:
    return character >= "\u0590" and unicodedata.bidirectional(character) in ("R", "AL", "NSM", "AN")


_FEWEST_TRACKED = 4


def _with_tracked_words(words: list[_Word]) -> Iterator[_Word]:
    """Letters that are set apart from one another, all by the same gap, as words."""
    group: list[_Word] = []
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


def _tracked(group: list[_Word]) -> list[_Word]:
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


def _with_scripts(words: list[_Word]) -> list[_Word]:
    """Superscripts and subscripts that are drawn apart from their word, put at its end."""
    if len({word.size for word in words}) < 2:
        return words
    by_end: dict[int, list[_Word]] = {}
    for word in words:
        by_end.setdefault(int(word.x1 // _BUCKET), []).append(word)
    rest: list[_Word] = []
    for word in words:
        base = None if word.apart or len(word.glyphs) > _LONGEST_SCRIPT else _base_of(word, by_end)
        if base is None:
            rest.append(word)
        else:
            for glyph in word.glyphs:
                base.add(glyph)
    return rest


def _base_of(script: _Word, by_end: dict[int, list[_Word]]) -> _Word | None:
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


class _Run:
    """Words that follow one another on a line, as the page draws them."""

    __slots__ = ("baseline", "size", "words", "x0", "x1")

    def __init__(self, word: _Word) -> None:
        self.words = [word]
        self.x0, self.x1, self.baseline, self.size = word.x0, word.x1, word.baseline, word.size

    @classmethod
    def of(cls, words: Iterable[_Word]) -> list[_Run]:
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

    def add(self, word: _Word) -> None:
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
    if any(_is_rtl(glyph.text) for word in words for glyph in word.glyphs):
        words = _rtl_words(words, total)
    else:
        words = sorted(words, key=lambda word: word.x0)
    text = _Text()
    spans, starts = array("f"), array("i")
    before: _Word | None = None
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


def _rtl_words(words: list[_Word], total: int) -> list[_Word]:
    """Words of a line that has some to be read from right to left, in the order in which they are read."""
    for word in words:
        if sum(_is_rtl(glyph.text) for glyph in word.glyphs) * 2 > len(word.glyphs):
            glyphs = sorted(word.glyphs, key=lambda glyph: -glyph.x0)
            word.glyphs = [glyph for run in _runs(glyphs, lambda glyph: _is_ltr(glyph.text)) for glyph in run]
    if sum(_is_rtl(glyph.text) for word in words for glyph in word.glyphs) * 2 <= total:
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


def _advance(word: _Word) -> float:
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

    def add(self, word: _Word, size: float, baseline: float) -> None:
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
