"""Lines of one column → paragraphs, items of lists and code, by gaps, indents, marks and fonts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Literal

from rag_ft.indexing.formats.pdf.hyphens import HYPHENS, Hyphens
from rag_ft.indexing.formats.pdf.layout import Flow
from rag_ft.indexing.formats.pdf.pieces import Boxed, Piece, joined, single_spaced
from rag_ft.indexing.formats.pdf.rules import Rules

STOP = re.compile(r"[.!?:;\u2026。！？][\"'”’»)\]]*$")
_BULLET = re.compile(r"[•‣◦▪●○■□➢➤✓✔❖➔►\uf0a7\uf0b7\uf0d8\uf0fc\uf0e0\uf076\x88\u2023\u25b8]\s*(?=\S)|[–—*·-]\s+(?=\S)")
_KEPT_BULLETS = "-*•–‣◦▪●○·"
"""Marks that other parts of the program know as such; any other is written as the first of the round ones."""
_NUMBERED = re.compile(r"\(?(?:\d{1,3}(?:\.\d{1,3})*|[a-zA-Z]|[ivx]{1,5}|[IVX]{1,5})[.)]\s+(?=\S)|\[[x ]\]\s*(?=\S)")
_LETTER = re.compile(r"[A-Z]\.")
LEADERS = re.compile(r"(?:\.\s?){4,}\s*\S{1,6}$")
"""Dots that lead to the number of a page in a table of contents."""
_OPEN_END = re.compile(r"[.!?:;\u2026。！？)\]\"”’»]$")
_INDENT = 0.8
_SAME_SIZE = 0.06
_MOST_BLANK_LINES = 3
_MOST_SPACES = 400
_FULL, _FEWEST_FULL = 1.0, 4
_USUAL_PITCH = 1.25
_LARGER_PITCH = 1.22

ParagraphKind = Literal["prose", "item", "code"]


@dataclass
class Paragraph:
    """Lines that belong together, as one text."""

    kind: ParagraphKind
    lines: list[Piece]
    parts: list[Boxed] = field(default_factory=list)
    """Text of each line, with the gap before it."""
    text_left: float = 0.0
    """Where the text of an item begins, after its mark."""
    right: float = 0.0
    """How far to the right lines of its size reach; 0 in a column of few lines, which does not tell."""

    @property
    def last(self) -> Piece:
        """The line that the next one would follow."""
        return self.lines[-1]

    def add(self, line: Piece, hyphens: Hyphens, break_line: bool = False) -> None:
        """Add a line of running text."""
        self.lines.append(line)
        self.join(single_spaced(line.content), hyphens, break_line)

    def join(self, content: Boxed, hyphens: Hyphens, break_line: bool = False) -> int:
        """Add text after the last part; returns how many characters before it were taken away."""
        before = self.parts[-1]
        taken, gap = (0, "\n") if break_line else hyphens.join(before.text, content.text)
        if taken:
            self.parts[-1] = before[: len(before.text) - taken]
        if gap:
            self.parts.append(Boxed(gap))
        self.parts.append(content)
        return taken

    def is_cut(self, next_line: Piece) -> bool:
        """Whether its last line is full, so that a sentence may end there by chance and the paragraph go on."""
        word = next_line.spans[1] - next_line.spans[0]
        return self.last.x1 + word + 0.4 * self.last.style.size > self.right > 0

    def begins_indented(self) -> bool:
        """Whether its first line is indented."""
        return len(self.lines) > 1 and self.lines[0].x0 > self.lines[1].x0 + _INDENT * self.last.style.size

    def content(self) -> Boxed:
        """Its whole text."""
        return joined(self.parts, "")


class LineSpacing:
    """The usual distance between lines of one paragraph, in sizes, over a whole document."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        pitches: dict[float, list[float]] = {}
        for flow in flows:
            for line, below in zip(flow.lines, flow.lines[1:], strict=False):
                pitch = (below.baseline - line.baseline) / max(line.style.size, 0.01)
                if (
                    0.5 < pitch < 4
                    and not line.style.mono
                    and line.style.size == below.style.size
                    and below.text[:1].islower()
                ):
                    sized = pitches.setdefault(line.style.size, [])
                    if len(sized) < 2_000 and not STOP.search(line.text):
                        sized.append(pitch)
        self._usual = {size: median(sized) for size, sized in pitches.items() if len(sized) > 1}
        everything = [pitch for sized in pitches.values() for pitch in sized]
        self._else = median(everything) if everything else _USUAL_PITCH

    def usual(self, size: float) -> float:
        """The distance for text of this size."""
        return self._usual.get(size, self._else)


class ParagraphBuilder:
    """Builds the paragraphs of a document's columns."""

    def __init__(self, hyphens: Hyphens, spacing: LineSpacing, typewritten: bool) -> None:
        """`typewritten`: the document's usual font is of one width, so that does not mean code."""
        self._hyphens = hyphens
        self._spacing = spacing
        self._typewritten = typewritten

    def paragraphs(self, flow: Flow, rules: Rules) -> Iterator[Paragraph]:
        """The paragraphs of a column."""
        rights = _right_edges(flow.lines)
        full = Counter(
            line.style.size for line in flow.lines if line.x1 > rights[line.style.size] - _FULL * line.style.size
        )
        current: Paragraph | None = None
        for line in flow.lines:
            mark = self._mark(line, rules)
            if current is not None and self._is_continued(current, line, mark, rights):
                if current.kind == "code":
                    current.lines.append(line)
                else:
                    current.add(line, self._hyphens, self._breaks(current, line, rights))
                continue
            if current is not None:
                yield current
            current = self._begin(line, mark)
            if full[line.style.size] >= _FEWEST_FULL:
                current.right = rights[line.style.size]
        if current is not None:
            yield current

    def _begin(self, line: Piece, mark: int | None) -> Paragraph:
        if line.style.mono and not self._typewritten:
            return Paragraph("code", [line], [line.content])
        if mark is None:
            return Paragraph("prose", [line], [single_spaced(line.content)])
        first = next((i for i, start in enumerate(line.starts) if start >= mark > 0), 0)
        content = line.content
        if mark == 0:
            content = joined((Boxed("-"), content))
        elif line.text[0] not in _KEPT_BULLETS and _BULLET.match(line.text):
            content = joined((Boxed("•", content.boxes[:1]), content[mark:]))
        elif line.text[0] in _KEPT_BULLETS and line.text[1:2] != " ":
            content = joined((content[:1], content[mark:]))
        return Paragraph("item", [line], [single_spaced(content)], text_left=line.spans[first * 2])

    def _mark(self, line: Piece, rules: Rules) -> int | None:
        """Length of the mark of an item at the start of a line, 0 for a drawn one; None if there is none."""
        text = line.text
        if match := _BULLET.match(text) or _NUMBERED.match(text):
            return match.end()
        if text.startswith("o ") and len(line.spans) > 2 and line.spans[2] - line.spans[1] > 0.5 * line.style.size:
            return 2
        return 0 if rules.bullet_before(line.x0, line.baseline, line.style.size) else None

    def _is_continued(self, current: Paragraph, line: Piece, mark: int | None, rights: dict[float, float]) -> bool:
        last = current.last
        size = max(line.style.size, last.style.size)
        pitch = line.baseline - last.baseline
        usual = self._spacing.usual(last.style.size) * last.style.size
        if abs(line.style.size - last.style.size) > _SAME_SIZE * size:
            return False
        code = line.style.mono and not self._typewritten
        if (current.kind == "code") != code:
            # Words in such a font may fill a line of a paragraph.
            within = (
                current.kind != "code"
                and code
                and not STOP.search(last.text)
                and not self._had_room(last, line, rights)
            )
            if not within or pitch > _LARGER_PITCH * usual or line.x0 > last.x0 + _INDENT * size:
                return False
        if pitch <= 0:
            return False
        if current.kind == "code":
            return pitch < 2.6 * usual
        if pitch > _LARGER_PITCH * usual + 0.05 * size:
            return False
        room = self._had_room(last, line, rights)
        if mark == 0 or (mark is not None and self._is_item(current, line, room)):
            return False
        if last.style.bold != line.style.bold and (room or line.style.bold):
            return False
        if current.kind == "item":
            lazy = not room and abs(line.x0 - current.lines[0].x0) < _INDENT * size and line.text[:1].islower()
            return (
                line.x0 > current.text_left - 0.5 * size or lazy or (len(current.lines) > 1 and line.x0 >= last.x0 - 1)
            )
        if room and STOP.search(last.text):
            return False
        indent = line.x0 - last.x0
        if indent > _INDENT * size and not self._is_centred(last, line):
            # The first line of a paragraph is indented, the others of an entry with a hanging indent are.
            return not STOP.search(last.text) and len(current.lines) == 1 and line.text[:1].islower()
        if indent < -_INDENT * size and len(current.lines) > 1 and not self._is_centred(last, line):
            return not STOP.search(last.text) and line.text[:1].islower()
        return True

    def _is_item(self, current: Paragraph, line: Piece, room: bool) -> bool:
        """Whether a line that begins with a mark begins an item, and not by chance."""
        if _BULLET.match(line.text) and line.text[0] not in "–—-*·":
            return True
        last = current.last
        if current.kind == "item":
            return line.x0 < current.text_left - 0.2 * line.style.size or room or line.x0 > current.text_left + 1
        if _LETTER.match(line.text) and not room:
            return False
        return room or bool(_OPEN_END.search(last.text)) or abs(line.x0 - last.x0) > _INDENT * line.style.size

    def _had_room(self, last: Piece, line: Piece, rights: dict[float, float]) -> bool:
        """Whether the first word of a line would have fitted at the end of the line above."""
        word = line.spans[1] - line.spans[0]
        right = rights[last.style.size]
        return last.x1 + word + 0.4 * last.style.size < right

    def _breaks(self, current: Paragraph, line: Piece, rights: dict[float, float]) -> bool:
        """Whether a line within a paragraph is one on purpose, as in an address or a poem."""
        last = current.last
        if LEADERS.search(last.text):
            return True
        if last.text.endswith(HYPHENS) or not self._had_room(last, line, rights):
            return False
        return not line.text[:1].islower()

    @staticmethod
    def _is_centred(last: Piece, line: Piece) -> bool:
        return abs((last.x0 + last.x1) - (line.x0 + line.x1)) < 0.6 * line.style.size


def code_of(paragraph: Paragraph) -> Boxed:
    """The text of code with the indents of its lines, and with empty lines where there is room for them."""
    lines = paragraph.lines
    left = min(line.x0 for line in lines)
    advance = max(lines, key=lambda line: len(line.text)).advance
    pitches = [below.baseline - line.baseline for line, below in pairwise(lines)]
    usual = max(min(pitches, default=0.0), 0.8 * lines[0].style.size, 0.01)
    parts: list[Boxed] = []
    for line, pitch in zip(lines, [usual, *pitches], strict=True):
        if parts:
            parts.append(Boxed("\n" * min(max(round(pitch / usual), 1), _MOST_BLANK_LINES + 1)))
        parts += [Boxed(" " * min(round((line.x0 - left) / advance), _MOST_SPACES)), line.content]
    return joined(parts, "")


def _right_edges(lines: Sequence[Piece]) -> dict[float, float]:
    """How far to the right lines of each size reach."""
    edges: dict[float, float] = {}
    for line in lines:
        edges[line.style.size] = max(edges.get(line.style.size, line.x1), line.x1)
    return edges
