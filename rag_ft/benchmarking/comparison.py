"""Two ways of doing the same, in turns, and the figures that come of them. No model, no index."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, computed_field

Work = Callable[[], object]


class Seconds(NamedTuple):
    """What both sides took, round by round."""

    ours: list[float]
    peer: list[float]


class Comparison(BaseModel):
    """One quantity of this program and of what one would run instead; the smaller figure is the better one."""

    model_config = ConfigDict(frozen=True)

    what: str
    unit: str
    """`s`, `ms` or `MB`."""
    ours: float
    """Median of the rounds."""
    peer_name: str
    """What it is compared with."""
    peer: float
    ratio_low: float
    """Smallest ratio of a round."""
    ratio_high: float

    @computed_field  # type: ignore[prop-decorator]  # https://github.com/python/mypy/issues/1362
    @property
    def ratio(self) -> float:
        """The peer's median divided by ours: above 1, this program takes less."""
        return self.peer / self.ours

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as a table shows it."""
        spread = f"{self.ratio:.2f} ({self.ratio_low:.2f} to {self.ratio_high:.2f})"
        return (self.what, _shown(self.ours, self.unit), _shown(self.peer, self.unit), spread, self.peer_name)

    @property
    def line(self) -> str:
        """The row of a Markdown table."""
        return _table_line(self.cells)


HEADINGS = ("", "rag_ft", "instead", "times less", "compared with")


def table_head() -> list[str]:
    """The first two lines of the Markdown table."""
    return [_table_line(HEADINGS), _table_line(["---"] * len(HEADINGS))]


def compared(what: str, unit: str, ours: Sequence[float], peer: Sequence[float], peer_name: str) -> Comparison:
    """The comparison of figures that were taken in turns: pair by pair, so that a busy machine slows both alike."""
    ratios = [theirs / own for own, theirs in zip(ours, peer, strict=True)]
    return Comparison(
        what=what,
        unit=unit,
        ours=median(ours),
        peer_name=peer_name,
        peer=median(peer),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
    )


def in_turns(ours: Work, peer: Work, rounds: int) -> Seconds:
    """Run both once for each round, the order swapped every time; what they load and compile is loaded before."""
    seconds = Seconds([], [])
    for turn in range(rounds):
        sides: list[tuple[Work, list[float]]] = [(ours, seconds.ours), (peer, seconds.peer)]
        for work, taken in reversed(sides) if turn % 2 else sides:
            taken.append(timed(work))
    return seconds


def timed(work: Work) -> float:
    """Seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent are at most: the nearest of the given ones."""
    return sorted(values)[min(len(values) - 1, round(percent / 100 * len(values)))]


def _table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: float, unit: str) -> str:
    digits: Any = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"
