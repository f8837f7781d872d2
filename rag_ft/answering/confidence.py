"""Confidence as the probability of being right: Platt's scale and the recorded threshold."""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag_ft.errors import WeightsError, first_problem


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
        return probability_of(self.slope * log_odds(confidence) + self.intercept)

    def unscaled(self, confidence: float) -> float:
        """The reader's own confidence that means this."""
        if self.plain:
            return confidence
        return probability_of((log_odds(confidence) - self.intercept) / self.slope)

    @property
    def plain(self) -> bool:
        """Whether it changes nothing, to the last digit."""
        return self.slope == 1 and self.intercept == 0


PLAIN = PlattScale()
"""The one that changes nothing."""


def log_odds(probability: float) -> float:
    """Log-odds of a probability; infinite at 0 and 1."""
    if probability <= 0 or probability >= 1:
        return math.inf if probability >= 1 else -math.inf
    return math.log(probability) - math.log1p(-probability)


def probability_of(log_odds: float) -> float:
    """The logistic function, for any log-odds."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1 + odds)


CONFIDENCE = "not null, passage and sentence"
"""What a reader's confidence is made of, before its scale; kept beside a threshold, which means nothing for another."""


def threshold_record(value: float, reading: str, scale: PlattScale = PLAIN) -> dict[str, Any]:
    """A threshold as an adapter's record keeps it, for answers in mode `quote`, and the scale of the confidences that
    it is compared with.
    """
    platt = scale.model_dump()
    return {"value": value, "mode": "quote", "reading": reading, "confidence": CONFIDENCE, "platt": platt}


class TrainedThreshold(NamedTuple):
    """What an adapter's record says of confidences."""

    value: float | None
    scale: PlattScale


def trained_threshold(record: dict[str, Any], mode: str, reading: str) -> TrainedThreshold:
    """The threshold that an adapter's record has for this way of answering, and the scale of its confidences; none and
    the plain one where it was chosen for another. Raises WeightsError where the record has no scale but something else.
    """
    nothing = TrainedThreshold(None, PLAIN)
    chosen = record.get("threshold")
    if not isinstance(chosen, dict) or (chosen.get("mode"), chosen.get("reading")) != (mode, reading):
        return nothing
    if chosen.get("confidence") != CONFIDENCE:
        warnings.warn(
            "the adapter's threshold was chosen for what an earlier version called confidence and is left aside, so"
            " that null must lose: choose one anew with rag-ft adapter calibrate",
            stacklevel=3,
        )
        return nothing
    return TrainedThreshold(float(chosen["value"]), recorded_scale(record))


def recorded_scale(record: dict[str, Any]) -> PlattScale:
    """The scale beside a record's threshold, plain where there is none. Raises WeightsError if it is damaged."""
    try:
        return PlattScale.model_validate((record.get("threshold") or {}).get("platt", {}))
    except ValidationError as error:
        raise WeightsError(
            f"the adapter's record has a damaged scale of confidences ({first_problem(error)}): choose its threshold"
            " anew with rag-ft adapter calibrate, or fetch the adapter again"
        ) from error
