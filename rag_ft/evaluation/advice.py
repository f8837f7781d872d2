"""Advice from measured figures, by fixed rules; every sentence cites the figures that it rests on.

A difference counts if its interval excludes zero and its p, by Holm's method for the ways compared, is under .05.
Otherwise the data cannot tell, and the advice names the smallest difference that would have shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from rag_ft.evaluation.figures import ArmFigures, Contrast
from rag_ft.evaluation.studies.learning_curve import FEWEST_SIZES, LearningCurve
from rag_ft.metrics.statistics import holm

Role: TypeAlias = Literal["prompt", "retrieve", "retrieve and prompt", "tune", "both", "both, perfect retrieval"]
Choice: TypeAlias = Literal["prompt", "retrieve", "tune", "both", "cannot tell"]

_LEVEL = 0.05

_OUTSIDE = ("cross-encoder", "chat", "extractive", "function")
"""Kinds of arms that do not use the reader."""

STANDING = (
    "What changes often or must be cited belongs in retrieval: an index is updated in seconds, an adapter must be"
    " trained again, and only a retrieved passage can be shown as a source.",
    "Form, style, when to decline, and low cost belong in tuning: they stay the same while documents change.",
    "If both matter, as in answering from a team's own documents, do both: retrieval brings the facts, tuning teaches"
    " the reader to use them.",
)
"""Rules of thumb that no measurement on one set of questions can establish."""


class Advice(BaseModel):
    """Which way of answering to choose, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: Choice
    reasons: tuple[str, ...]
    """Sentences with their figures: the reason for the choice first, after a generator that is not worth its time."""
    standing: tuple[str, ...] = STANDING


def role_of(settings: Mapping[str, JsonValue]) -> Role | None:
    """The way of answering that an arm stands for, by its settings; None for a baseline or another model."""
    tuned = settings.get("adapter") is not None
    match settings.get("kind"):
        case "closed book":
            return "tune" if tuned else "prompt"
        case "sentence":
            return "retrieve"
        case "reader" if settings.get("gold first"):
            return "both, perfect retrieval" if tuned else None
        case "reader":
            return "both" if tuned else "retrieve and prompt"
    return None


def advise(
    figures: Sequence[ArmFigures],
    settings: Mapping[str, Mapping[str, JsonValue]],
    contrasts: Sequence[Contrast],
    curve: LearningCurve | None = None,
) -> Advice:
    """The advice on a run's arms, taking the best arm of each role; it needs at least two roles to choose."""
    best = best_of_roles(figures, settings)
    reasons: list[str] = []
    choice = _choose(best, contrasts, reasons)
    compared = _justify_generator(figures, settings, contrasts, reasons)
    others = [arm for arm in figures if settings[arm.name].get("kind") in _OUTSIDE and arm.name not in compared]
    _name_better_outside(best, [arm for arm in others if "f1" in arm.figures], reasons)
    _where_to_work(best.get("both, perfect retrieval"), figures, settings, contrasts, reasons)
    _adjust_threshold(best, reasons)
    if curve is not None:
        reasons.append(more_records(curve))
    return Advice(choice=choice, reasons=tuple(reasons))


def best_of_roles(
    figures: Sequence[ArmFigures], settings: Mapping[str, Mapping[str, JsonValue]]
) -> dict[Role, ArmFigures]:
    """The arm with the highest F1 of each role."""
    best: dict[Role, ArmFigures] = {}
    for arm in figures:
        role = role_of(settings[arm.name])
        if role is not None and "f1" in arm.figures and (role not in best or _f1(arm) > _f1(best[role])):
            best[role] = arm
    return best


def _ways(best: Mapping[Role, ArmFigures]) -> dict[Role, ArmFigures]:
    """The roles that can be chosen: nobody has perfect retrieval."""
    return {role: arm for role, arm in best.items() if role != "both, perfect retrieval"}


def _choose(best: Mapping[Role, ArmFigures], contrasts: Sequence[Contrast], reasons: list[str]) -> Choice:
    ways = _ways(best)
    if len(ways) < 2:
        reasons.append("The arms include fewer than two ways of answering to choose between.")
        return "cannot tell"
    ranked = sorted(ways.items(), key=lambda role_and_arm: -_f1(role_and_arm[1]))
    (role, first), (next_role, second) = ranked[:2]
    scores = f"{_score(first)}; {_score(second)}"
    contrast = _between(first.name, second.name, contrasts)
    if contrast is None:
        reasons.append(f"{scores}. They replied to different questions and cannot be compared.")
        return "cannot tell"
    p = _adjusted(contrast, [arm.name for arm in ways.values()], contrasts)
    if p < _LEVEL and contrast.apart:
        difference = contrast.difference
        reasons.append(
            f"{scores}, the next best of {len(ways)} ways. The difference is {difference.mean:+.3f}"
            f" [{difference.low:+.3f}, {difference.high:+.3f}] (Holm's p = {p:.2g})."
        )
        return {"retrieve and prompt": "retrieve"}.get(role, role)  # type: ignore[return-value]
    reasons.append(
        f"{scores}. The data cannot tell “{role}” from “{next_role}” (Holm's p = {p:.2g}); "
        f"{contrast.would_have_shown}. Take the cheaper one, or ask more questions."
    )
    return "cannot tell"


def _adjusted(contrast: Contrast, ways: Sequence[str], contrasts: Sequence[Contrast]) -> float:
    """A contrast's p, adjusted by Holm's method among the pairs that the advice chooses from.

    Arms that were only added for comparison do not make the test weaker.
    """
    names = frozenset((contrast.first, contrast.second))
    among = {frozenset((pair.first, pair.second)): pair.p for pair in contrasts if {pair.first, pair.second} <= {*ways}}
    return holm({"\n".join(sorted(pair)): p for pair, p in among.items()})["\n".join(sorted(names))]


def _justify_generator(
    figures: Sequence[ArmFigures],
    settings: Mapping[str, Mapping[str, JsonValue]],
    contrasts: Sequence[Contrast],
    reasons: list[str],
) -> set[str]:
    """Whether a tuned reader is better than the cross-encoder beside it is alone: said first if that is not shown.

    Returns the arms of a cross-encoder alone that were compared. Arms that give whole sentences are compared with such
    arms, and arms that give words with others that do.
    """
    compared = set()
    for alone in figures:
        if settings[alone.name].get("kind") != "cross-encoder" or "f1" not in alone.figures:
            continue
        reader = max(_tuned_alike(alone, figures, settings), key=_f1, default=None)
        contrast = None if reader is None else _between(reader.name, alone.name, contrasts)
        if reader is None or contrast is None:
            continue
        compared.add(alone.name)
        difference = contrast.difference
        interval = "" if difference.low is None else f" [{difference.low:+.3f}, {difference.high:+.3f}]"
        gain = (
            f"{_score(reader)}; {_score(alone)}. The generator brings {difference.mean:+.3f}{interval}"
            f" (p = {contrast.p:.2g})"
        )
        if contrast.apart and contrast.p < _LEVEL and difference.mean > 0:
            reasons.append(f"{gain}.")
        else:
            reasons.insert(0, f"{gain}: it is not shown to be better than the cross-encoder alone.")
    return compared


def _name_better_outside(best: Mapping[Role, ArmFigures], others: Sequence[ArmFigures], reasons: list[str]) -> None:
    """Name the best of the arms that do not use the reader, if it is ahead: it is not chosen, but worth knowing."""
    ways = _ways(best).values()
    if not ways or not others:
        return
    top, other = max(ways, key=_f1), max(others, key=_f1)
    if _f1(other) > _f1(top):
        reasons.append(
            f"{_score(other)}, ahead of “{top.name}”: it does not use this reader, but is worth considering."
        )


def _where_to_work(
    perfect: ArmFigures | None,
    figures: Sequence[ArmFigures],
    settings: Mapping[str, Mapping[str, JsonValue]],
    contrasts: Sequence[Contrast],
    reasons: list[str],
) -> None:
    """Whether the retriever or the reader loses more, by an arm with perfect retrieval and the best one like it."""
    if perfect is None:
        return
    both = max(_tuned_alike(perfect, figures, settings), key=_f1, default=None)
    if both is None:
        return
    gain, rest = _f1(perfect) - _f1(both), 1 - _f1(perfect)
    contrast = _between(perfect.name, both.name, contrasts)
    unsure = "" if contrast is not None and contrast.apart else " (not distinguishable from zero)"
    part = "retriever" if gain > rest else "reader"
    reasons.append(
        f"With perfect retrieval “{both.name}” would gain {gain:.3f} F1{unsure}; even then the reader would lose"
        f" {rest:.3f}: work on the {part} next."
    )


def _tuned_alike(
    arm: ArmFigures, figures: Sequence[ArmFigures], settings: Mapping[str, Mapping[str, JsonValue]]
) -> list[ArmFigures]:
    """The tuned readers with passages that use the cross-encoder and whole sentences as an arm does."""
    return [
        other
        for other in figures
        if role_of(settings[other.name]) == "both"
        and "f1" in other.figures
        and all(
            settings[other.name].get(name) == settings[arm.name].get(name)
            for name in ("cross-encoder", "whole sentences")
        )
    ]


def _adjust_threshold(best: Mapping[Role, ArmFigures], reasons: list[str]) -> None:
    """Whether to move the threshold: each kind of mistake as a share of the questions that it can be made on."""
    from scipy.stats import fisher_exact

    both = best.get("both")
    if both is None:
        return
    counts = both.budget
    unanswerable = counts["declined rightly"] + counts["answered what has no answer"]
    answerable = sum(counts.values()) - unanswerable
    if not unanswerable or not answerable:
        return
    declined, answered = counts["abstained wrongly"], counts["answered what has no answer"]
    declined_share, answered_share = declined / answerable, answered / unanswerable
    table = [[declined, answerable - declined], [answered, unanswerable - answered]]
    larger, smaller = max(declined_share, answered_share), min(declined_share, answered_share)
    if fisher_exact(table).pvalue < _LEVEL and larger >= 0.1 and larger >= 2 * smaller:
        verb, change = ("declines", "Lower") if declined_share > answered_share else ("answers", "Raise")
        reasons.append(
            f"“{both.name}” {verb} too often: it declined {declined_share:.0%} of answerable questions although the"
            f" passage was retrieved, and answered {answered_share:.0%} of unanswerable ones. {change} its"
            " threshold; choose it on other questions than these."
        )


def more_records(curve: LearningCurve) -> str:
    """How many more records are worth labelling, by the learning curve, with its figures.

    A doubling is worth it if it is expected to bring `worth` F1 and its interval is above zero.
    """
    largest = curve.points[-1].records
    if not curve.doublings:
        why = (
            f"{len(curve.points)} sizes, and extrapolating needs {FEWEST_SIZES}"
            if len(curve.points) < FEWEST_SIZES
            else "questions about only one document"
        )
        return f"The learning curve has {why}: it cannot tell how many more records are worth labelling."
    first = curve.doublings[0]
    forecast = (
        f"Doubling the {largest:,} records is expected to change F1 by {first.gain:+.3f} [{first.low:+.3f},"
        f" {first.high:+.3f}], from {first.expected.f1 - first.gain:.3f} to {first.expected.f1:.3f}"
    )
    if first.low <= 0 <= first.high:
        return f"{forecast}: the data cannot tell whether more records are worth labelling."
    if first.high < 0:
        return f"{forecast}: more records of this kind make it worse; check what was labelled last."
    stops = (step for step, doubling in enumerate(curve.doublings) if doubling.gain < curve.worth or doubling.low <= 0)
    steps = next(stops, len(curve.doublings))
    if steps == 0:
        return (
            f"{forecast}, under the {curve.worth:g} that a doubling must bring: more records are not worth labelling."
        )
    last = curve.doublings[steps - 1].expected
    limit = "beyond that the curve is a guess"
    if steps < len(curve.doublings):
        after = curve.doublings[steps]
        gain = f"{after.gain:+.3f} [{after.low:+.3f}, {after.high:+.3f}]"
        limit = f"the next doubling would bring {gain}, " + (
            f"under {curve.worth:g}" if after.gain < curve.worth else "which may be nothing"
        )
    return (
        f"{forecast}. Label about {last.records - largest:,} more: {last.records:,} records are expected to give F1"
        f" {last.f1:.3f} [{last.low:.3f}, {last.high:.3f}]; {limit}."
    )


def _between(first: str, second: str, contrasts: Sequence[Contrast]) -> Contrast | None:
    """The contrast of two arms, first minus second; None where they share no reply."""
    for contrast in contrasts:
        if (contrast.first, contrast.second) == (first, second):
            return contrast
        if (contrast.first, contrast.second) == (second, first):
            return contrast.turned()
    return None


def _f1(arm: ArmFigures) -> float:
    return arm.figures["f1"].mean


def _score(arm: ArmFigures) -> str:
    figure = arm.figures["f1"]
    interval = f" [{figure.low:.3f}, {figure.high:.3f}]" if figure.low is not None and figure.high is not None else ""
    return f"“{arm.name}” has F1 {figure.mean:.3f}{interval}"


def break_even(training: float, tuned_per_thousand: float, other_per_thousand: float) -> float | None:
    """Number of answers after which a training has paid for itself; None if the tuned way saves nothing."""
    saved = (other_per_thousand - tuned_per_thousand) / 1000
    return training / saved if saved > 0 else None
