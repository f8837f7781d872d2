"""From measured figures to a piece of advice, by written rules; each cites the figures that it rests on.

A difference counts where its interval leaves zero out and its p, by Holm's method for the ways compared, is under .05;
else the data cannot tell, and the smallest difference that they would have shown is said.
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

_OUTSIDE = ("chat", "extractive", "function")
"""Kinds of arms that stand beside prompting, retrieval and tuning of the reader."""

STANDING = (
    "What changes often or must be cited belongs into retrieval: an index is brought up to date in seconds, an adapter"
    " has to be trained again, and only a retrieved passage can be shown as a source.",
    "Form, style, when to decline, and a small model at a small price belong into tuning: they stay the same while"
    " documents change.",
    "Where both hold, as in answering from a team's own documents, do both: retrieval brings the facts, tuning teaches"
    " the reader to use them.",
)
"""What no measurement on one set of questions can say."""


class Advice(BaseModel):
    """What to do, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: Choice
    reasons: tuple[str, ...]
    """Sentences with their figures, the first one for the choice."""
    standing: tuple[str, ...] = STANDING


def role_of(settings: Mapping[str, JsonValue]) -> Role | None:
    """What an arm stands for, by its settings; None for one that answers no question of tune or retrieve."""
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
    """The advice on a run's arms, of several with one role the best. Needs two roles at least to choose between."""
    best = best_of_roles(figures, settings)
    reasons: list[str] = []
    choice = _choose(best, contrasts, reasons)
    _outside(best, figures, settings, reasons)
    _where_to_work(best, contrasts, reasons)
    _declining(best, reasons)
    if curve is not None:
        reasons.append(more_records(curve))
    return Advice(choice=choice, reasons=tuple(reasons))


def best_of_roles(
    figures: Sequence[ArmFigures], settings: Mapping[str, Mapping[str, JsonValue]]
) -> dict[Role, ArmFigures]:
    """For each role that an arm of the run has, the arm with the highest F1."""
    best: dict[Role, ArmFigures] = {}
    for one in figures:
        role = role_of(settings[one.name])
        if role is not None and "f1" in one.figures and (role not in best or _f1(one) > _f1(best[role])):
            best[role] = one
    return best


def _ways(best: Mapping[Role, ArmFigures]) -> dict[Role, ArmFigures]:
    """What can be chosen: perfect retrieval is nobody's to have."""
    return {role: arm for role, arm in best.items() if role != "both, perfect retrieval"}


def _choose(best: Mapping[Role, ArmFigures], contrasts: Sequence[Contrast], reasons: list[str]) -> Choice:
    ways = _ways(best)
    if len(ways) < 2:
        reasons.append("There are not two ways of answering among the arms to choose between.")
        return "cannot tell"
    ranked = sorted(ways.items(), key=lambda one: -_f1(one[1]))
    (role, first), (next_role, second) = ranked[:2]
    found = _between(first.name, second.name, contrasts)
    said = f"{_said(first)} against {_said(second)}"
    if found is None:
        reasons.append(f"{said}, on different questions: they cannot be compared.")
        return "cannot tell"
    contrast, sign = found
    p = _adjusted(contrast, [arm.name for arm in ways.values()], contrasts)
    if p < _LEVEL and contrast.apart:
        low, high = sorted((sign * (contrast.difference.low or 0), sign * (contrast.difference.high or 0)))
        reasons.append(
            f"{said}, the next best of {len(ways)} ways: a difference of {sign * contrast.difference.mean:+.3f}"
            f" [{low:+.3f}, {high:+.3f}] (Holm's p {p:.3g})."
        )
        return {"retrieve and prompt": "retrieve"}.get(role, role)  # type: ignore[return-value]
    reasons.append(
        f"{said}: the data cannot tell “{role}” from “{next_role}” (Holm's p {p:.2g}); "
        f"{contrast.would_have_shown}. Take the cheaper one, or ask more questions."
    )
    return "cannot tell"


def _adjusted(contrast: Contrast, ways: Sequence[str], contrasts: Sequence[Contrast]) -> float:
    """A contrast's p by Holm's method among the pairs of ways that the advice chooses from, and no others: arms that
    were only added to be looked at do not make it blinder.
    """
    among = [one for one in contrasts if one.first in ways and one.second in ways]
    return holm({f"{one.first}\n{one.second}": one.p for one in among})[f"{contrast.first}\n{contrast.second}"]


def _outside(
    best: Mapping[Role, ArmFigures],
    figures: Sequence[ArmFigures],
    settings: Mapping[str, Mapping[str, JsonValue]],
    reasons: list[str],
) -> None:
    """Models and functions that are no way of using this reader are not chosen from, but never passed over."""
    ways = _ways(best).values()
    others = [one for one in figures if settings[one.name].get("kind") in _OUTSIDE and "f1" in one.figures]
    if not ways or not others:
        return
    top, other = max(ways, key=_f1), max(others, key=_f1)
    if _f1(other) > _f1(top):
        reasons.append(
            f"{_said(other)} and is ahead of “{top.name}”: it is no way of using this reader, but look at it."
        )


def _where_to_work(best: Mapping[Role, ArmFigures], contrasts: Sequence[Contrast], reasons: list[str]) -> None:
    both, perfect = best.get("both"), best.get("both, perfect retrieval")
    if both is None or perfect is None:
        return
    gain, rest = _f1(perfect) - _f1(both), 1 - _f1(perfect)
    found = _between(perfect.name, both.name, contrasts)
    sure = found is not None and found[0].apart
    where = "retriever" if gain > rest else "reader"
    more = "" if sure else ", which cannot be told from zero,"
    reasons.append(
        f"Of what “{both.name}” loses, perfect retrieval would win back {gain:.3f} F1{more} and the reader loses"
        f" {rest:.3f} with the gold passage before it: work on the {where} next."
    )


def _declining(best: Mapping[Role, ArmFigures], reasons: list[str]) -> None:
    """Each kind of mistake as a share of the questions that it can be made on, as the threshold was chosen."""
    from scipy.stats import fisher_exact

    both = best.get("both")
    if both is None:
        return
    counts = both.budget
    none = counts["declined rightly"] + counts["answered what has no answer"]
    some = sum(counts.values()) - none
    if not none or not some:
        return
    declined, answered = counts["abstained wrongly"], counts["answered what has no answer"]
    wrongly, wrong = declined / some, answered / none
    sure = fisher_exact([[declined, some - declined], [answered, none - answered]]).pvalue < _LEVEL
    if sure and max(wrongly, wrong) >= 0.1 and max(wrongly, wrong) >= 2 * min(wrongly, wrong):
        step = ("lower", "declines") if wrongly > wrong else ("raise", "answers")
        reasons.append(
            f"“{both.name}” {step[1]} too much ({wrongly:.0%} of what has an answer declined though it was found,"
            f" {wrong:.0%} of what has none answered): {step[0]} its threshold, chosen on other questions than these."
        )


def more_records(curve: LearningCurve) -> str:
    """How many more records are worth labelling, by the learning curve, with the figures that it rests on.

    A doubling is worth it while it is expected to bring `worth` F1 and its interval is above zero.
    """
    largest = curve.points[-1].records
    if not curve.doublings:
        why = (
            f"{len(curve.points)} sizes, and {FEWEST_SIZES} are needed to go beyond them"
            if len(curve.points) < FEWEST_SIZES
            else "questions about one document alone"
        )
        return f"The learning curve has {why}: it cannot tell how many more records are worth labelling."
    first = curve.doublings[0]
    said = (
        f"Twice the {largest:,} records are expected to change F1 by {first.gain:+.3f} [{first.low:+.3f},"
        f" {first.high:+.3f}], from {first.expected.f1 - first.gain:.3f} to {first.expected.f1:.3f}"
    )
    if first.low <= 0 <= first.high:
        return f"{said}: the data cannot tell whether more records are worth labelling."
    if first.high < 0:
        return f"{said}: more records of this kind make it worse; look at what was labelled last."
    stops = (number for number, one in enumerate(curve.doublings) if one.gain < curve.worth or one.low <= 0)
    steps = next(stops, len(curve.doublings))
    if steps == 0:
        return (
            f"{said}, less than the {curve.worth:g} that a doubling has to bring: more records are not worth labelling."
        )
    last = curve.doublings[steps - 1].expected
    ends = "the curve is not trusted further than that"
    if steps < len(curve.doublings):
        after = curve.doublings[steps]
        bring = f"{after.gain:+.3f} [{after.low:+.3f}, {after.high:+.3f}]"
        ends = f"the doubling after that would bring {bring}, " + (
            f"less than {curve.worth:g}" if after.gain < curve.worth else "or nothing at all"
        )
    return (
        f"{said}. Label some {last.records - largest:,} more: with {last.records:,} records F1 {last.f1:.3f}"
        f" [{last.low:.3f}, {last.high:.3f}] is expected; {ends}."
    )


def _between(first: str, second: str, contrasts: Sequence[Contrast]) -> tuple[Contrast, int] | None:
    for one in contrasts:
        if (one.first, one.second) == (first, second):
            return one, 1
        if (one.first, one.second) == (second, first):
            return one, -1
    return None


def _f1(arm: ArmFigures) -> float:
    return arm.figures["f1"].mean


def _said(arm: ArmFigures) -> str:
    figure = arm.figures["f1"]
    interval = f" [{figure.low:.3f}, {figure.high:.3f}]" if figure.low is not None and figure.high is not None else ""
    return f"“{arm.name}” has F1 {figure.mean:.3f}{interval}"


def break_even(training: float, tuned_per_thousand: float, other_per_thousand: float) -> float | None:
    """Answers after which a training has paid for itself; None where the tuned way saves nothing."""
    saved = (other_per_thousand - tuned_per_thousand) / 1000
    return training / saved if saved > 0 else None
