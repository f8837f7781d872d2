"""Confidence as the probability of being right: Platt's scale and the recorded threshold, for each kind of answer.

Kinds of answers compete by the reader's own odds, before any scale: only what came of that, the confidence and whether
the answer is given, depends on the kind.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from rag_ft.errors import WeightsError, first_problem
from rag_ft.metrics.kinds import JudgedKind
from rag_ft.metrics.odds import log_odds, probability_of


class PlattScale(BaseModel):
    """A logistic curve over the log-odds of a confidence.

    Platt, 1999, "Probabilistic outputs for support vector machines". It keeps the order of confidences, so that it
    changes no answer at a threshold that was scaled with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slope: Annotated[float, Field(gt=0)] = 1.0
    """Below 1, the reader was surer than it was right."""
    intercept: float = 0.0

    def scaled(self, confidence: float) -> float:
        """The probability of being right that the reader's own confidence stands for."""
        if self.plain:
            return confidence
        return probability_of(self.slope * log_odds(confidence) + self.intercept)

    def unscaled(self, confidence: float) -> float:
        """The reader's own confidence that stands for this probability of being right."""
        if self.plain:
            return confidence
        return probability_of((log_odds(confidence) - self.intercept) / self.slope)

    @property
    def plain(self) -> bool:
        """Whether it leaves every confidence as it is, to the last digit."""
        return self.slope == 1 and self.intercept == 0


PLAIN = PlattScale()
"""The scale that changes nothing."""

_MOST_LOG_ODDS = 30.0
"""Log-odds beyond which a sign counts as certain."""


def bounded(log_odds: float) -> float:
    """Log-odds as far as they count, which are finite: sums and differences of certain signs stay numbers."""
    return min(max(log_odds, -_MOST_LOG_ODDS), _MOST_LOG_ODDS)


class KindCalibration(BaseModel):
    """Threshold and scale of the answers of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: Annotated[float, Field(ge=0, le=1)] | None
    """Confidence on the scale below which such an answer becomes null; None: it must outscore null."""
    platt: PlattScale = PLAIN

    def gives(self, confidence: float) -> bool:
        """Whether an answer of the reader's own, unscaled confidence is given. Raises ValueError without threshold."""
        if self.value is None:
            raise ValueError("without a threshold an answer is given by its odds against null, not by its confidence")
        return self.platt.scaled(confidence) >= self.value


NO_KINDS: Mapping[JudgedKind, KindCalibration] = MappingProxyType({})
"""No kind of answer has a threshold and a scale of its own."""


class PartSigns(NamedTuple):
    """What says whether a part that a cross-encoder chose is an answer."""

    relevance: float
    """Log-odds that the part's passage answers the question."""
    evidence: float
    """Log-odds of the words of the part's best unit that they belong to an answer."""
    margin: float
    """Log-odds by which the part's passage comes before the next one."""
    generator: float = 0.0
    """Log-odds, by the generator, that the part's passage answers the question; 0 where it was not asked."""


class PartWeights(BaseModel):
    """A logistic curve over several signs. None has a negative weight: no sign for an answer lowers its confidence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    relevance: Annotated[float, Field(ge=0)]
    evidence: Annotated[float, Field(ge=0)] = 0.0
    margin: Annotated[float, Field(ge=0)] = 0.0
    generator: Annotated[float, Field(ge=0)] = 0.0
    intercept: float = 0.0

    @model_validator(mode="after")
    def _check_weights(self) -> PartWeights:
        if not self.relevance + self.evidence + self.margin + self.generator:
            raise ValueError("all weights are 0, so that every answer would have the same confidence")
        return self

    def rescaled(self, scale: PlattScale) -> PartWeights:
        """The curve whose confidences are those of this one on another scale."""
        signs = {name: scale.slope * getattr(self, name) for name in PartSigns._fields}
        return PartWeights(**signs, intercept=scale.slope * self.intercept + scale.intercept)

    def confidence(self, signs: PartSigns) -> float:
        """The probability that an answer with these signs is right."""
        # Bounded, since the evidence of words that the model did not see is minus infinity.
        relevance, evidence, margin, generator = map(bounded, signs)
        return probability_of(
            self.relevance * relevance
            + self.evidence * evidence
            + self.margin * margin
            + self.generator * generator
            + self.intercept
        )


class PartCalibration(BaseModel):
    """Threshold and scale of the parts that a cross-encoder chooses."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: Annotated[float, Field(ge=0, le=1)] | None
    """Confidence below which such an answer becomes null; None: its passage's relevance must outscore null."""
    platt: PlattScale | None = None
    """Scale of the relevance alone, as in records made before there were weights."""
    weights: PartWeights | None = None

    @model_validator(mode="after")
    def _check_scales(self) -> PartCalibration:
        if self.platt is not None and self.weights is not None:
            raise ValueError("it has both platt and weights, which say different things: leave one out")
        return self

    def confidence(self, signs: PartSigns) -> float:
        """The probability that a part with these signs is right."""
        return self.curve.confidence(signs)

    @property
    def curve(self) -> PartWeights:
        """What gives the confidence."""
        platt = self.platt or PLAIN
        return self.weights or PartWeights(relevance=platt.slope, intercept=platt.intercept)


def at_threshold(
    kinds: Mapping[JudgedKind, KindCalibration], threshold: float | None
) -> Mapping[JudgedKind, KindCalibration]:
    """The kinds with their scales, and one threshold for all of them."""
    return {kind: KindCalibration(value=threshold, platt=own.platt) for kind, own in kinds.items()}


CONFIDENCE = "not null, passage and sentence"
"""Definition of a reader's confidence before its scale. Kept with a threshold, which holds for this definition only."""


def threshold_record(
    value: float,
    reading: str,
    scale: PlattScale = PLAIN,
    kinds: Mapping[JudgedKind, KindCalibration] = NO_KINDS,
) -> dict[str, Any]:
    """A threshold as an adapter's record keeps it: for mode `quote`, with the scale of its confidences.

    `kinds`: kinds of answers with a threshold and a scale of their own; left out of the record where there are none.
    """
    platt = scale.model_dump()
    own = {"kinds": {kind: calibration.model_dump() for kind, calibration in kinds.items()}} if kinds else {}
    return {"value": value, "mode": "quote", "reading": reading, "confidence": CONFIDENCE, "platt": platt, **own}


class TrainedThreshold(NamedTuple):
    """What an adapter's record says about confidences."""

    value: float | None
    scale: PlattScale
    kinds: Mapping[JudgedKind, KindCalibration] = NO_KINDS
    """Kinds of answers with a threshold and a scale of their own; for all others, `value` and `scale` hold."""


def trained_threshold(record: dict[str, Any], mode: str, reading: str) -> TrainedThreshold:
    """The thresholds in an adapter's record for this mode and way of reading, and the scales of its confidences.

    None and the plain scale where it was chosen for another. Raises WeightsError where a recorded scale is damaged.
    """
    nothing = TrainedThreshold(None, PLAIN)
    chosen = record.get("threshold")
    if not isinstance(chosen, dict) or (chosen.get("mode"), chosen.get("reading")) != (mode, reading):
        return nothing
    if chosen.get("confidence") != CONFIDENCE:
        warnings.warn(
            "the adapter's threshold was chosen for an earlier definition of confidence and is ignored, so an answer"
            " must outscore null: choose a new one with rag-ft adapter calibrate",
            stacklevel=3,
        )
        return nothing
    return TrainedThreshold(float(chosen["value"]), recorded_scale(record), recorded_kinds(record))


def recorded_scale(record: dict[str, Any]) -> PlattScale:
    """The scale recorded with a threshold, else the plain one. Raises WeightsError if it is damaged."""
    try:
        return PlattScale.model_validate((record.get("threshold") or {}).get("platt", {}))
    except ValidationError as error:
        raise _damaged(error) from error


_KINDS = TypeAdapter(dict[JudgedKind, KindCalibration])


def recorded_kinds(record: dict[str, Any]) -> dict[JudgedKind, KindCalibration]:
    """Kinds of answers with a recorded threshold and scale of their own. Raises WeightsError if one is damaged."""
    try:
        return _KINDS.validate_python((record.get("threshold") or {}).get("kinds", {}))
    except ValidationError as error:
        raise _damaged(error) from error


def _damaged(error: ValidationError) -> WeightsError:
    return WeightsError(
        f"the adapter's record has a damaged scale of confidences ({first_problem(error)}): choose a new threshold"
        " with rag-ft adapter calibrate, or fetch the adapter again"
    )
