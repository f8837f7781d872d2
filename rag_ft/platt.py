"""Confidences that say how often the reader is right: Platt's scaling, fitted on answers of which that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 20
"""Answers that a scale is fitted on at least: with so few it is rough, and closer than none."""

_FLATTEST = 0.01
"""Least slope: a scale must not turn the order of confidences round, nor make all of them one."""


class PlattScale(BaseModel):
    """A logistic curve over the log-odds of a confidence (Platt, 1999, "Probabilistic outputs for support vector
    machines"). It keeps the order of confidences, so that it changes no answer at a threshold that was scaled with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slope: Annotated[float, Field(gt=0)] = 1.0
    """Under 1: the reader was surer than it was right."""
    intercept: float = 0.0

    def scaled(self, confidence: float) -> float:
        """What the reader's own confidence means."""
        if self.plain:
            return confidence
        return probability_of(self.slope * _log_odds(confidence) + self.intercept)

    def unscaled(self, confidence: float) -> float:
        """The reader's own confidence that means this."""
        if self.plain:
            return confidence
        return probability_of((_log_odds(confidence) - self.intercept) / self.slope)

    @property
    def plain(self) -> bool:
        """Whether it changes nothing, to the last digit."""
        return self.slope == 1 and self.intercept == 0


PLAIN = PlattScale()
"""The one that changes nothing."""


def fit_platt(confidences: Sequence[float], right: Sequence[bool]) -> PlattScale:
    """The scale under which the outcomes are likeliest, by Platt's own targets, which keep it finite where every
    answer above some confidence is right. The plain one where there are fewer than `FEWEST` answers, or all are right,
    or all wrong.
    """
    import numpy as np
    from scipy.optimize import minimize

    yes = sum(right)
    no = len(right) - yes
    if len(right) < FEWEST or not yes or not no:
        return PLAIN
    odds = np.array([min(max(_log_odds(one), -_MOST), _MOST) for one in confidences])
    targets = np.where(np.array(right), (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(scale: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = scale[0] * odds + scale[1]
        miss = 1 / (1 + np.exp(-score)) - targets
        return float(np.sum(np.logaddexp(0, score) - targets * score)), np.array([miss @ odds, miss.sum()])

    found = minimize(loss, [1.0, 0.0], jac=True, bounds=[(_FLATTEST, None), (None, None)])
    return PlattScale(slope=float(found.x[0]), intercept=float(found.x[1]))


_MOST = 30.0
"""Log-odds beyond which a confidence is as good as certain."""


def _log_odds(probability: float) -> float:
    if probability <= 0 or probability >= 1:
        return math.inf if probability >= 1 else -math.inf
    return math.log(probability) - math.log1p(-probability)


def probability_of(log_odds: float) -> float:
    """The logistic function, for any log-odds."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1 + odds)
