"""Faithfulness without a judge: the answer in the gold passage is swapped for another of its type.

An arm that reads gives the swapped answer; one that remembers, or guesses from the question, gives the real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.arms.base import Case
from rag_ft.evaluation.figures import Figure, figure_of
from rag_ft.evaluation.predictions import Prediction
from rag_ft.metrics.answers import token_f1
from rag_ft.metrics.kinds import CORRECT_FROM
from rag_ft.schema import Question
from rag_ft.text.answer_swap import swap_answer


class Faithfulness(BaseModel):
    """What an arm answered where the gold passage was retrieved and its answer could be swapped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    followed: Figure
    """Share of answers that follow the swapped passage."""
    remembered: Figure
    """Share of answers that are still the real one, which no passage holds any longer."""


def swap_answers(cases: Sequence[Case]) -> dict[str, tuple[Case, str]]:
    """The cases whose answer can be swapped, each with the answer that its passage now gives, by question id.

    Only questions whose answer is in exactly one of their passages: otherwise another passage would still give it. And
    only those that ask for spans: a swapped part answers another question, and a swapped word need not turn yes into
    no. Answers are swapped for those of the other questions, in order, so that equal cases give equal swaps.
    """
    cases = [case for case in cases if case.question.kind == "span"]
    answers = [case.question.answers[0] for case in cases if case.question.answers]
    swaps: dict[str, tuple[Case, str]] = {}
    for i, case in enumerate(cases):
        holding = [
            (hit, answer) for hit in case.hits for answer in case.question.answers[:1] if answer in hit.passage.text
        ]
        if len(holding) != 1 or any(
            variant in hit.passage.text
            for hit in case.hits
            for variant in case.question.answers[1:]
            if hit is not holding[0][0]
        ):
            continue
        gold, answer = holding[0]
        swap = swap_answer(gold.passage, answer, answers[i + 1 :] + answers[:i])
        if swap is None or any(swap.answer in hit.passage.text for hit in case.hits):
            continue
        hits = tuple(hit.model_copy(update={"passage": swap.passage}) if hit is gold else hit for hit in case.hits)
        swaps[case.question.id] = case._replace(hits=hits), swap.answer
    return swaps


def faithfulness(
    predictions: Sequence[Prediction], swaps: Mapping[str, tuple[Case, str]], *, seed: int = 0
) -> Faithfulness | None:
    """How often an arm followed the swapped passage; None where it replied to no question."""
    replied = [prediction for prediction in predictions if not prediction.failed]
    if not replied:
        return None
    questions = {name: case.question for name, (case, _) in swaps.items()}

    def nearer(prediction: Prediction, answer: str, other: str) -> float:
        """1.0 if correct as `answer`, and nearer to it than to `other`: 107 metres is not 114 metres."""
        near, far = token_f1(prediction.answer, (answer,)), token_f1(prediction.answer, (other,))
        return float(near >= CORRECT_FROM and near > far)

    def follows(prediction: Prediction, question: Question) -> float:
        return nearer(prediction, swaps[question.id][1], question.answers[0])

    def remembers(prediction: Prediction, question: Question) -> float:
        return nearer(prediction, question.answers[0], swaps[question.id][1])

    pairs = [(prediction, questions[prediction.question_id]) for prediction in replied]
    return Faithfulness(followed=figure_of(pairs, follows, seed), remembered=figure_of(pairs, remembers, seed))
