"""Figures of a reader on questions with retrieved passages, at any threshold of its confidence."""

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

MAX_HELD_OUT = 200
"""Held-out questions asked at most: the figures and the threshold come from them."""


class ReaderScore(BaseModel):
    """A reader on held-out questions with retrieved passages."""

    model_config = ConfigDict(frozen=True)

    questions: int
    answerable: int
    must_answer_f1: float | None
    """Token F1 on answerable questions with abstention off."""
    answerable_f1: float | None
    """Token F1 on answerable questions at the threshold; null counts as 0."""
    null_recognised: float | None
    """Abstention recall: share of unanswerable questions that get null at the threshold."""
    threshold: float
    platt: PlattScale = PLAIN
    """Scale of the confidences that the threshold is compared with."""

    def line(self) -> str:
        """The threshold and its figures for people to read."""
        f1, without = 100 * (self.answerable_f1 or 0.0), 100 * (self.must_answer_f1 or 0.0)
        return (
            f"threshold {self.threshold:.3f}: on {self.questions} questions, F1 on answerable {f1:.1f} ({without:.1f}"
            f" with abstention off), abstention recall {self.null_recognised or 0.0:.0%}"
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
    """For each answerable question, the unscaled confidence of the reader and the token F1 of its answer."""
    null: tuple[float, ...]
    """For each unanswerable question, the unscaled confidence of the reader."""
    scale: PlattScale = PLAIN
    """Scale fitted on these answers. Thresholds are chosen by unscaled confidences, because the middle of several
    thresholds moves with a scale, and returned on the scale."""
    unscaled_error: float = 0.0
    """Expected calibration error of the unscaled confidences."""
    scaled_error: float = 0.0
    """Expected calibration error of the confidences on the scale."""

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

    def score(self, threshold: float) -> ReaderScore:
        """The figures at a threshold on the scale."""
        return ReaderScore(
            questions=len(self.answered) + len(self.null),
            answerable=len(self.answered),
            must_answer_f1=_mean([f1 for _, f1 in self.answered]),
            answerable_f1=_mean(
                [f1 if self.scale.scaled(confidence) >= threshold else 0.0 for confidence, f1 in self.answered]
            ),
            null_recognised=_mean([float(self.scale.scaled(confidence) < threshold) for confidence in self.null]),
            threshold=threshold,
            platt=self.scale,
        )


def score_reader(reader: Reader, questions: Sequence[Question], index: Index) -> ReaderScore:
    """The figures of a reader on questions with three retrieved passages, at the threshold that is best on them."""
    answers = always_answered(reader, questions, index)
    return answers.score(answers.best())


def always_answered(
    reader: Reader, questions: Sequence[Question], index: Index, k: int = 3, most: int = MAX_HELD_OUT
) -> AlwaysAnswered:
    """Ask questions with retrieved passages and abstention off: at most `most`, evenly spread over each kind."""
    chosen = _spread(questions, most)
    histories = [question.history for question in chosen]
    requests = retrieved_requests([question.question for question in chosen], index, k, 0.0, histories)
    # Training holds the base in float32; the reader will compute in the fast type, and its threshold is for that.
    with autocasting(reader.loaded.model):
        readings = reader.read_batch(requests)
    pairs = list(zip(readings, chosen, strict=True))
    right = [question.answerable and is_correct(reading.answer, question) for reading, question in pairs]
    unscaled = [reading.not_null for reading in readings]
    scale = fit_platt(unscaled, right)
    scaled = [scale.scaled(confidence) for confidence in unscaled]
    return AlwaysAnswered(
        answered=tuple(
            (reading.not_null, token_f1(reading.answer, question.answers))
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
) -> list[ReadRequest]:
    """Requests to read questions with the passages that an index retrieves for each; `histories`: one per question."""
    retriever = index.as_retriever(k=k)
    pairs = zip(questions, histories or [()] * len(questions), strict=True)
    hits_by_question = retriever.retrieve_batch([retriever.query(*pair) for pair in pairs])
    return [
        ReadRequest(question, tuple(hit.passage for hit in hits), threshold)
        for question, hits in zip(questions, hits_by_question, strict=True)
    ]


def _spread(questions: Sequence[Question], most: int) -> list[Question]:
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

_FLATTEST = 0.01
"""Minimum slope: a scale must neither reverse the order of confidences nor make all of them equal."""

_MAX_LOG_ODDS = 30.0
"""Log-odds beyond which a confidence counts as certain."""


def fit_platt(confidences: Sequence[float], right: Sequence[bool]) -> PlattScale:
    """The scale under which the outcomes are likeliest.

    Fitted to Platt's targets, which keep it finite if every answer above some confidence is right. The plain scale for
    fewer than `FEWEST` answers, or if all of them are right, or all wrong.
    """
    import numpy as np
    from scipy.optimize import minimize

    yes = sum(right)
    no = len(right) - yes
    if len(right) < FEWEST or not yes or not no:
        return PLAIN
    clipped = (min(max(log_odds(confidence), -_MAX_LOG_ODDS), _MAX_LOG_ODDS) for confidence in confidences)
    odds = np.array(list(clipped))
    targets = np.where(np.array(right), (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(scale: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        score = scale[0] * odds + scale[1]
        miss = 1 / (1 + np.exp(-score)) - targets
        return float(np.sum(np.logaddexp(0, score) - targets * score)), np.array([miss @ odds, miss.sum()])

    fit = minimize(loss, [1.0, 0.0], jac=True, bounds=[(_FLATTEST, None), (None, None)])
    return PlattScale(slope=float(fit.x[0]), intercept=float(fit.x[1]))
