"""Pieces of lines → columns in reading order, each a flow of whole lines, and tables.

A page is cut into slices, each with what stands side by side. Slices that share a gutter, a strip without text, form a
group: columns that are read one after another, or a table that is read row by row.
"""

from __future__ import annotations

import itertools
import math
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple, TypeAlias

from rag_ft.indexing.formats.pdf.characters import Style
from rag_ft.indexing.formats.pdf.frames import framed_table, frames_of
from rag_ft.indexing.formats.pdf.pieces import Boxed, Piece, side_by_side
from rag_ft.indexing.formats.pdf.rules import Rules
from rag_ft.indexing.formats.pdf.slices import Slice, Strip, agree, slices_of
from rag_ft.indexing.formats.pdf.table import Columns, Table, table_of

_DEEPEST = 4
_STANDS_FOR = "\ufdd1"
"""Begins the text of a piece that stands for a table: a character that no text holds."""
_PARAGRAPH_GAP = 2.0
_MOST_GUTTERS = 40
_NARROW = 0.2
_ALIGNED = 0.1
_CORE = 0.5
"""Share of the size above the baseline that decides whether pieces stand side by side."""
_FEWEST_WORDS = 3.0
_FEWEST_ROWS = 3
_UNALIGNED = 0.6
_CONTINUING = 0.4
_MARK = re.compile(
    r"[•‣◦▪●○■□–—*\-·o➢➤✓\uf0a7\uf0b7\uf0d8\uf0fc]|\(?(?:\d{1,3}(?:\.\d{1,3})*|[a-zA-Z]|[ivxIVX]{1,5})[.)]"
    r"|\d{1,2}(?:\.\d{1,2})+|\[\d{1,3}\]"
)
_STOP = re.compile(r"[.!?:;。！？][\"'”’»)\]]*$")


class Flow(NamedTuple):
    """Lines of one column, from top to bottom."""

    lines: list[Piece]
    left: float
    right: float


Region: TypeAlias = Flow | Table


def page_regions(pieces: Sequence[Piece], rules: Rules) -> Iterator[Region]:
    """The columns and tables of a page in reading order."""
    tables: dict[str, Table] = {}
    rest = list(pieces)
    for frame in frames_of(rules):
        inside = [piece for piece in rest if frame.holds(piece)]
        table = framed_table(frame, inside) if inside else None
        if table is None:
            continue
        # A piece as large as the table stands for it while the page is put in order.
        name = f"{_STANDS_FOR}{len(tables)}"
        tables[name] = table
        edges = array("f", (frame.xs[0], frame.xs[-1]))
        style = Style((frame.ys[-1] - frame.ys[0]) / _CORE, False, False)
        taken = set(map(id, inside))
        rest = [piece for piece in rest if id(piece) not in taken]
        rest.append(Piece(Boxed(name), edges, array("i", (0,)), edges[0], edges[1], frame.ys[-1], style))
    for region in _regions(rest, rules):
        yield from _with_tables(region, tables) if isinstance(region, Flow) and tables else (region,)


def _with_tables(flow: Flow, tables: dict[str, Table]) -> Iterator[Region]:
    lines: list[Piece] = []
    for line in flow.lines:
        table = tables.get(line.text)
        if table is None:
            lines.append(line)
            continue
        if lines:
            yield _flow(lines)
        lines = []
        yield table
    if lines:
        yield _flow(lines)


def _regions(pieces: Sequence[Piece], rules: Rules, depth: int = 0) -> Iterator[Region]:
    flow: list[Piece] = []
    for group in _groups(slices_of(pieces)):
        gutters = group.gutters() if depth < _DEEPEST else []
        if not gutters:
            flow += _lines(group.slices)
            continue
        before, inner, after = group.trimmed(gutters)
        columns = _columns(inner, gutters)
        in_turn = _are_read_in_turn(columns, inner, rules) or any(map(_stands_for_table, _all(columns)))
        if in_turn:
            more, after = _below_in_column(inner, after, gutters[0])
            columns = _columns([*inner, *more], gutters)
        flow += _lines(before)
        if flow:
            yield _flow(flow)
            flow = []
        if in_turn:
            for column in columns:
                yield from _regions([piece for cell in column for piece in cell], rules, depth + 1)
        else:
            yield table_of(columns, [(part.top, part.bottom) for part in inner], rules)
        flow += _lines(after)
    if flow:
        yield _flow(flow)


def _all(columns: Columns) -> Iterator[Piece]:
    return (piece for column in columns for cell in column for piece in cell)


def _stands_for_table(piece: Piece) -> bool:
    return piece.text.startswith(_STANDS_FOR)


def _below_in_column(inner: Sequence[Slice], after: list[Slice], gutter: float) -> tuple[list[Slice], list[Slice]]:
    """Further paragraphs of the left column, which is longer than the right: their lines are as long as its own."""
    right = max(piece.x1 for part in inner for piece in part.pieces if piece.x1 < gutter)
    count, last = 0, inner[-1]
    for position, part in enumerate(after):
        if part.x1 > gutter or part.top - last.bottom > _PARAGRAPH_GAP * part.size:
            break
        if part.x1 > right - 3 * part.size:
            count = position + 1
            while count < len(after) and after[count].x1 < gutter and _is_tight(after[count - 1], after[count]):
                count += 1
        last = part
    return after[:count], after[count:]


def _is_tight(part: Slice, below: Slice) -> bool:
    """Whether a slice follows another as its next line."""
    return below.top - part.bottom < 0.6 * below.size and abs(below.size - part.size) < 0.1 * below.size


def _flow(lines: list[Piece]) -> Flow:
    return Flow(lines, min(line.x0 for line in lines), max(line.x1 for line in lines))


class _Group:
    """Slices one below another that share strips without text."""

    def __init__(self, first: Slice) -> None:
        self.slices: list[Slice] = []
        self._strips = [Strip(-math.inf, math.inf)]
        self.takes(first)

    def takes(self, other: Slice) -> bool:
        """Add a slice, unless it covers a gutter of this group or this group covers its own."""
        strips: list[Strip] = []
        kept = 0  # gutters of this group that remain
        own_kept = False
        position = 0
        free = other.free
        for strip in self._strips:
            remains = False
            while position < len(free) and free[position].end <= strip.start:
                position += 1
            index = position
            while index < len(free) and free[index].start < strip.end:
                here = free[index]
                start, end = max(strip.start, here.start), min(strip.end, here.end)
                if end - start >= _NARROW * other.size and agree(strip, here, other.size):
                    wide = other.wide(here)
                    own_kept = own_kept or wide
                    support = strip.support + (other.x0 < start and end < other.x1)
                    aligned = strip.aligned + (abs(strip.end - here.end) <= _ALIGNED * other.size)
                    below = strip.wide_below or (wide and strip.support > 0)
                    strips.append(Strip(start, end, support, strip.wide + wide, aligned, below))
                    remains = True
                index += 1
            kept += remains and strip.is_gutter
        gutters = sum(strip.is_gutter for strip in self._strips)
        if self.slices and kept < gutters:
            return False
        if self.slices and not gutters and abs(other.size - self.slices[-1].size) > 0.12 * other.size:
            return False  # a heading above a table
        if self.slices and not gutters and not own_kept and any(map(other.wide, free)):
            return False
        if len(strips) > _MOST_GUTTERS:
            widest = sorted(strips, key=lambda strip: strip.start - strip.end)[:_MOST_GUTTERS]
            strips = sorted(widest)
        self._strips = strips
        self.slices.append(other)
        return True

    def released(self, after: Slice) -> Slice:
        """Give up the last slice if it is the top of a right column that a slice after it shows; else returns that."""
        last = self.slices[-1]
        gutters = [strip for strip in after.free if after.wide(strip)]
        if len(self.slices) < 2 or not gutters or last.x0 < gutters[0].end - last.size:
            return after
        if after.top - last.bottom > 0.6 * last.size:
            return after
        return self.slices.pop()

    def gutters(self) -> list[float]:
        """The middles of the gutters."""
        found = []
        for strip in self._strips:
            if not strip.is_gutter:
                continue
            rows = min(self._rows_beside(strip))
            size = self.slices[0].size
            width = strip.end - strip.start
            if rows > 2 or (rows == 2 and width > 0.8 * size):
                found.append((strip.start + strip.end) / 2)
        return self._without_marks(found)

    def _rows_beside(self, strip: Strip) -> tuple[int, int]:
        """Rows on both sides, in slices that have text on both sides."""
        left = right = 0
        for part in self.slices:
            if part.x0 < strip.start and strip.end < part.x1:
                left += len({round(piece.baseline) for piece in part.pieces if piece.x0 < strip.start})
                right += len({round(piece.baseline) for piece in part.pieces if piece.x1 > strip.end})
        return left, right

    def _without_marks(self, gutters: list[float]) -> list[float]:
        """Gutters without one between the marks of items and their text."""
        kept = list(gutters)
        for gutter in gutters[:1]:
            texts = [
                " ".join(piece.text for piece in _left_of(part.pieces, gutter))
                for part in self.slices
                if part.x0 < gutter < part.x1
            ]
            if sum(_MARK.fullmatch(text.strip()) is not None for text in texts if text) > 0.5 * len(texts):
                kept.remove(gutter)
        return kept

    def trimmed(self, gutters: Sequence[float]) -> tuple[list[Slice], list[Slice], list[Slice]]:
        """The slices before those that stand on both sides of a gutter, these, and those after."""
        sided = [any(part.x0 < gutter < part.x1 for gutter in gutters) for part in self.slices]
        first, last = sided.index(True), len(sided) - sided[::-1].index(True)
        while (
            first > 0
            and self.slices[first - 1].x0 > gutters[0]
            and _is_tight(self.slices[first - 1], self.slices[first])
        ):
            first -= 1
        while last < len(self.slices) and _is_tight(self.slices[last - 1], self.slices[last]):
            last += 1
        return self.slices[:first], self.slices[first:last], self.slices[last:]


def _left_of(pieces: Sequence[Piece], gutter: float) -> Iterator[Piece]:
    for piece in pieces:
        count = bisect_right(piece.spans[::2], gutter)
        if count:
            yield piece.words(0, count)


def _groups(slices: Iterator[Slice]) -> Iterator[_Group]:
    group: _Group | None = None
    for part in slices:
        if group is None:
            group = _Group(part)
        elif not group.takes(part):
            first = group.released(part)
            yield group
            group = _Group(first)
            if first is not part and not group.takes(part):
                yield group
                group = _Group(part)
    if group is not None:
        yield group


def _lines(slices: Sequence[Slice]) -> list[Piece]:
    """Whole lines, from top to bottom."""
    lines: list[Piece] = []
    for part in slices:
        row: list[Piece] = []
        for piece in sorted(part.pieces, key=lambda piece: (piece.baseline, piece.x0)):
            if row and (
                _stands_for_table(piece)
                or _stands_for_table(row[0])
                or piece.baseline - row[0].baseline > 0.3 * min(piece.style.size, row[0].style.size)
            ):
                lines.append(side_by_side(sorted(row, key=lambda piece: piece.x0)))
                row = []
            row.append(piece)
        lines.append(side_by_side(sorted(row, key=lambda piece: piece.x0)))
    return lines


def _columns(slices: Sequence[Slice], gutters: Sequence[float]) -> Columns:
    columns: Columns = [[[] for _ in slices] for _ in range(len(gutters) + 1)]
    for row, part in enumerate(slices):
        for piece in part.pieces:
            first = 0
            count = len(piece.starts)
            while first < count:
                column = bisect_right(gutters, (piece.spans[first * 2] + piece.spans[first * 2 + 1]) / 2)
                last = first + 1
                while last < count and bisect_right(gutters, piece.spans[last * 2]) == column:
                    last += 1
                columns[column][row].append(piece.words(first, last) if last - first < count else piece)
                first = last
    return [column for column in columns if any(column)]


def _are_read_in_turn(columns: Columns, slices: Sequence[Slice], rules: Rules) -> bool:
    """Whether columns hold running text, each to be read from top to bottom, and are not those of a table."""
    if rules.between_rows([(part.top, part.bottom) for part in slices], slices[0].x0, slices[0].x1) > 1:
        return False
    continuing = pairs = 0
    for column in columns:
        lines = [side_by_side(cell) for cell in column if cell] if _is_flat(column) else _sorted_lines(column)
        if len(lines) < _FEWEST_ROWS:
            return False
        words = median(len(line.starts) for line in lines)
        width = median(line.x1 - line.x0 for line in lines)
        size = lines[0].style.size
        if words < _FEWEST_WORDS and width < 12 * size:
            return False
        right = max(line.x1 for line in lines)
        for line, below in itertools.pairwise(lines):
            pairs += 1
            full = line.x1 > right - 3 * size and not _STOP.search(line.text)
            continuing += below.text[:1].islower() or full
    if _aligned_share(columns) < _UNALIGNED:
        return True
    return continuing > _CONTINUING * pairs and _shared_gaps(slices) < 2


def _is_flat(column: list[list[Piece]]) -> bool:
    return all(len({round(piece.baseline) for piece in cell}) < 2 for cell in column)


def _sorted_lines(column: list[list[Piece]]) -> list[Piece]:
    return sorted((piece for cell in column for piece in cell), key=lambda piece: piece.baseline)


def _aligned_share(columns: Columns) -> float:
    """Share of the lines of the shortest column that stand on one height with a line of each other column."""
    heights = [sorted(piece.baseline for cell in column for piece in cell) for column in columns]
    fewest = min(heights, key=len)
    aligned = sum(all(_nearest(others, height) < 1.5 for others in heights) for height in fewest)
    return aligned / len(fewest)


def _nearest(heights: list[float], height: float) -> float:
    position = bisect_right(heights, height)
    return min(abs(heights[i] - height) for i in (position - 1, position) if 0 <= i < len(heights))


def _shared_gaps(slices: Sequence[Slice]) -> int:
    """Gaps across all columns that are larger than between lines."""
    gaps = [below.top - part.bottom for part, below in itertools.pairwise(slices)]
    if len(gaps) < 2:
        return 0
    usual = sorted(gaps)[len(gaps) // 4]
    return sum(gap > usual + 0.25 * slices[0].size for gap in gaps)
