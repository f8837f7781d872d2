"""Faithfulness without a judge: swap the answer in the gold passage for another of its type, and see what is said.

An arm that reads says the swapped answer; one that remembers, or guesses from the question, says the real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.arms.base import Asked
from rag_ft.evaluation.figures import Figure, figure_of
from rag_ft.evaluation.predictions import Prediction
from rag_ft.metrics.answers import CORRECT_FROM, token_f1
from rag_ft.schema import Question
from rag_ft.text.answer_swap import swap_answer


class Faithfulness(BaseModel):
    """Of the questions whose gold passage was retrieved and could be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    followed: Figure
    """Share that gives the swapped answer."""
    remembered: Figure
    """Share that gives the real one, which no passage holds any more."""


def swapped(asked: Sequence[Asked]) -> dict[str, tuple[Asked, str]]:
    """Question id → the question with its gold passage changed and the answer that it now has.

    Only questions whose answer stands in exactly one of their passages: else another would still say it. Answers are
    swapped for those of the other questions, in their order, so that equal questions give equal swaps.
    """
    answers = [one.question.answers[0] for one in asked if one.question.answers]
    found: dict[str, tuple[Asked, str]] = {}
    for place, one in enumerate(asked):
        holding = [
            (hit, answer) for hit in one.hits for answer in one.question.answers[:1] if answer in hit.passage.text
        ]
        if len(holding) != 1 or any(
            other in hit.passage.text
            for hit in one.hits
            for other in one.question.answers[1:]
            if hit is not holding[0][0]
        ):
            continue
        gold, answer = holding[0]
        swap = swap_answer(gold.passage, answer, answers[place + 1 :] + answers[:place])
        if swap is None or any(swap.answer in hit.passage.text for hit in one.hits):
            continue
        hits = tuple(hit.model_copy(update={"passage": swap.passage}) if hit is gold else hit for hit in one.hits)
        found[one.question.id] = one._replace(hits=hits), swap.answer
    return found


def faithfulness(
    predictions: Sequence[Prediction], swaps: Mapping[str, tuple[Asked, str]], *, seed: int = 0
) -> Faithfulness | None:
    """What an arm said to swapped questions; None where it replied to none."""
    replied = [one for one in predictions if not one.failed]
    if not replied:
        return None
    questions = {name: asked.question for name, (asked, _) in swaps.items()}

    def nearer(one: Prediction, answer: str, other: str) -> float:
        """Whether it is half one answer at least, and more that one than the other: 107 metres is not 114 metres."""
        near, far = token_f1(one.answer, (answer,)), token_f1(one.answer, (other,))
        return float(near >= CORRECT_FROM and near > far)

    def follows(one: Prediction, question: Question) -> float:
        return nearer(one, swaps[question.id][1], question.answers[0])

    def remembers(one: Prediction, question: Question) -> float:
        return nearer(one, question.answers[0], swaps[question.id][1])

    pairs = [(one, questions[one.question_id]) for one in replied]
    return Faithfulness(followed=figure_of(pairs, follows, seed), remembered=figure_of(pairs, remembers, seed))
