"""How good the reader is by the number of records that it was trained on, and what more of them would bring.

What is lost, 1 - F1, falls about as a power law of the number of records (Hestness et al., 2017): a floor that no
number of records gets under, plus scale x records^-exponent. Fitted by least squares; how far it can be trusted comes
from drawing documents again, with the points' own distance from the curve as the luck of each training.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.figures import Figure
from rag_ft.evaluation.recipe import WORTH
from rag_ft.metrics.statistics import CONFIDENCE_LEVEL, mean_interval

FEWEST_SIZES = 4
"""A floor, a scale and an exponent are three numbers: three points would always lie on the curve."""


_DOUBLINGS = 3
"""Extrapolated no further: beyond eight times the records the curve is a guess."""


_RESAMPLES = 1000


_EXPONENTS = np.linspace(0.05, 2.0, 40)


_ON_LINE = 25


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CurvePoint(_Model):
    """An adapter of the curve, measured."""

    records: int
    f1: Figure
    """Over all questions, null counted as an answer."""


class Expected(_Model):
    """The curve at a number of records, with its interval."""

    records: int
    f1: float
    low: float
    high: float


class Doubling(_Model):
    """Twice the records of the doubling before it, or of the largest adapter."""

    expected: Expected
    gain: float
    """F1 more than with half of these records."""
    low: float
    high: float


class LearningCurve(_Model):
    """Points, and, where there are enough of them, the curve through them."""

    points: tuple[CurvePoint, ...]
    worth: float
    floor: float | None = None
    """F1 lost with any number of records."""
    scale: float | None = None
    exponent: float | None = None
    line: tuple[Expected, ...] = ()
    """From the smallest size to the last doubling."""
    doublings: tuple[Doubling, ...] = ()


class PowerLaws(NamedTuple):
    """floor + scale x records^-exponent, one for each row of losses."""

    floor: NDArray[np.float64]
    scale: NDArray[np.float64]
    exponent: NDArray[np.float64]

    def at(self, records: float) -> NDArray[np.float64]:
        """The loss with so many records, (R,)."""
        loss: NDArray[np.float64] = self.floor + self.scale * records**-self.exponent
        return loss


def fit_power_laws(records: Sequence[int], losses: NDArray[np.float64]) -> PowerLaws:
    """Least-squares fits to rows of losses (R, sizes), the floor between 0 and 1, the exponent from 0.05 to 2.

    The scale may be negative: a reader that gets worse with more records must be able to show it. For each exponent of
    a grid the other two follow from a line; the best exponent is taken.
    """
    sizes = np.asarray(records, dtype=np.float64)
    best = np.full(len(losses), np.inf)
    found = [np.zeros(len(losses)) for _ in range(3)]
    means = losses.mean(1)
    for exponent in _EXPONENTS:
        x = (sizes / sizes.max()) ** -exponent
        spread = x - x.mean()
        slope = (losses @ spread) / (spread @ spread)
        floor = np.clip(means - slope * x.mean(), 0.0, 1.0)
        slope = ((losses - floor[:, None]) @ x) / (x @ x)  # the same line, unless the floor was cut
        residual = ((losses - floor[:, None] - slope[:, None] * x) ** 2).sum(1)
        better = residual < best - 1e-15
        best = np.where(better, residual, best)
        for place, value in enumerate((floor, slope * sizes.max() ** exponent, np.full(len(losses), exponent))):
            found[place] = np.where(better, value, found[place])
    return PowerLaws(*found)


def learning_curve(
    scores: Mapping[int, Sequence[float]], documents: Sequence[Hashable], *, worth: float = WORTH, seed: int = 0
) -> LearningCurve:
    """The curve of scores by number of records; every size's are of the same questions, in one order.

    With fewer than four sizes, or all questions about one document, there are points and nothing else. Raises
    ValueError for no size, lists of different lengths, or scores that are not finite.
    """
    if not scores:
        raise ValueError("there is no size to draw a curve by: give adapters with their numbers of records")
    sizes = sorted(scores)
    intervals = [mean_interval(list(scores[size]), documents, seed=seed) for size in sizes]
    points = tuple(
        CurvePoint(records=size, f1=Figure(**interval._asdict()))
        for size, interval in zip(sizes, intervals, strict=True)
    )
    names = {name: place for place, name in enumerate(dict.fromkeys(documents))}
    if len(sizes) < FEWEST_SIZES or len(names) < 2:
        return LearningCurve(points=points, worth=worth)
    losses = 1 - np.array([list(scores[size]) for size in sizes], dtype=np.float64)
    where = np.array([names[name] for name in documents])
    # (sizes, documents)
    sums = np.stack([np.bincount(where, row, len(names)) for row in losses]).astype(np.float64)
    counts = np.bincount(where, minlength=len(names)).astype(np.float64)
    fitted = fit_power_laws(sizes, losses.mean(1)[None])
    drawn = fit_power_laws(sizes, _drawn(sums, counts, losses.mean(1), sizes, fitted, seed))
    ends = [sizes[-1] * 2**step for step in range(_DOUBLINGS + 1)]
    line = sorted({round(one) for one in np.geomspace(sizes[0], ends[-1], _ON_LINE)} | set(ends))
    return LearningCurve(
        points=points,
        worth=worth,
        floor=round(float(fitted.floor[0]), 6),
        scale=round(float(fitted.scale[0]), 6),
        exponent=round(float(fitted.exponent[0]), 6),
        line=tuple(_expected(records, fitted, drawn) for records in line),
        doublings=tuple(_doubling(before, after, fitted, drawn) for before, after in pairwise(ends)),
    )


def _drawn(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    losses: NDArray[np.float64],
    sizes: Sequence[int],
    fitted: PowerLaws,
    seed: int,
) -> NDArray[np.float64]:
    """Losses by size (R, sizes) with documents drawn again and the luck of training drawn from the residuals."""
    chooser = np.random.default_rng(seed)
    documents = len(counts)
    weights = chooser.multinomial(documents, np.full(documents, 1 / documents), size=_RESAMPLES).astype(np.float64)
    means = (weights @ sums.T) / (weights @ counts)[:, None]
    residual = losses - np.array([float(fitted.at(size)[0]) for size in sizes])
    luck = float(np.sqrt((residual**2).sum() / max(1, len(sizes) - 3)))  # three numbers were fitted
    found: NDArray[np.float64] = means + chooser.normal(0.0, 1.0, means.shape) * luck
    return found


def _expected(records: int, fitted: PowerLaws, drawn: PowerLaws) -> Expected:
    low, high = np.quantile(1 - drawn.at(records), _ENDS)
    f1 = 1 - float(fitted.at(records)[0])
    return Expected(
        records=records, f1=round(_share(f1), 6), low=round(_share(float(low)), 6), high=round(_share(float(high)), 6)
    )


def _doubling(before: int, after: int, fitted: PowerLaws, drawn: PowerLaws) -> Doubling:
    low, high = np.quantile(drawn.at(before) - drawn.at(after), _ENDS)
    return Doubling(
        expected=_expected(after, fitted, drawn),
        gain=round(float(fitted.at(before)[0] - fitted.at(after)[0]), 6),
        low=round(float(low), 6),
        high=round(float(high), 6),
    )


_ENDS = [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2]


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)
