"""From a cross-encoder's scores to the probability that the right place is quoted, chosen on held-out questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rag_ft.answering.confidence import PartCalibration
from rag_ft.answering.evidence import Calibration
from rag_ft.metrics.thresholds import best_threshold
from rag_ft.training.cross_encoder.scoring import Outcome
from rag_ft.training.scoring import FEWEST, FEWEST_OF_EACH, fit_platt

DECIDES_RIGHT = 0.85
"""Least share of the held-out decisions between yes and no that are right, for a cross-encoder that decides."""

_SHARES = tuple(i / 20 for i in range(10, 20))

UNCALIBRATED = Calibration(confidence=PartCalibration(value=None))
"""Without held-out questions enough: an answer must outscore null, and yes or no is never decided."""


class ChosenCalibration(NamedTuple):
    """A calibration, and what it rests on."""

    calibration: Calibration
    chosen_on: dict[str, int]
    """Counts of the held-out questions that it was chosen on, for the record."""
    note: str
    """What was chosen on how many, for people to read."""


def calibrate(outcomes: Sequence[Outcome], before: Mapping[str, Any] | None) -> ChosenCalibration:
    """Scale, threshold and decision, each chosen where the held-out questions that ask for sentences suffice.

    `before`: record of the cross-encoder that the training started from, whose values stay where they do not. Its
    threshold is a probability of being right, and so keeps its meaning on another scale. What it weighs a generator's
    word with does not, and is left out beside a new scale.
    """
    start = UNCALIBRATED if before is None else Calibration.model_validate(dict(before))
    asked = [outcome for outcome in outcomes if outcome.asks_for_sentences]
    null = [outcome.own for outcome in asked if not outcome.question.answerable]
    answerable = [outcome for outcome in asked if outcome.question.answerable]
    said = [outcome for outcome in answerable if outcome.question.yes is not None]
    right = sum(outcome.right for outcome in asked)
    counts = {"questions": len(asked), "right": right, "unanswerable": len(null), "yes_or_no": len(said)}
    on = f"{len(asked)} held-out questions ask for sentences, {right} of them quoted from the right place"
    scale = fit_platt([outcome.own for outcome in asked], [outcome.right for outcome in asked])
    decided_from = decides_from(said) if len(said) >= FEWEST else start.decided_from
    if scale.plain:
        kept = "an answer must outscore null" if before is None else "scale and threshold stay as they were"
        calibration = start.model_copy(update={"decided_from": decided_from})
        return ChosenCalibration(calibration, counts, f"{on}: too few to choose a scale, so {kept}")
    value, note = start.confidence.value, "threshold as it was" if before is not None else "no threshold"
    if min(len(null), len(answerable)) >= FEWEST_OF_EACH:
        own = best_threshold([(outcome.own, outcome.quote_f1) for outcome in answerable], null)
        if own:
            value = scale.scaled(own)
            note = f"threshold {value:.2f}, weighed with {len(null)} unanswerable ones"
    calibration = Calibration(confidence=PartCalibration(value=value, platt=scale), decided_from=decided_from)
    return ChosenCalibration(calibration, counts, f"{on}: scale {scale.slope:.2f}, {scale.intercept:+.2f}; {note}")


def decides_from(said: Sequence[Outcome]) -> float | None:
    """The least share of yes or no from which enough decisions are right on these questions; None where none is.

    Fewer than `FEWEST` decisions are not enough to say.
    """
    for share in _SHARES:
        decisions = [outcome for outcome in said if max(outcome.yes_share, 1 - outcome.yes_share) >= share]
        right = sum((outcome.yes_share > 0.5) == outcome.question.yes for outcome in decisions)
        if len(decisions) >= FEWEST and right >= DECIDES_RIGHT * len(decisions):
            return share
    return None
