"""Lines and frames that a page draws, which part the rows and columns of a table."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

Box = tuple[float, float, float, float]

_THIN = 3.0
_SHORTEST = 6.0
_COVERED = 0.5
_DOT = (0.15, 0.7)
"""Width and height of a drawn bullet, as shares of the size of the text beside it."""


class Rules:
    """Rules of one page by height, and shapes that may be bullets."""

    def __init__(self, boxes: Iterable[Box] = (), width: float = 0, height: float = 0) -> None:
        level: list[tuple[float, float, float]] = []
        upright: list[tuple[float, float, float]] = []
        dots: list[Box] = []
        for x0, y0, x1, y1 in boxes:
            if x1 - x0 > 0.95 * width and y1 - y0 > 0.95 * height:
                continue  # the page's own background
            if y1 - y0 <= _THIN:
                if x1 - x0 >= _SHORTEST:
                    level.append(((y0 + y1) / 2, x0, x1))
                    continue
            elif x1 - x0 >= _SHORTEST:
                level += [(y0, x0, x1), (y1, x0, x1)]
                upright += [(x0, y0, y1), (x1, y0, y1)]
            elif x1 - x0 <= _THIN and y1 - y0 >= _SHORTEST:
                upright.append(((x0 + x1) / 2, y0, y1))
                continue
            dots.append((x0, y0, x1, y1))
        self.level = sorted(level)
        """Rules that run across: height, left and right end."""
        self.upright = sorted(upright)
        """Rules that run down: place, upper and lower end."""
        self._heights = [rule[0] for rule in self.level]
        self._dots = sorted(dots, key=lambda box: (box[1] + box[3]) / 2)
        self._middles = [(box[1] + box[3]) / 2 for box in self._dots]

    def parts(self, upper: float, lower: float, x0: float, x1: float) -> bool:
        """Whether a rule between two heights runs below most of what stands between `x0` and `x1`."""
        first, last = bisect_left(self._heights, upper), bisect_right(self._heights, lower)
        covered, end = 0.0, x0
        for _, start, stop in sorted(self.level[first : min(last, first + 200)], key=lambda rule: rule[1]):
            start, stop = max(start, end), min(stop, x1)
            if start < stop:
                covered += stop - start
                end = stop
        return covered > _COVERED * (x1 - x0)

    def between_rows(self, rows: Sequence[tuple[float, float]], x0: float, x1: float) -> int:
        """Number of gaps between rows, given by top and bottom, that have a rule."""
        return sum(self.parts(*gap, x0, x1) for gap in gaps(rows))

    def bullet_before(self, x0: float, baseline: float, size: float) -> bool:
        """Whether a dot is drawn to the left of a line, as the mark of an item."""
        first = bisect_left(self._middles, baseline - 0.7 * size)
        for box in self._dots[first : first + 50]:
            if (box[1] + box[3]) / 2 > baseline:
                break
            width, height = box[2] - box[0], box[3] - box[1]
            small = all(_DOT[0] * size <= side <= _DOT[1] * size for side in (width, height))
            if small and abs(width - height) < 0.3 * size and 0 < x0 - box[2] < 2.5 * size:
                return True
        return False


def gaps(rows: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The heights between which a rule parts a row from the next: from low in the one to high in the other."""
    return [
        (bottom - 0.25 * (bottom - top), next_top + 0.35 * (next_bottom - next_top))
        for (top, bottom), (next_top, next_bottom) in itertools.pairwise(rows)
    ]
