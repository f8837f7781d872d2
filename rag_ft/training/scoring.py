"""What a reader gets right on questions with retrieved passages, weighed at any threshold of its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict

from rag_ft.answering.confidence import PLAIN, PlattScale, log_odds
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import DatasetError
from rag_ft.metrics.answers import calibration_error, is_correct, token_f1
from rag_ft.metrics.thresholds import best_threshold, harmonic_mean, recognising_threshold
from rag_ft.models.compute import autocasting
from rag_ft.schema import Question

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rag_ft.indexing.index import Index

MOST_ASKED = 200
"""Held-out questions that the figures and the threshold come from."""


class ReaderScore(BaseModel):
    """A reader on held-out questions with retrieved passages."""

    model_config = ConfigDict(frozen=True)

    questions: int
    answerable: int
    must_answer_f1: float | None
    """Token F1 over answerable questions when null is not allowed."""
    answerable_f1: float | None
    """The same at the threshold."""
    null_recognised: float | None
    """Share of unanswerable questions that get null at the threshold."""
    threshold: float
    platt: PlattScale = PLAIN
    """The scale of the confidences that the threshold is compared with."""

    def line(self) -> str:
        """As a person reads it."""
        f1, made = 100 * (self.answerable_f1 or 0.0), 100 * (self.must_answer_f1 or 0.0)
        return (
            f"threshold {self.threshold:.3f}: on {self.questions} questions F1 {f1:.1f} of the answerable ({made:.1f}"
            f" made to answer), {self.null_recognised or 0.0:.0%} of the unanswerable recognised"
        )

    @property
    def weighed(self) -> bool:
        """Whether both kinds of questions were there and got right now and then: else its threshold means nothing."""
        return self.null_recognised is not None and self.worth > 0

    @property
    def worth(self) -> float:
        """One number to choose by: the harmonic mean of answerable F1 and null recognised, or the one that there is."""
        f1, null = self.answerable_f1, self.null_recognised
        if f1 is None or null is None:
            return f1 if f1 is not None else null or 0.0
        return harmonic_mean(f1, null)


class AlwaysAnswered(NamedTuple):
    """What a reader answered when it had to, question by question: what thresholds are weighed on."""

    answered: tuple[tuple[float, float], ...]
    """The reader's own confidence and token F1 of each answerable question."""
    null: tuple[float, ...]
    """Its own confidence of each unanswerable one."""
    scale: PlattScale = PLAIN
    """Fitted on these answers. Thresholds are chosen by the reader's own confidences, since the middle of several would
    be another one on a scale, and given on the scale."""
    unscaled_error: float = 0.0
    scaled_error: float = 0.0
    """Expected calibration error of an answer's being right: of the reader's own confidences, and on the scale."""

    def best(self) -> float:
        """The threshold that serves both kinds of questions best here."""
        return self.scale.scaled(best_threshold(self.answered, self.null))

    def recognising(self, share: float, *, margin: bool) -> float:
        """The lowest threshold that recognises so large a share of the unanswerable, with a margin for sampling or
        without. Raises DatasetError where they are too few to say.
        """
        found = recognising_threshold(self.null, share, margin=margin)
        if found is None:
            raise DatasetError(
                f"{len(self.null)} unanswerable questions are too few to say that a threshold recognises {share:.0%} of"
                " such: ask for a lower share, or bring more of them"
            )
        return self.scale.scaled(found)

    def score(self, threshold: float) -> ReaderScore:
        """The figures at a threshold."""
        return ReaderScore(
            questions=len(self.answered) + len(self.null),
            answerable=len(self.answered),
            must_answer_f1=_mean([f1 for _, f1 in self.answered]),
            answerable_f1=_mean([f1 if self.scale.scaled(own) >= threshold else 0.0 for own, f1 in self.answered]),
            null_recognised=_mean([float(self.scale.scaled(own) < threshold) for own in self.null]),
            threshold=threshold,
            platt=self.scale,
        )


def score_reader(reader: Reader, questions: Sequence[Question], index: Index) -> ReaderScore:
    """Token F1 and null on questions with three retrieved passages, at the threshold that serves both best here."""
    found = always_answered(reader, questions, index)
    return found.score(found.best())


def always_answered(
    reader: Reader, questions: Sequence[Question], index: Index, k: int = 3, most: int = MOST_ASKED
) -> AlwaysAnswered:
    """Ask questions with retrieved passages; of more than `most` that many, evenly spread over each kind."""
    chosen = _spread(questions, most)
    requests = retrieved_requests([one.question for one in chosen], index, k, threshold=0.0)
    # Training holds the base in float32; the reader will compute in the fast type, and its threshold is for that.
    with autocasting(reader.loaded.model):
        readings = reader.read_batch(requests)
    right = [asked.answerable and is_correct(one.answer, asked) for one, asked in zip(readings, chosen, strict=True)]
    own = [one.not_null for one in readings]
    scale = fit_platt(own, right)
    sides = (own, [scale.scaled(one) for one in own])
    errors = (calibration_error(some, right) if some else 0.0 for some in sides)
    pairs = list(zip(readings, chosen, strict=True))
    return AlwaysAnswered(
        tuple((one.not_null, token_f1(one.answer, asked.answers)) for one, asked in pairs if asked.answerable),
        tuple(one.not_null for one, asked in pairs if not asked.answerable),
        scale,
        *errors,
    )


def retrieved_requests(
    questions: Sequence[str], index: Index, k: int = 3, threshold: float | None = None
) -> list[ReadRequest]:
    """Questions with the passages that an index has for each."""
    found = index.as_retriever(k=k).retrieve_batch(questions)
    return [
        ReadRequest(question, tuple(hit.passage for hit in hits), threshold)
        for question, hits in zip(questions, found, strict=True)
    ]


def _spread(questions: Sequence[Question], most: int) -> list[Question]:
    """At most so many, in their order, evenly spread over the answerable and over the unanswerable ones."""
    kinds = [[place for place, one in enumerate(questions) if one.answerable is kind] for kind in (True, False)]
    share = min(1.0, most / max(1, len(questions)))
    kept: set[int] = set()
    for places in kinds:
        # Rounded down, but of each kind that is there one: a threshold weighs both.
        count = min(len(places), max(1, int(len(places) * share)))
        kept.update(places[number * len(places) // count] for number in range(count))
    return [questions[place] for place in sorted(kept)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


FEWEST = 20
"""Answers that a scale is fitted on at least: with so few it is rough, and closer than none."""


_FLATTEST = 0.01
"""Least slope: a scale must not turn the order of confidences round, nor make all of them one."""


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
    odds = np.array([min(max(log_odds(one), -_MOST), _MOST) for one in confidences])
    targets = np.where(np.array(right), (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(scale: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = scale[0] * odds + scale[1]
        miss = 1 / (1 + np.exp(-score)) - targets
        return float(np.sum(np.logaddexp(0, score) - targets * score)), np.array([miss @ odds, miss.sum()])

    found = minimize(loss, [1.0, 0.0], jac=True, bounds=[(_FLATTEST, None), (None, None)])
    return PlattScale(slope=float(found.x[0]), intercept=float(found.x[1]))


_MOST = 30.0
"""Log-odds beyond which a confidence is as good as certain."""
