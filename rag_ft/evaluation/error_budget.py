"""The error budget: each question of an arm in exactly one bin, so that the bins add up to all questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.predictions import Prediction, cites_gold, found_gold
from rag_ft.metrics.kinds import is_correct, kind_of
from rag_ft.schema import Question

Bin: TypeAlias = Literal[
    "correct and supported",
    "correct, unsupported",
    "declined rightly",
    "not retrieved",
    "retrieved but ignored",
    "known closed-book, lost with context",
    "wrong passage cited",
    "wrong yes or no",
    "abstained wrongly",
    "answered what has no answer",
    "invalid or incomplete",
]


BINS: tuple[Bin, ...] = get_args(Bin)


DECISION: Bin = "wrong yes or no"
"""The bin that only questions of yes or no can be in; a budget without such questions leaves it out."""


GOOD: tuple[Bin, ...] = ("correct and supported", "correct, unsupported", "declined rightly")


def bin_of(prediction: Prediction, question: Question, *, closed_book: str | None = None) -> Bin:
    """The bin of a question. `closed_book`: what the same model answers without passages, where that is known.

    Decided in this order: no usable reply; unanswerable questions, by whether something was answered; correct answers,
    by whether a cited passage shows the evidence; wrong answers, by the first cause that explains them. For an arm
    without passages, wrong answers and wrong abstentions are "not retrieved". A wrong decision on the right evidence is
    a "wrong yes or no"; an answer that decides nothing was "retrieved but ignored".
    """
    if not prediction.usable:
        return "invalid or incomplete"
    if not question.answerable:
        return "declined rightly" if prediction.answer is None else "answered what has no answer"
    if is_correct(prediction.answer, question, prediction.yes):
        return "correct and supported" if cites_gold(prediction, question) else "correct, unsupported"
    if not found_gold(prediction, question):
        return "not retrieved"
    if closed_book is not None and is_correct(closed_book, question):
        return "known closed-book, lost with context"
    if prediction.answer is None:
        return "abstained wrongly"
    if prediction.citations and not cites_gold(prediction, question):
        return "wrong passage cited"
    if kind_of(question) == "yes/no" and prediction.decision is not None:
        return "wrong yes or no"
    return "retrieved but ignored"


def budget(
    predictions: Sequence[Prediction],
    questions: Mapping[str, Question],
    closed_book: Mapping[str, str | None] | None = None,
) -> dict[Bin, int]:
    """Number of questions in each bin, zeros included; they add up to the number of predictions.

    The bin of wrong decisions is left out where no question asks for yes or no.
    """
    known = closed_book or {}
    counts = Counter(
        bin_of(prediction, questions[prediction.question_id], closed_book=known.get(prediction.question_id))
        for prediction in predictions
    )
    decides = any(kind_of(questions[prediction.question_id]) == "yes/no" for prediction in predictions)
    return {name: counts[name] for name in BINS if decides or name != DECISION}


class Move(BaseModel):
    """Number of questions that are in bin `source` with one arm and in bin `target` with the other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Bin
    target: Bin
    questions: int


class BudgetFlow(BaseModel):
    """How questions move between bins from one arm to another: what tuning fixed, and what it broke."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: str
    after: str
    moves: tuple[Move, ...]
    """Moves that occur, in the order of the bins; they add up to the number of questions."""

    @property
    def fixed(self) -> int:
        """Number of questions that went from a bad bin to a good one."""
        return sum(move.questions for move in self.moves if move.source not in GOOD and move.target in GOOD)

    @property
    def broken(self) -> int:
        """Number of questions that went from a good bin to a bad one."""
        return sum(move.questions for move in self.moves if move.source in GOOD and move.target not in GOOD)


def budget_flow(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    questions: Mapping[str, Question],
    closed_book: tuple[Mapping[str, str | None] | None, Mapping[str, str | None] | None] = (None, None),
) -> BudgetFlow:
    """How questions move between bins from arm `before` to arm `after`.

    `closed_book`: what each arm's model answers without passages, as in `budget`. Raises ValueError where the arms
    were asked different questions, or none.
    """
    later = {prediction.question_id: prediction for prediction in after}
    if not later or later.keys() != {prediction.question_id for prediction in before}:
        raise ValueError("the two arms were asked different questions: compare arms of one run")
    known_before, known_after = (known or {} for known in closed_book)
    moves: Counter[tuple[Bin, Bin]] = Counter()
    for prediction in before:
        name = prediction.question_id
        source = bin_of(prediction, questions[name], closed_book=known_before.get(name))
        target = bin_of(later[name], questions[name], closed_book=known_after.get(name))
        moves[source, target] += 1
    ordered = sorted(moves, key=lambda move: (BINS.index(move[0]), BINS.index(move[1])))
    return BudgetFlow(
        before=before[0].arm,
        after=after[0].arm,
        moves=tuple(Move(source=source, target=target, questions=moves[source, target]) for source, target in ordered),
    )
