"""Where an arm's questions go: each into exactly one bin, so that the bins add up to all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.predictions import Prediction, cites_gold, found_gold
from rag_ft.metrics.answers import is_correct
from rag_ft.schema import Question

Bin: TypeAlias = Literal[
    "correct and supported",
    "correct, unsupported",
    "declined rightly",
    "not retrieved",
    "retrieved but ignored",
    "known closed-book, lost with context",
    "wrong passage cited",
    "abstained wrongly",
    "answered what has no answer",
    "invalid or incomplete",
]


BINS: tuple[Bin, ...] = get_args(Bin)


GOOD: tuple[Bin, ...] = ("correct and supported", "correct, unsupported", "declined rightly")


def bin_of(prediction: Prediction, question: Question, *, closed_book: str | None = None) -> Bin:
    """The one bin of a question. `closed_book`: what the same model answers without passages, where that is known.

    In this order: no usable reply; unanswerable ones by whether something was answered; right answers by whether a
    citation's passage holds the evidence; then, of what is wrong, the first cause that explains it. An arm without
    passages cannot have retrieved: its wrong answers and wrong abstentions are "not retrieved".
    """
    if not prediction.usable:
        return "invalid or incomplete"
    if not question.answerable:
        return "declined rightly" if prediction.answer is None else "answered what has no answer"
    if is_correct(prediction.answer, question):
        return "correct and supported" if cites_gold(prediction, question.evidence) else "correct, unsupported"
    if not found_gold(prediction, question.evidence):
        return "not retrieved"
    if closed_book is not None and is_correct(closed_book, question):
        return "known closed-book, lost with context"
    if prediction.answer is None:
        return "abstained wrongly"
    if prediction.citations and not cites_gold(prediction, question.evidence):
        return "wrong passage cited"
    return "retrieved but ignored"


def budget(
    predictions: Sequence[Prediction],
    questions: Mapping[str, Question],
    closed_book: Mapping[str, str | None] | None = None,
) -> dict[Bin, int]:
    """Questions in each bin, every bin named; they add up to the predictions."""
    known = closed_book or {}
    counts = Counter(
        bin_of(one, questions[one.question_id], closed_book=known.get(one.question_id)) for one in predictions
    )
    return {name: counts[name] for name in BINS}


class Move(BaseModel):
    """Questions that one arm put into one bin and the other into another, or into the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Bin
    target: Bin
    questions: int


class Flow(BaseModel):
    """Where the questions of one arm go with another: what tuning taught, and what it spoilt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: str
    after: str
    moves: tuple[Move, ...]
    """Those that occur, in the order of the bins; they add up to the questions."""

    @property
    def righted(self) -> int:
        """Questions that went from a bad bin to a good one."""
        return sum(one.questions for one in self.moves if one.source not in GOOD and one.target in GOOD)

    @property
    def spoilt(self) -> int:
        """Questions that went the other way."""
        return sum(one.questions for one in self.moves if one.source in GOOD and one.target not in GOOD)


def flow(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    questions: Mapping[str, Question],
    closed_book: tuple[Mapping[str, str | None] | None, Mapping[str, str | None] | None] = (None, None),
) -> Flow:
    """How many questions went from which bin to which between two arms: what tuning taught.

    `closed_book`: what each arm's model answers without passages, as `budget` takes it. Raises ValueError where the
    arms were not asked the same questions, or none.
    """
    later = {one.question_id: one for one in after}
    if not later or later.keys() != {one.question_id for one in before}:
        raise ValueError("the two arms were asked different questions: compare arms of one run")
    first, second = (known or {} for known in closed_book)
    moves = Counter(
        (
            bin_of(one, questions[one.question_id], closed_book=first.get(one.question_id)),
            bin_of(later[one.question_id], questions[one.question_id], closed_book=second.get(one.question_id)),
        )
        for one in before
    )
    ordered = sorted(moves, key=lambda move: (BINS.index(move[0]), BINS.index(move[1])))
    return Flow(
        before=before[0].arm,
        after=after[0].arm,
        moves=tuple(Move(source=move[0], target=move[1], questions=moves[move]) for move in ordered),
    )
