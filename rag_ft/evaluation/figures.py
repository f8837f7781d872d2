"""From predictions to every figure of a report, with intervals; nothing here needs a model or a clock.

A question whose arm failed has no score: it is counted, and left out of that arm's means and comparisons.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import mean
from typing import Annotated, NamedTuple, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from rag_ft.evaluation.error_budget import Bin, budget
from rag_ft.evaluation.predictions import Prediction, cites_gold, cites_part, found_gold
from rag_ft.metrics import statistics
from rag_ft.metrics.answers import abstention, accuracy_at, calibration_error, risk_coverage, word_overlap
from rag_ft.metrics.kinds import KINDS, JudgedKind, exact_score_of, is_correct, kind_of, score_of
from rag_ft.schema import Origin, Question

CONTRAST_METRICS = ("f1", "exact_match")
"""Metrics that two arms can be compared on: over all questions, null counted as an answer."""


MEASURES = {
    "f1": "F1",
    "exact_match": "exact match",
    "f1_answerable": "F1 on answerable",
    "exact_match_answerable": "exact match on answerable",
    "f1_retrieved": "F1 where retrieved",
    "f1_not_retrieved": "F1 where not retrieved",
    "citation_precision": "citation precision",
    "citation_recall": "citation recall",
    "verbatim": "verbatim answers",
    "parses": "valid JSON",
    "abstention_precision": "abstention precision",
    "abstention_recall": "abstention recall",
    "risk_area": "area under risk-coverage",
    "calibration_error": "calibration error",
    "right": "right",
    "precision": "precision of words",
    "recall": "recall of words",
    "cited_part": "cites the right part",
    "accuracy": "accuracy of decisions",
    "decided": "decided",
    "surest_half": "accuracy of the surest half",
}
"""The name of each measure, by its key in results.json: one wording in reports, advice and comparisons."""


_Pair: TypeAlias = tuple[Prediction, Question]
_Score: TypeAlias = Callable[[Prediction, Question], float]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Model):
    """A mean with its 95% interval, over `questions` questions about `documents` documents."""

    mean: float
    low: float | None
    high: float | None
    questions: int
    documents: int


class KindFigures(_Model):
    """An arm's figures on the questions of one kind that it replied to."""

    questions: int
    answerable: int
    yes: int
    """Number of questions whose answer is yes: always saying it would be right so often."""
    figures: dict[str, Figure]
    """Means by measure. All kinds: right. Spans: f1, f1_answerable, exact_match_answerable. Parts: f1_answerable;
    precision (over answers given) and recall of words; cited_part. Yes or no: accuracy (over decisions made), decided,
    cited_part."""
    risk_area: float | None
    """Area under the curve of risk against coverage."""
    risk: tuple[tuple[float, float], ...]
    surest_half: float | None
    """Share of right answers among the surest half of the questions; partly right ones count in part."""
    calibration_error: float | None


class OriginFigures(_Model):
    """How an arm does on the questions that have one origin."""

    questions: int
    answerable: int
    figures: dict[str, Figure]
    """Means by measure: f1, exact_match, f1_answerable, right."""


class ArmFigures(_Model):
    """Every figure of one arm; None, or absent from `figures`, where there is nothing to compute it from."""

    name: str
    replied: int
    failed: int
    failures: dict[str, int]
    """Number of failed questions by reason."""
    figures: dict[str, Figure]
    """Means by measure: f1, exact_match, f1_answerable, exact_match_answerable, f1_retrieved, f1_not_retrieved,
    citation_precision, citation_recall, verbatim, parses."""
    abstention_precision: float | None
    abstention_recall: float | None
    risk_area: float | None
    """Area under the curve of risk against coverage."""
    risk: tuple[tuple[float, float], ...]
    """Points of the curve, (coverage, risk), about 100 at most."""
    calibration_error: float | None
    prompt_tokens: float
    completion_tokens: float
    budget: dict[Bin, int]
    kinds: Annotated[dict[JudgedKind, KindFigures], Field(default_factory=dict, exclude_if=operator.not_)]
    """The arm's figures on each kind of question; empty where all questions ask for spans."""
    origins: Annotated[dict[Origin, OriginFigures], Field(default_factory=dict, exclude_if=operator.not_)]
    """The arm's figures on the questions of each origin; empty where people wrote all of them."""


class Contrast(_Model):
    """Two arms compared on the questions that both replied to."""

    first: str
    second: str
    metric: str
    difference: Figure
    """Mean of the first arm minus mean of the second."""
    p: float
    p_holm: float
    """The p, adjusted by Holm's method for all contrasts of the report."""
    flipped: str
    """What the permutation test flips: "documents", or "nothing" where there are too few and p is Student's t's."""
    p_mcnemar: float
    """McNemar's exact p of right against wrong, where right is an F1 of at least .5."""
    detectable: float | None
    """Smallest difference that would have shown; None with one document, or where all differences are equal."""

    @property
    def apart(self) -> bool:
        """Whether the interval excludes zero."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and (low > 0 or high < 0)

    @property
    def would_have_shown(self) -> str:
        """The end of a sentence for a contrast without a clear difference: what would have shown."""
        if self.detectable is None:
            return "with so few documents, or such equal scores, nothing can be said about what would have shown"
        if self.detectable <= abs(self.difference.mean):
            return "with so few documents and so many comparisons, a difference of this size may be chance"
        return f"these questions could have shown a difference of {self.detectable:.3f} or more"

    def turned(self) -> Contrast:
        """The contrast with its arms exchanged: second minus first."""
        mean, low, high = self.difference.mean, self.difference.low, self.difference.high
        ends = {"low": None if high is None else -high, "high": None if low is None else -low}
        difference = self.difference.model_copy(update={"mean": -mean, **ends})
        return self.model_copy(update={"first": self.second, "second": self.first, "difference": difference})


def arm_figures(
    predictions: Sequence[Prediction],
    questions: Mapping[str, Question],
    closed_book: Mapping[str, str | None] | None = None,
    *,
    seed: int = 0,
) -> ArmFigures:
    """Every figure of one arm's predictions. Raises ValueError without predictions."""
    if not predictions:
        raise ValueError("there are no predictions: run the arm first")
    replied = [prediction for prediction in predictions if not prediction.failed]
    pairs = [(prediction, questions[prediction.question_id]) for prediction in replied]
    confidence = _confidence_figures(pairs)
    declined = abstention(
        [prediction.declined for prediction in replied], [question.answerable for _, question in pairs]
    )
    reasons = [prediction.failed for prediction in predictions if prediction.failed]
    return ArmFigures(
        name=predictions[0].arm,
        replied=len(replied),
        failed=len(reasons),
        failures={reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
        figures=_means(pairs, seed),
        abstention_precision=declined.precision,
        abstention_recall=declined.recall,
        risk_area=confidence.area,
        risk=confidence.curve,
        calibration_error=confidence.error,
        prompt_tokens=mean(prediction.prompt_tokens for prediction in replied) if replied else 0.0,
        completion_tokens=mean(prediction.completion_tokens for prediction in replied) if replied else 0.0,
        budget=budget(predictions, questions, closed_book),
        kinds=figures_by_kind(pairs, seed),
        origins=figures_by_origin(pairs, seed),
    )


def _means(pairs: Sequence[_Pair], seed: int) -> dict[str, Figure]:
    """The means with their intervals, by measure; those of no questions are left out."""
    answerable = [(prediction, question) for prediction, question in pairs if question.answerable]
    cited = [(prediction, question) for prediction, question in answerable if prediction.citations]
    by_measure: dict[str, tuple[Sequence[_Pair], _Score]] = {
        "f1": (pairs, f1_of),
        "exact_match": (pairs, _exact),
        "f1_answerable": (answerable, f1_of),
        "exact_match_answerable": (answerable, _exact),
        "f1_retrieved": ([pair for pair in answerable if found_gold(pair[0], pair[1])], f1_of),
        "f1_not_retrieved": ([pair for pair in answerable if found_gold(pair[0], pair[1]) is False], f1_of),
        "citation_precision": (cited, _gold_share),
        "citation_recall": (answerable, lambda prediction, question: float(cites_gold(prediction, question))),
        "verbatim": ([pair for pair in cited if pair[0].answer is not None], _verbatim),
        "parses": (
            [pair for pair in pairs if pair[0].parses is not None],
            lambda prediction, _: float(bool(prediction.parses)),
        ),
    }
    return {name: figure_of(members, score, seed) for name, (members, score) in by_measure.items() if members}


def figures_by_kind(pairs: Sequence[_Pair], seed: int) -> dict[JudgedKind, KindFigures]:
    """The figures on each kind of question; empty where all questions ask for spans."""
    by_kind = {kind: [pair for pair in pairs if kind_of(pair[1]) == kind] for kind in KINDS}
    if not by_kind["part"] and not by_kind["yes/no"]:
        return {}
    return {kind: _kind_figures(kind, members, seed) for kind, members in by_kind.items() if members}


def _kind_figures(kind: JudgedKind, pairs: Sequence[_Pair], seed: int) -> KindFigures:
    answerable = [pair for pair in pairs if pair[1].answerable]
    by_measure: dict[str, tuple[Sequence[_Pair], _Score]] = {"right": (pairs, _right)}
    match kind:
        case "span":
            by_measure["f1"] = pairs, f1_of
            by_measure["f1_answerable"] = answerable, f1_of
            by_measure["exact_match_answerable"] = answerable, _exact
        case "part":
            answered = [pair for pair in answerable if pair[0].usable and pair[0].answer is not None]
            by_measure["precision"] = answered, _word_precision
            by_measure["recall"] = answerable, _word_recall
            by_measure["f1_answerable"] = answerable, f1_of
            by_measure["cited_part"] = answerable, _cited_part
        case "yes/no":
            by_measure["accuracy"] = [pair for pair in answerable if pair[0].decision is not None], _right
            by_measure["decided"] = answerable, lambda prediction, _: float(prediction.decision is not None)
            by_measure["cited_part"] = answerable, _cited_part
    confidence = _confidence_figures(pairs)
    return KindFigures(
        questions=len(pairs),
        answerable=len(answerable),
        yes=sum(question.yes is True for _, question in answerable),
        figures={name: figure_of(members, score, seed) for name, (members, score) in by_measure.items() if members},
        risk_area=confidence.area,
        risk=confidence.curve,
        surest_half=confidence.surest_half,
        calibration_error=confidence.error,
    )


def figures_by_origin(pairs: Sequence[_Pair], seed: int) -> dict[Origin, OriginFigures]:
    """The figures on the questions of each origin; empty where people wrote all of them."""
    by_origin = {origin: [pair for pair in pairs if pair[1].origin == origin] for origin in get_args(Origin)}
    if len(by_origin["human"]) == len(pairs):
        return {}
    return {origin: _origin_figures(members, seed) for origin, members in by_origin.items() if members}


def _origin_figures(pairs: Sequence[_Pair], seed: int) -> OriginFigures:
    means = _means(pairs, seed)
    return OriginFigures(
        questions=len(pairs),
        answerable=sum(question.answerable for _, question in pairs),
        figures={
            **{name: means[name] for name in ("f1", "exact_match", "f1_answerable") if name in means},
            "right": figure_of(pairs, _right, seed),
        },
    )


class _ConfidenceFigures(NamedTuple):
    """Risk against coverage and calibration; None and empty where there are no confidences or answers."""

    area: float | None = None
    curve: tuple[tuple[float, float], ...] = ()
    surest_half: float | None = None
    error: float | None = None


def _confidence_figures(pairs: Sequence[_Pair]) -> _ConfidenceFigures:
    """Area under risk against coverage, points of that curve, calibration error; of an arm with confidences."""
    confident = [(prediction, question) for prediction, question in pairs if prediction.confidence is not None]
    if not confident:
        return _ConfidenceFigures()
    # The score that the best answer would get if it were given; that of a declined question is not known.
    scores = [0.0 if not question.answerable else f1_of(prediction, question) for prediction, question in confident]
    points, area = risk_coverage([prediction.confidence or 0.0 for prediction, _ in confident], scores)
    every = max(1, len(points) // 100)
    curve = tuple((point.coverage, point.risk) for point in (*points[::every], points[-1]))
    answered = [(prediction, question) for prediction, question in confident if prediction.answer is not None]
    surest_half = accuracy_at(points, 0.5)
    if not answered:
        return _ConfidenceFigures(area, curve, surest_half)
    error = calibration_error(
        [prediction.confidence or 0.0 for prediction, _ in answered],
        [
            question.answerable and is_correct(prediction.answer, question, prediction.yes)
            for prediction, question in answered
        ],
    )
    return _ConfidenceFigures(area, curve, surest_half, error)


def contrasts(
    arms: Mapping[str, Sequence[Prediction]], questions: Mapping[str, Question], metric: str = "f1", *, seed: int = 0
) -> list[Contrast]:
    """Every pair of arms compared on one metric, with Holm's correction; pairs without a common reply are left out.

    Raises ValueError for an unknown metric.
    """
    if metric not in CONTRAST_METRICS:
        raise ValueError(f"the metric {metric!r} is not known: give one of {', '.join(CONTRAST_METRICS)}")
    score = f1_of if metric == "f1" else _exact
    scores = {
        name: {
            prediction.question_id: score(prediction, questions[prediction.question_id])
            for prediction in predictions
            if not prediction.failed
        }
        for name, predictions in arms.items()
    }
    tests: dict[tuple[str, str], tuple[statistics.PairedTest, float]] = {}
    for first, second in combinations(arms, 2):
        common = [name for name in scores[first] if name in scores[second]]
        if not common:
            continue
        before, after = ([scores[arm][name] for name in common] for arm in (first, second))
        documents = [main_document(questions[name]) for name in common]
        paired = statistics.compare(before, after, documents, seed=seed)
        tests[first, second] = paired, statistics.mcnemar(before, after)
    adjusted = statistics.holm({f"{first}\n{second}": test.p for (first, second), (test, _) in tests.items()})
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
        for (first, second), (test, p_mcnemar) in tests.items()
    ]


def main_document(question: Question) -> str:
    """The document of a question's first evidence, by which questions are clustered; else a name of its own."""
    return question.evidence[0].document_id if question.evidence else f"question {question.id}"


def figure_of(pairs: Sequence[_Pair], score: _Score, seed: int) -> Figure:
    """The mean of a score over predictions, with its interval clustered by document."""
    values = [score(prediction, question) for prediction, question in pairs]
    interval = statistics.mean_interval(values, [main_document(question) for _, question in pairs], seed=seed)
    return Figure(**interval._asdict())


def f1_of(prediction: Prediction, question: Question) -> float:
    """Token F1 of a prediction, or 1 or 0 by its decision on yes or no.

    0 for a reply that cannot be parsed, also where null would have been right.
    """
    return score_of(prediction.answer, question, prediction.yes) if prediction.usable else 0.0


def _exact(prediction: Prediction, question: Question) -> float:
    return exact_score_of(prediction.answer, question, prediction.yes) if prediction.usable else 0.0


def _right(prediction: Prediction, question: Question) -> float:
    return float(prediction.usable and is_correct(prediction.answer, question, prediction.yes))


def _word_precision(prediction: Prediction, question: Question) -> float:
    return word_overlap(prediction.answer, question.answers).precision


def _word_recall(prediction: Prediction, question: Question) -> float:
    return word_overlap(prediction.answer, question.answers).recall if prediction.usable else 0.0


def _cited_part(prediction: Prediction, question: Question) -> float:
    return float(cites_part(prediction, question))


def _gold_share(prediction: Prediction, question: Question) -> float:
    """The share of a prediction's citations whose passage holds the evidence."""
    right = [citation.passage.shows(question) for citation in prediction.citations]
    return sum(right) / len(right)


def _verbatim(prediction: Prediction, _question: Question) -> float:
    return float(all(citation.verdict == "supported" for citation in prediction.citations))
