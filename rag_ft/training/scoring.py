"""Figures of a reader on questions with retrieved passages, at any threshold of its confidence."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rag_ft.answering.confidence import NO_KINDS, PLAIN, KindCalibration, PlattScale, bounded
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import Reading, ReadRequest
from rag_ft.errors import DatasetError
from rag_ft.metrics.answers import calibration_error
from rag_ft.metrics.kinds import KINDS, JudgedKind, is_correct, judged_kind, score_of
from rag_ft.metrics.odds import log_odds
from rag_ft.metrics.thresholds import best_threshold, harmonic_mean, recognising_threshold
from rag_ft.models.compute import autocasting
from rag_ft.schema import Question

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rag_ft.indexing.index import Index
    from rag_ft.indexing.reranking import Reranker

MAX_HELD_OUT = 200
"""Held-out questions asked at most: the figures and the threshold come from them."""


class ReaderScore(BaseModel):
    """A reader on held-out questions with retrieved passages."""

    model_config = ConfigDict(frozen=True)

    questions: int
    answerable: int
    must_answer_f1: float | None
    """Token F1 on answerable questions with abstention off; 1 or 0 by the decision where they ask for yes or no."""
    answerable_f1: float | None
    """The same at the threshold; null counts as 0."""
    null_recognised: float | None
    """Abstention recall: share of unanswerable questions that get null at the threshold."""
    threshold: float
    platt: PlattScale = PLAIN
    """Scale of the confidences that the threshold is compared with."""
    kinds: Annotated[dict[JudgedKind, KindCalibration], Field(default_factory=dict, exclude_if=operator.not_)]
    """Kinds of answers with a threshold and a scale of their own, at which they are counted."""

    def line(self) -> str:
        """The threshold and its figures for people to read."""
        f1, without = 100 * (self.answerable_f1 or 0.0), 100 * (self.must_answer_f1 or 0.0)
        own = ", ".join(f"{kind} {calibration.value:.3f}" for kind, calibration in self.kinds.items())
        return (
            f"threshold {self.threshold:.3f}{f' ({own})' if own else ''}: on {self.questions} questions, F1 on"
            f" answerable {f1:.1f} ({without:.1f} with abstention off), abstention recall"
            f" {self.null_recognised or 0.0:.0%}"
        )

    def figures(self) -> str:
        """The figures that could be measured, for people to read."""
        parts = []
        if self.must_answer_f1 is not None:
            parts.append(f"F1 with abstention off {100 * self.must_answer_f1:.1f}")
        if self.null_recognised is not None and self.answerable_f1 is not None:
            parts.append(
                f"at threshold {self.threshold:.2g}, F1 on answerable {100 * self.answerable_f1:.1f} and abstention"
                f" recall {self.null_recognised:.0%}"
            )
        return "; ".join(parts) or "nothing could be measured"

    @property
    def weighed(self) -> bool:
        """Whether the threshold means something: both kinds of questions were asked, and some of each were right."""
        return self.null_recognised is not None and self.worth > 0

    @property
    def worth(self) -> float:
        """One number to choose by: the harmonic mean of F1 on answerable and abstention recall, or whichever exists."""
        f1, null = self.answerable_f1, self.null_recognised
        if f1 is None or null is None:
            return f1 if f1 is not None else null or 0.0
        return harmonic_mean(f1, null)


class AlwaysAnswered(NamedTuple):
    """A reader's answers with abstention off, question by question: thresholds are chosen on them."""

    answered: tuple[tuple[float, float], ...]
    """For each answerable question, the unscaled confidence of the reader and the score of its answer."""
    null: tuple[float, ...]
    """For each unanswerable question, the unscaled confidence of the reader."""
    scale: PlattScale = PLAIN
    """Scale fitted on these answers. Thresholds are chosen by unscaled confidences, because the middle of several
    thresholds moves with a scale, and returned on the scale."""
    unscaled_error: float = 0.0
    """Expected calibration error of the unscaled confidences."""
    scaled_error: float = 0.0
    """Expected calibration error of the confidences, each on the scale of its kind."""
    kinds: Mapping[JudgedKind, AlwaysAnswered] = MappingProxyType({})
    """The same answers apart by their kind; empty where all are of one kind. The scale of a kind with too few answers
    is the common one."""

    def chosen(self, recognise: float | None = None, *, margin: bool = True) -> ReaderScore:
        """The figures at the thresholds that `best`, or `recognising` for a share, gives for all answers and by kind.

        Raises DatasetError if there are too few unanswerable questions to say.
        """
        threshold = self.best() if recognise is None else self.recognising(recognise, margin=margin)
        return self.score(threshold, self.by_kind(threshold, recognise, margin=margin))

    def by_kind(
        self, threshold: float, recognise: float | None = None, *, margin: bool = True
    ) -> dict[JudgedKind, KindCalibration]:
        """Threshold and scale of each kind with `FEWEST` answers or more; empty where all are of one kind.

        `threshold`: the common one. A kind has it, on its own scale, unless `FEWEST_OF_EACH` of its answers are to
        answerable questions and as many to unanswerable ones, and some are right.
        """
        common = self.scale.unscaled(threshold)
        calibrations: dict[JudgedKind, KindCalibration] = {}
        for kind, answers in self.kinds.items():
            if len(answers.answered) + len(answers.null) >= FEWEST:
                own = answers._own_threshold(recognise, margin=margin)
                value = answers.scale.scaled(common if own is None else own)
                calibrations[kind] = KindCalibration(value=value, platt=answers.scale)
        return calibrations

    def _own_threshold(self, recognise: float | None, *, margin: bool) -> float | None:
        """The unscaled threshold that is chosen on these answers alone; None where they are too few to choose one."""
        if min(len(self.answered), len(self.null)) < FEWEST_OF_EACH:
            return None
        if recognise is not None:
            return recognising_threshold(self.null, recognise, margin=margin)
        return best_threshold(self.answered, self.null) or None

    def best(self) -> float:
        """The threshold with the best balance of F1 on answerable and abstention recall on these questions."""
        return self.scale.scaled(best_threshold(self.answered, self.null))

    def recognising(self, share: float, *, margin: bool) -> float:
        """The lowest threshold with this abstention recall; `margin` allows for sampling error.

        Raises DatasetError if there are too few unanswerable questions to say.
        """
        threshold = recognising_threshold(self.null, share, margin=margin)
        if threshold is None:
            raise DatasetError(
                f"{len(self.null)} unanswerable questions are too few to find a threshold that recognises {share:.0%}"
                " of them: ask for a lower share, or add unanswerable questions"
            )
        return self.scale.scaled(threshold)

    def score(self, threshold: float, kinds: Mapping[JudgedKind, KindCalibration] = NO_KINDS) -> ReaderScore:
        """The figures at a threshold on the scale, which holds for kinds of answers without one in `kinds`."""
        common = KindCalibration(value=threshold, platt=self.scale)
        apart = [(answers, kinds.get(kind, common)) for kind, answers in self.kinds.items()] or [(self, common)]
        return ReaderScore(
            questions=len(self.answered) + len(self.null),
            answerable=len(self.answered),
            must_answer_f1=_mean([f1 for _, f1 in self.answered]),
            answerable_f1=_mean(
                [f1 if own.gives(confidence) else 0.0 for answers, own in apart for confidence, f1 in answers.answered]
            ),
            null_recognised=_mean(
                [float(not own.gives(confidence)) for answers, own in apart for confidence in answers.null]
            ),
            threshold=threshold,
            platt=self.scale,
            kinds=dict(kinds),
        )


def score_reader(
    reader: Reader, questions: Sequence[Question], index: Index, reranker: Reranker | None = None
) -> ReaderScore:
    """The figures of a reader on questions with three retrieved passages, at the threshold that is best on them."""
    return always_answered(reader, questions, index, reranker=reranker).chosen()


def always_answered(
    reader: Reader,
    questions: Sequence[Question],
    index: Index,
    k: int = 3,
    most: int = MAX_HELD_OUT,
    reranker: Reranker | None = None,
) -> AlwaysAnswered:
    """Ask questions with retrieved passages and abstention off: at most `most`, evenly spread over each kind.

    `reranker`: what the passages are put in order by where the reader is asked; its threshold is for such passages.
    """
    chosen = spread_questions(questions, most)
    histories = [question.history for question in chosen]
    requests = retrieved_requests([question.question for question in chosen], index, k, 0.0, histories, reranker)
    # Training holds the base in float32; the reader will compute in the fast type, and its threshold is for that.
    with autocasting(reader.loaded.model):
        readings = reader.read_batch(requests)
    return judged_answers(list(zip(readings, chosen, strict=True)))


def judged_answers(pairs: Sequence[tuple[Reading, Question]]) -> AlwaysAnswered:
    """Readings with abstention off as thresholds are chosen on them, all together and apart by the answers' kind."""
    answers = _answers(pairs, PLAIN)
    apart = {
        kind: [(reading, question) for reading, question in pairs if judged_kind(reading.kind, reading.yes) == kind]
        for kind in KINDS
    }
    several = {kind: members for kind, members in apart.items() if members}
    if len(several) < 2:
        return answers
    kinds = {kind: _answers(members, answers.scale) for kind, members in several.items()}
    weighted = sum(len(several[kind]) * judged.scaled_error for kind, judged in kinds.items())
    return answers._replace(kinds=kinds, scaled_error=weighted / len(pairs))


def _answers(pairs: Sequence[tuple[Reading, Question]], otherwise: PlattScale) -> AlwaysAnswered:
    """Readings with abstention off on a scale fitted to them; `otherwise`: the scale where none can be fitted."""
    right = [question.answerable and is_correct(reading.answer, question, reading.yes) for reading, question in pairs]
    unscaled = [reading.not_null for reading, _ in pairs]
    scale = fit_platt(unscaled, right)
    scale = otherwise if scale.plain else scale
    scaled = [scale.scaled(confidence) for confidence in unscaled]
    return AlwaysAnswered(
        answered=tuple(
            (reading.not_null, score_of(reading.answer, question, reading.yes))
            for reading, question in pairs
            if question.answerable
        ),
        null=tuple(reading.not_null for reading, question in pairs if not question.answerable),
        scale=scale,
        unscaled_error=calibration_error(unscaled, right) if unscaled else 0.0,
        scaled_error=calibration_error(scaled, right) if scaled else 0.0,
    )


def retrieved_requests(
    questions: Sequence[str],
    index: Index,
    k: int = 3,
    threshold: float | None = None,
    histories: Sequence[Sequence[str]] | None = None,
    reranker: Reranker | None = None,
) -> list[ReadRequest]:
    """Requests to read questions with the passages that an index retrieves for each; `histories`: one per question."""
    retriever = index.as_retriever(k=k, reranker=reranker)
    pairs = zip(questions, histories or [()] * len(questions), strict=True)
    hits_by_question = retriever.retrieve_batch([retriever.query(*pair) for pair in pairs])
    return [
        ReadRequest.of_hits(question, hits, threshold)
        for question, hits in zip(questions, hits_by_question, strict=True)
    ]


def spread_questions(questions: Sequence[Question], most: int) -> list[Question]:
    """At most `most` questions in their order, evenly spread over the answerable and over the unanswerable ones."""
    kinds = [[i for i, question in enumerate(questions) if question.answerable is kind] for kind in (True, False)]
    share = min(1.0, most / max(1, len(questions)))
    kept: set[int] = set()
    for indices in kinds:
        # Rounded down, but at least one of each kind that exists: a threshold weighs both.
        count = min(len(indices), max(1, int(len(indices) * share)))
        kept.update(indices[i * len(indices) // count] for i in range(count))
    return [questions[i] for i in sorted(kept)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


FEWEST = 20
"""Minimum number of answers to fit a scale on: with 20 it is rough, but better than none."""

FEWEST_OF_EACH = 5
"""Minimum number of answers to answerable questions, and of those to unanswerable ones, for a kind's own threshold."""

_FLATTEST = 0.01
"""Minimum slope: a scale must neither reverse the order of confidences nor make all of them equal."""


def fit_platt(
    confidences: Sequence[float], right: Sequence[bool], weights: Sequence[float] | None = None
) -> PlattScale:
    """The scale under which the outcomes are likeliest; `weights`: what each counts, 1 unless given.

    Fitted to Platt's targets, which keep it finite if every answer above some confidence is right. The plain scale for
    fewer than `FEWEST` answers, or if all of them are right, or all wrong.
    """
    import numpy as np
    from scipy.optimize import minimize

    counts = np.ones(len(right)) if weights is None else np.array(weights)
    yes = float(counts @ np.array(right, dtype=bool))
    no = float(counts.sum()) - yes
    if len(right) < FEWEST or not any(right) or all(right):
        return PLAIN
    odds = np.array([bounded(log_odds(confidence)) for confidence in confidences])
    targets = np.where(np.array(right), (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(scale: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = scale[0] * odds + scale[1]
        miss = counts * (1 / (1 + np.exp(-score)) - targets)
        return float(counts @ (np.logaddexp(0, score) - targets * score)), np.array([miss @ odds, miss.sum()])

    fit = minimize(loss, [1.0, 0.0], jac=True, bounds=[(_FLATTEST, None), (None, None)])
    return PlattScale(slope=float(fit.x[0]), intercept=float(fit.x[1]))
