"""Predictions → every figure of a report, with intervals; nothing here needs a model or a clock.

A question whose arm failed has no score: it is counted, left out of that arm's means, and out of every comparison
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import mean

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.error_budget import Bin, budget
from rag_ft.evaluation.predictions import Prediction, cites_gold, found_gold
from rag_ft.metrics import statistics
from rag_ft.metrics.answers import abstention, calibration_error, exact_match, is_correct, risk_coverage, token_f1
from rag_ft.schema import Question

METRICS = ("f1", "exact_match")
"""What two arms can be compared on: over all questions, null counted as an answer."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Model):
    """A mean with its 95% interval, over `questions` of `documents`."""

    mean: float
    low: float | None
    high: float | None
    questions: int
    documents: int


class ArmFigures(_Model):
    """One arm. None, or a name that is missing from `figures`: nothing to compute it from."""

    name: str
    replied: int
    failed: int
    failures: dict[str, int]
    """Reason → questions."""
    figures: dict[str, Figure]
    """f1, exact_match, f1_answerable, exact_match_answerable, f1_retrieved, f1_not_retrieved, citation_precision,
    citation_recall, verbatim, parses."""
    abstention_precision: float | None
    abstention_recall: float | None
    risk_area: float | None
    """Area under risk against coverage."""
    risk: tuple[tuple[float, float], ...]
    """Coverage and risk, at most 100 points of the curve."""
    calibration_error: float | None
    prompt_tokens: float
    completion_tokens: float
    budget: dict[Bin, int]


class Contrast(_Model):
    """Two arms on the questions that both replied to."""

    first: str
    second: str
    metric: str
    difference: Figure
    """First minus second."""
    p: float
    p_holm: float
    """Adjusted for all contrasts of the report."""
    flipped: str
    """What the p flips: "documents", or "nothing" where they are too few and it is Student's t's."""
    p_mcnemar: float
    """Of right against wrong, where right is an F1 of a half or more."""
    detectable: float | None
    """None with one document, or where all differences are equal."""

    @property
    def apart(self) -> bool:
        """Whether the interval leaves zero out."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and (low > 0 or high < 0)

    @property
    def would_have_shown(self) -> str:
        """What difference these questions would have shown, where this one is none: a sentence's end."""
        if self.detectable is None:
            return "questions about so few documents, or with such equal scores, do not say what would have shown"
        if self.detectable <= abs(self.difference.mean):
            return "so few documents, in so many comparisons, show no difference of this size for certain"
        return f"these questions would have shown a difference of {self.detectable:.3f}"

    def turned(self) -> Contrast:
        """The same contrast, second minus first."""
        was = self.difference
        low, high = (None if end is None else -end for end in (was.high, was.low))
        difference = was.model_copy(update={"mean": -was.mean, "low": low, "high": high})
        return self.model_copy(update={"first": self.second, "second": self.first, "difference": difference})


def arm_figures(
    predictions: Sequence[Prediction],
    questions: Mapping[str, Question],
    closed_book: Mapping[str, str | None] | None = None,
    *,
    seed: int = 0,
) -> ArmFigures:
    """All figures of one arm's predictions. Raises ValueError for none."""
    if not predictions:
        raise ValueError("there are no predictions: run the arm first")
    replied = [one for one in predictions if not one.failed]
    pairs = [(one, questions[one.question_id]) for one in replied]
    yes = [(one, question) for one, question in pairs if question.answerable]
    given = [(one, question) for one, question in yes if one.answer is not None]
    retrieved = [pair for pair in yes if found_gold(pair[0], pair[1].evidence)]
    missed = [pair for pair in yes if found_gold(pair[0], pair[1].evidence) is False]
    cited = [(one, question) for one, question in pairs if one.citations]
    parsed = [(one, question) for one, question in pairs if one.parses is not None]
    declared: list[tuple[str, list[tuple[Prediction, Question]], Callable[[Prediction, Question], float]]] = [
        ("f1", pairs, f1_of),
        ("exact_match", pairs, _exact),
        ("f1_answerable", yes, f1_of),
        ("exact_match_answerable", yes, _exact),
        ("f1_retrieved", retrieved, f1_of),
        ("f1_not_retrieved", missed, f1_of),
        ("citation_precision", [pair for pair in cited if pair[1].answerable], _gold_share),
        ("citation_recall", yes, lambda one, question: float(cites_gold(one, question.evidence))),
        ("verbatim", [pair for pair in given if pair[0].citations], _verbatim),
        ("parses", parsed, lambda one, _: float(bool(one.parses))),
    ]
    figures = {name: figure_of(ones, score, seed) for name, ones, score in declared if ones}
    saying = [(one, question) for one, question in pairs if one.confidence is not None]
    curve: list[tuple[float, float]] = []
    area = error = None
    if saying:
        sure = [one.confidence or 0.0 for one, _ in saying]
        # What the question would get if the best answer were given; of a declined one that answer is not known.
        scores = [0.0 if not question.answerable else f1_of(one, question) for one, question in saying]
        points, area = risk_coverage(sure, scores)
        every = max(1, len(points) // 100)
        curve = [(point.coverage, point.risk) for point in (*points[::every], points[-1])]
        answered = [(one, question) for one, question in saying if one.answer is not None]
        if answered:
            error = calibration_error(
                [one.confidence or 0.0 for one, _ in answered],
                [question.answerable and is_correct(one.answer, question) for one, question in answered],
            )
    declined = abstention([one.declined for one, _ in pairs], [question.answerable for _, question in pairs])
    reasons = [one.failed for one in predictions if one.failed]
    return ArmFigures(
        name=predictions[0].arm,
        replied=len(replied),
        failed=len(reasons),
        failures={reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        figures=figures,
        abstention_precision=declined.precision,
        abstention_recall=declined.recall,
        risk_area=area,
        risk=tuple(curve),
        calibration_error=error,
        prompt_tokens=mean(one.prompt_tokens for one in replied) if replied else 0.0,
        completion_tokens=mean(one.completion_tokens for one in replied) if replied else 0.0,
        budget=budget(predictions, questions, closed_book),
    )


def contrasts(
    arms: Mapping[str, Sequence[Prediction]], questions: Mapping[str, Question], metric: str = "f1", *, seed: int = 0
) -> list[Contrast]:
    """Every pair of arms on one metric, Holm's correction over all of them; pairs without a common reply left out.

    Raises ValueError for a metric that is not known.
    """
    if metric not in METRICS:
        raise ValueError(f"the metric {metric!r} is not known: give one of {', '.join(METRICS)}")
    score = f1_of if metric == "f1" else _exact
    scores = {
        name: {one.question_id: score(one, questions[one.question_id]) for one in made if not one.failed}
        for name, made in arms.items()
    }
    found: dict[tuple[str, str], tuple[statistics.PairedTest, float]] = {}
    for first, second in combinations(arms, 2):
        common = [name for name in scores[first] if name in scores[second]]
        if not common:
            continue
        one, other = ([scores[arm][name] for name in common] for arm in (first, second))
        documents = [document_of(questions[name]) for name in common]
        paired = statistics.compare(one, other, documents, seed=seed)
        found[first, second] = paired, statistics.mcnemar(one, other)
    adjusted = statistics.holm({f"{first}\n{second}": test.p for (first, second), (test, _) in found.items()})
    return [
        Contrast(
            first=first,
            second=second,
            metric=metric,
            difference=Figure(**test.difference._asdict()),
            p=test.p,
            p_holm=adjusted[f"{first}\n{second}"],
            flipped=test.flipped,
            p_mcnemar=p_mcnemar,
            detectable=test.detectable,
        )
        for (first, second), (test, p_mcnemar) in found.items()
    ]


def document_of(question: Question) -> str:
    """The document that a question stands or falls with: that of its first evidence, or else itself."""
    return question.evidence[0].document_id if question.evidence else f"question {question.id}"


def figure_of(
    pairs: Sequence[tuple[Prediction, Question]], score: Callable[[Prediction, Question], float], seed: int
) -> Figure:
    """Mean of a score over predictions with their questions, with its interval by document."""
    values = [score(one, question) for one, question in pairs]
    interval = statistics.mean_interval(values, [document_of(question) for _, question in pairs], seed=seed)
    return Figure(**interval._asdict())


def f1_of(one: Prediction, question: Question) -> float:
    """Token F1 of a prediction; a reply that cannot be read is wrong, and no null that was right."""
    return token_f1(one.answer, question.answers) if one.usable else 0.0


def _exact(one: Prediction, question: Question) -> float:
    return exact_match(one.answer, question.answers) if one.usable else 0.0


def _gold_share(one: Prediction, question: Question) -> float:
    """Of a prediction's citations, the share whose passage holds the evidence."""
    right = [any(cited.passage.holds(piece) for piece in question.evidence) for cited in one.citations]
    return sum(right) / len(right)


def _verbatim(one: Prediction, _question: Question) -> float:
    return float(all(cited.verdict == "supported" for cited in one.citations))
