"""F1 by the number of records that a reader was trained on, and what more records would bring.

The loss, 1 - F1, falls roughly as a power law of the number of records (Hestness et al., 2017): a floor that no number
of records gets below, plus scale x records^-exponent. It is fitted by least squares; intervals come from resampling
documents, with the points' distances from the curve as the variation between trainings.
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
"""Sizes that a fit needs: floor, scale and exponent are three numbers, so that three points always lie on the curve."""


_DOUBLINGS = 3
"""Number of doublings extrapolated: beyond eight times the records the curve is a guess."""


_RESAMPLES = 1000


_EXPONENTS = np.linspace(0.05, 2.0, 40)


_ON_LINE = 25


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredPoint(_Model):
    """F1 measured with an adapter of the curve."""

    records: int
    f1: Figure
    """F1 over all questions, null counted as an answer."""


class Expected(_Model):
    """F1 expected at a number of records, with its interval."""

    records: int
    f1: float
    low: float
    high: float


class Doubling(_Model):
    """What twice the records of the previous doubling, or of the largest adapter, would bring."""

    expected: Expected
    gain: float
    """Gain in F1 over half of these records."""
    low: float
    high: float


class LearningCurve(_Model):
    """Measured points and, with at least `FEWEST_SIZES` of them, the curve through them."""

    points: tuple[MeasuredPoint, ...]
    worth: float
    floor: float | None = None
    """Loss in F1 that remains with any number of records."""
    scale: float | None = None
    exponent: float | None = None
    line: tuple[Expected, ...] = ()
    """Points of the fitted curve, from the smallest size to the last doubling."""
    doublings: tuple[Doubling, ...] = ()


class PowerLaws(NamedTuple):
    """Fitted curves, floor + scale x records^-exponent; one for each row of losses."""

    floor: NDArray[np.float64]
    scale: NDArray[np.float64]
    exponent: NDArray[np.float64]

    def at(self, records: float) -> NDArray[np.float64]:
        """The losses at a number of records, (R,)."""
        loss: NDArray[np.float64] = self.floor + self.scale * records**-self.exponent
        return loss


def fit_power_laws(records: Sequence[int], losses: NDArray[np.float64]) -> PowerLaws:
    """Least-squares fits to rows of losses (R, sizes), with the floor from 0 to 1 and the exponent from 0.05 to 2.

    The scale may be negative, so that a reader that gets worse with more records shows it. For each exponent of a grid
    the other two follow from a linear fit; the best exponent is kept.
    """
    sizes = np.asarray(records, dtype=np.float64)
    best = np.full(len(losses), np.inf)
    parameters = [np.zeros(len(losses)) for _ in range(3)]
    means = losses.mean(1)
    for exponent in _EXPONENTS:
        x = (sizes / sizes.max()) ** -exponent
        spread = x - x.mean()
        slope = (losses @ spread) / (spread @ spread)
        floor = np.clip(means - slope * x.mean(), 0.0, 1.0)
        slope = ((losses - floor[:, None]) @ x) / (x @ x)  # the same line, unless the floor was clipped
        residual = ((losses - floor[:, None] - slope[:, None] * x) ** 2).sum(1)
        better = residual < best - 1e-15
        best = np.where(better, residual, best)
        for i, value in enumerate((floor, slope * sizes.max() ** exponent, np.full(len(losses), exponent))):
            parameters[i] = np.where(better, value, parameters[i])
    return PowerLaws(*parameters)


def learning_curve(
    scores: Mapping[int, Sequence[float]], documents: Sequence[Hashable], *, worth: float = WORTH, seed: int = 0
) -> LearningCurve:
    """The curve of scores by number of records; the scores of every size are of the same questions in the same order.

    With fewer than four sizes, or all questions about one document, there are only points. Raises ValueError without
    sizes, for lists of different lengths, or for scores that are not finite.
    """
    if not scores:
        raise ValueError("a learning curve needs sizes: give adapters with their numbers of records")
    sizes = sorted(scores)
    intervals = [mean_interval(list(scores[size]), documents, seed=seed) for size in sizes]
    points = tuple(
        MeasuredPoint(records=size, f1=Figure(**interval._asdict()))
        for size, interval in zip(sizes, intervals, strict=True)
    )
    rows = {name: i for i, name in enumerate(dict.fromkeys(documents))}
    if len(sizes) < FEWEST_SIZES or len(rows) < 2:
        return LearningCurve(points=points, worth=worth)
    losses = 1 - np.array([list(scores[size]) for size in sizes], dtype=np.float64)
    row_of = np.array([rows[name] for name in documents])
    sums = np.stack([np.bincount(row_of, loss, len(rows)) for loss in losses]).astype(np.float64)  # (sizes, documents)
    counts = np.bincount(row_of, minlength=len(rows)).astype(np.float64)
    fitted = fit_power_laws(sizes, losses.mean(1)[None])
    drawn = fit_power_laws(sizes, _drawn(sums, counts, losses.mean(1), sizes, fitted, seed))
    ends = [sizes[-1] * 2**step for step in range(_DOUBLINGS + 1)]
    line = sorted({round(size) for size in np.geomspace(sizes[0], ends[-1], _ON_LINE)} | set(ends))
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
    """Losses by size (R, sizes) with documents resampled and the variation between trainings added."""
    chooser = np.random.default_rng(seed)
    documents = len(counts)
    weights = chooser.multinomial(documents, np.full(documents, 1 / documents), size=_RESAMPLES).astype(np.float64)
    means = (weights @ sums.T) / (weights @ counts)[:, None]
    residual = losses - np.array([float(fitted.at(size)[0]) for size in sizes])
    variation = float(np.sqrt((residual**2).sum() / max(1, len(sizes) - 3)))  # three numbers were fitted
    drawn: NDArray[np.float64] = means + chooser.normal(0.0, 1.0, means.shape) * variation
    return drawn


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
