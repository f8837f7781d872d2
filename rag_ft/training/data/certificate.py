"""The certificate: what a run would train on, checked row by row before a step is paid for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from statistics import median

from pydantic import BaseModel, ConfigDict

from rag_ft.answering import completion
from rag_ft.answering.prompt import PromptBuilder
from rag_ft.errors import AnswerParseError
from rag_ft.questions.wording import question_key
from rag_ft.training.data.collator import IGNORE_INDEX, Encoded, Row, branches_of
from rag_ft.training.data.examples import ExampleSet

_MOST_LOST = 0.5
_MANY_LOST = 0.1
"""Shares of the records that gave no example: above the first the run does not start, above the second it is noted."""

_MANY = 10**6
"""Citation numbers are checked where the examples are made; here the JSON is."""


class Certificate(BaseModel):
    """Counts over all training examples, and what is wrong with them."""

    model_config = ConfigDict(frozen=True)

    examples: int
    questions: int
    held_out_examples: int
    held_out_questions: int
    documents: int
    held_out_documents: int
    rows: int
    tokens: int
    """Tokens to compute in one epoch."""
    tokens_apart: int
    """The same with every example in a sequence of its own."""
    labelled_min: int
    labelled_median: float
    labelled_max: int
    """Labelled tokens of an example, its end of turn included."""
    null_share: float
    """Of the examples."""
    gold_surviving: float
    """Share of answered examples whose cited passage is in the prompt."""
    shortened: int
    """Examples that lost lower-ranked passages to the budget."""
    dropped: dict[str, int]
    """Reason → question records that gave no example."""
    dropped_first: dict[str, str] = {}
    """Reason → id of the first of them."""
    near_duplicates: int
    """Held-out questions that, but for word order and little words, are training questions too."""
    red: tuple[str, ...]
    """Each a sentence that stops the run."""
    amber: tuple[str, ...]
    """Each a sentence to think about."""

    def lines(self) -> list[str]:
        """As a person reads it."""
        lost = [
            f"{count:,} records, such as {self.dropped_first.get(reason, '?')}: {reason}"
            for reason, count in self.dropped.items()
        ]
        return [
            f"examples        {self.examples:,} from {self.questions:,} questions about {self.documents:,} documents;"
            f" held out: {self.held_out_questions:,} questions about {self.held_out_documents:,} other documents",
            f"null targets    {self.null_share:.0%} of the examples",
            f"labels          {self.labelled_min} to {self.labelled_max} tokens an example, median"
            f" {self.labelled_median:g}; end of turn labelled in all, prompt tokens in none"
            if not self.red
            else f"labels          {self.labelled_min} to {self.labelled_max} tokens an example",
            f"gold passage    in the prompt of {self.gold_surviving:.0%} of the answered examples;"
            f" {self.shortened:,} examples lost a lower-ranked passage",
            f"rows            {self.rows:,}, {self.tokens:,} tokens an epoch:"
            f" {self.tokens_apart / max(self.tokens, 1):.1f} times fewer than one sequence an example",
            *(f"left out        {one}" for one in lost),
            *(f"note            {one}" for one in self.amber),
            *(f"STOP            {one}" for one in self.red),
        ]


def certify(
    train: ExampleSet,
    held_out: ExampleSet,
    encoded: Encoded,
    rows: Sequence[Row],
    prompts: PromptBuilder,
) -> Certificate:
    """The certificate of a run; `red` is empty where it may start."""
    red: list[str] = []
    counts: list[int] = []
    expected = Counter((branch.record_id, branch.completion) for group in encoded.groups for branch in group.branches)
    end = prompts.end_of_turn_id
    seen: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for row in rows:
        for record, tokens, labels in branches_of(row):
            labelled = [label for label in labels if label != IGNORE_INDEX]
            counts.append(len(labelled))
            if len(red) >= 3:
                continue
            seen[record, tuple(labelled)] += 1
            if not labelled:
                red.append(f"record {record}: no token is labelled, so that it would teach nothing")
            elif labelled[-1] != end:
                red.append(f"record {record}: the end-of-turn token is not labelled, so that the reader never stops")
            elif labels[: len(tokens) - len(labelled)].count(IGNORE_INDEX) != len(tokens) - len(labelled):
                red.append(f"record {record}: a token of the prompt is labelled")
            else:
                try:
                    completion.parse(prompts.tokenizer.decode(labelled[:-1]), _MANY)
                except AnswerParseError:
                    red.append(f"record {record}: its labels do not decode to the JSON of an answer")
    if not red and seen != expected:
        red.append(f"record {next(iter((expected - seen) or (seen - expected)))[0]}: labels are not its completion")
    shared = train.documents & held_out.documents
    if shared:
        red.append(f"document {sorted(shared)[0]} is on both sides of the split: held-out results would measure memory")
    null = sum(example.answer is None for example in train.examples) / max(len(train.examples), 1)
    amber: list[str] = []
    if null == 1:
        red.append("every target is null: the reader would learn to answer nothing; add answerable questions")
    elif null == 0:
        amber.append("no target is null: the reader learns to answer always; add unanswerable questions or negatives")
    elif null > 0.7:
        amber.append(f"{null:.0%} of the targets are null: expect a reader that seldom answers")
    if train.questions < 50:
        amber.append(f"{train.questions} questions are few: the verdict on overfitting will be a rough one")
    dropped = {**train.dropped, **held_out.dropped}
    lost = len(dropped) / (train.questions + held_out.questions + len(dropped))
    if lost > _MOST_LOST:
        red.append(
            f"{lost:.0%} of the records give nothing to train on, for the reasons above: 'rag-ft data check' names them"
        )
    elif lost > _MANY_LOST:
        amber.append(f"{lost:.0%} of the records give nothing to train on: 'rag-ft data check' names them")
    with_answer = {example.record_id for example in held_out.examples if example.answer is not None}
    if not with_answer:
        red.append("no held-out question has an answer to measure by: add documents with answerable questions")
    if not any(example.record_id not in with_answer for example in held_out.examples):
        amber.append("no held-out question is unanswerable: no threshold will be chosen; add some about more documents")
    duplicates = _near_duplicates(train, held_out)
    if duplicates:
        amber.append(f"{duplicates} held-out questions are training questions in other words: results look too good")
    answered = [example for example in train.examples if example.answer is not None]
    return Certificate(
        examples=len(train.examples),
        questions=train.questions,
        held_out_examples=len(held_out.examples),
        held_out_questions=held_out.questions,
        documents=len(train.documents),
        held_out_documents=len(held_out.documents),
        rows=len(rows),
        tokens=sum(len(row.input_ids) for row in rows),
        tokens_apart=sum(
            len(encoded.head) + len(group.context) + len(branch.question) + len(branch.completion)
            for group in encoded.groups
            for branch in group.branches
        ),
        labelled_min=min(counts, default=0),
        labelled_median=float(median(counts)) if counts else 0.0,
        labelled_max=max(counts, default=0),
        null_share=null,
        gold_surviving=sum(bool(example.numbers) for example in answered) / max(len(answered), 1),
        shortened=len(encoded.left_out),
        dropped=dict(Counter(dropped.values())),
        dropped_first={reason: record for record, reason in reversed(dropped.items())},
        near_duplicates=duplicates,
        red=tuple(red),
        amber=tuple(amber),
    )


def _near_duplicates(train: ExampleSet, held_out: ExampleSet) -> int:
    known = {question_key(example.question) for example in train.examples}
    return len({one.record_id for one in held_out.examples if question_key(one.question) in known})


def fingerprint_examples(examples: ExampleSet) -> str:
    """SHA-256 over what is trained on: record ids, questions, passages, targets."""
    digest = hashlib.sha256()
    for one in examples.examples:
        passages = [(passage.id, passage.text) for passage in one.passages]
        digest.update(repr((one.record_id, one.question, passages, one.answer, one.numbers)).encode())
    return digest.hexdigest()
