"""From a cross-encoder's scores to the probability that the right place is quoted, chosen on held-out questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rag_ft.answering.confidence import PartCalibration
from rag_ft.answering.evidence import Calibration
from rag_ft.metrics.thresholds import best_threshold
from rag_ft.training.cross_encoder.scoring import Outcome, Quoted
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


def calibrate(
    outcomes: Sequence[Outcome],
    before: Mapping[str, Any] | None,
    taken_out: Sequence[Outcome] = (),
    with_opinion: Callable[[Mapping[str, Any]], Sequence[Quoted]] | None = None,
) -> ChosenCalibration:
    """Scale, threshold and decision, each chosen where the held-out questions that ask for sentences suffice.

    `before`: record of the cross-encoder that the training started from, whose values stay where they do not. Its
    threshold is a probability of being right, and so keeps its meaning on another scale. `taken_out`: of the questions
    without the passages that show their evidence. `with_opinion`: what is quoted of either with the generator's
    opinion, by a record that weighs it; without it, no opinion is weighed beside a new scale.
    """
    start = UNCALIBRATED if before is None else Calibration.model_validate(dict(before))
    asked = [outcome for outcome in outcomes if outcome.asks_for_sentences]
    said = [outcome for outcome in asked if outcome.question.answerable and outcome.question.yes is not None]
    right = sum(outcome.right for outcome in asked)
    unanswerable = sum(not outcome.question.answerable for outcome in asked)
    counts = {"questions": len(asked), "right": right, "unanswerable": unanswerable, "yes_or_no": len(said)}
    on = f"{len(asked)} held-out questions ask for sentences, {right} of them quoted from the right place"
    decided_from = decides_from(said) if len(said) >= FEWEST else start.decided_from
    own = PartCalibration(value=start.confidence.value)
    quotes = [outcome.quoted for outcome in asked]
    quotes += [outcome.quoted._replace(taken_out=True) for outcome in taken_out]
    chosen = _rescale(own, quotes, kept=before is not None)
    if chosen is None:
        kept = "an answer must outscore null" if before is None else "scale and threshold stay as they were"
        calibration = start.model_copy(update={"decided_from": decided_from})
        return ChosenCalibration(calibration, counts, f"{on}: too few to choose a scale, so {kept}")
    confidence, note = chosen
    weighed = None
    if start.with_generator is not None and with_opinion is not None:
        record = {"confidence": confidence.model_dump(), "with_generator": start.with_generator.model_dump()}
        helped = with_opinion(record)
        if (again := _rescale(start.with_generator.confidence, helped, kept=True)) is not None:
            weighed = start.with_generator.model_copy(update={"confidence": again[0]})
            counts["right_with_generator"] = sum(quoted.right for quoted in helped)
            note += f". With the generator's opinion {counts['right_with_generator']} are right: {again[1]}"
    calibration = Calibration(
        confidence=confidence, with_generator=weighed, decided_from=decided_from, span_weight=start.span_weight
    )
    return ChosenCalibration(calibration, counts, f"{on}: {note}")


def _rescale(before: PartCalibration, quotes: Sequence[Quoted], *, kept: bool) -> tuple[PartCalibration, str] | None:
    """A calibration whose confidences are how often these are right, and what to say of it; None for too few quotes.

    `kept`: whether its threshold was chosen before, and so stays where the unanswerable questions are too few.
    """
    shown = [quoted for quoted in quotes if not quoted.taken_out]
    if len(shown) < FEWEST:
        return None
    own, right, weights = zip(*((quoted.own, quoted.right, quoted.weight) for quoted in quotes), strict=True)
    scale = fit_platt(own, right, weights)
    if scale.plain:
        return None
    null = [quoted.own for quoted in shown if not quoted.question.answerable]
    answerable = [(quoted.own, quoted.quote_f1) for quoted in shown if quoted.question.answerable]
    value, note = before.value, "threshold as it was" if kept else "no threshold"
    if min(len(null), len(answerable)) >= FEWEST_OF_EACH and (best := best_threshold(answerable, null)):
        value = scale.scaled(best)
        note = f"threshold {value:.2f}, weighed with {len(null)} unanswerable ones"
    if before.weights is None and before.platt is None:
        chosen = PartCalibration(value=value, platt=scale)
    else:  # scaled as a whole: to weigh each sign anew takes hundreds of questions
        chosen = PartCalibration(value=value, weights=before.curve.rescaled(scale))
    return chosen, f"scale {scale.slope:.2f}, {scale.intercept:+.2f}; {note}"


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
