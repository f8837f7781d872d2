"""Examples that teach to write questions: the question is part of what is learned, and its answer follows it.

The sequence is the reader's own: passage, question, completion. A generator learns the question as well, so it can
write one where the reader is given one, and then answers it by the reader's own search. Question and answer in one go:
Ushio, Alva-Manchego, Camacho-Collados, *An Empirical Comparison of LM-based Question and Answer Generation Methods*,
2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_ft.answering.prompt import PromptBuilder, TokenBudget
from rag_ft.errors import DatasetError
from rag_ft.schema import Passage, Question
from rag_ft.training.data.collator import Branch, Encoded, Group
from rag_ft.training.data.examples import Example, gold_passage, taught_answer
from rag_ft.training.data.part_targets import part_target


def question_examples(
    questions: Sequence[Question], passages_by_document: Mapping[str, list[Passage]]
) -> tuple[Example, ...]:
    """One example for each answerable question whose answer stands in a passage; the others are left out."""
    examples: list[Example] = []
    for question in questions:
        passage = gold_passage(question, passages_by_document) if question.answerable else None
        answer = None if passage is None else taught_answer(question, passage)
        if passage is None or answer is None:
            continue
        part = part_target(question, passage) if question.kind == "part" else None
        example = Example(question.id, question.question, (passage,), answer, (1,))
        examples.append(example if part is None else example._replace(leads=part.leads, yes=question.yes))
    return tuple(examples)


def encode_with_questions(examples: Sequence[Example], prompts: PromptBuilder, budget: TokenBudget) -> Encoded:
    """Token ids of the examples, grouped by passage: the question, the turn after it and the completion are learned.

    Raises DatasetError with the record's id where question, completion and passage do not fit together.
    """
    grouped: dict[tuple[int, ...], list[Branch]] = {}
    opening = prompts.question_opening
    for example in examples:
        prompt = prompts.build(example.question, example.passages, budget)
        if prompt.question[: len(opening)] != opening:
            raise DatasetError(
                f"record {example.record_id}: the model's tokenizer joins the question's first characters to what"
                " stands before it: use another base model to write questions"
            )
        if example.leads:
            answer = prompts.part_ids(example.leads, example.numbers, example.yes)
        else:
            answer = prompts.completion_ids(example.answer, example.numbers)
        learned = (*prompt.question[len(opening) :], *answer)
        grouped.setdefault(prompt.context, []).append(Branch(example.record_id, opening, learned))
    return Encoded(
        prompts.head, tuple(Group(context, tuple(branches)) for context, branches in grouped.items()), left_out={}
    )
