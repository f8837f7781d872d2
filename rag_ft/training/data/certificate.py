"""The certificate: what a run would train on, checked row by row before the first step."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rag_ft.answering import completion
from rag_ft.answering.prompt import PromptBuilder
from rag_ft.errors import AnswerParseError
from rag_ft.questions.records import origin_words
from rag_ft.questions.wording import question_key
from rag_ft.training.data.collator import IGNORE_INDEX, Encoded, Row, branches_of
from rag_ft.training.data.examples import ExampleSet

_MAX_LOST_SHARE = 0.5
"""Share of records without an example above which a run does not start."""

_MANY_LOST = 0.1
"""Share of records without an example above which the certificate has a note."""

_MAX_RED = 3
"""Rows with wrong labels that are named; the first one stops the run anyway."""

_ANY_CITATION = 10**6
"""Citation numbers are checked where the examples are made; here only the JSON is."""


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
    """Tokens to compute in one epoch if every example were a sequence of its own."""
    labelled_min: int
    """Fewest labelled tokens of an example, end of turn included."""
    labelled_median: float
    """Median of labelled tokens per example."""
    labelled_max: int
    """Most labelled tokens of an example."""
    null_share: float
    """Share of examples with the target null."""
    gold_surviving: float
    """Share of answered examples whose cited passage is in the prompt."""
    shortened: int
    """Examples that lost lower-ranked passages to the budget."""
    dropped: dict[str, int]
    """Reason → question records without an example."""
    dropped_first: dict[str, str] = {}
    """Reason → id of the first record without an example."""
    origins: Annotated[dict[str, int], Field(exclude_if=lambda counts: not counts)] = {}
    """Number of training records of each origin; empty where people wrote all records."""
    held_out_origins: Annotated[dict[str, int], Field(exclude_if=lambda counts: not counts)] = {}
    """Number of held-out records of each origin; empty where people wrote all records."""
    near_duplicates: int
    """Held-out questions that are training questions too, apart from word order and stop words."""
    red: tuple[str, ...]
    """Sentences about faults that stop the run."""
    amber: tuple[str, ...]
    """Sentences about weaknesses to think about."""

    def lines(self) -> list[str]:
        """The certificate for people to read."""
        masked = "" if self.red else "; end of turn labelled in all, prompt tokens in none"
        return [
            f"examples        {self.examples:,} from {self.questions:,} questions about {self.documents:,} documents;"
            f" held out: {self.held_out_questions:,} questions about {self.held_out_documents:,} other documents",
            *(
                [
                    f"origins         to train on: {origin_words(self.origins)};"
                    f" held out: {origin_words(self.held_out_origins)}"
                ]
                if self.origins
                else []
            ),
            f"null targets    {self.null_share:.0%} of the examples",
            f"labels          {self.labelled_min} to {self.labelled_max} tokens per example, median"
            f" {self.labelled_median:g}{masked}",
            f"gold passage    in the prompt of {self.gold_surviving:.0%} of the answered examples;"
            f" {self.shortened:,} examples lost a lower-ranked passage",
            f"rows            {self.rows:,}, {self.tokens:,} tokens per epoch:"
            f" {self.tokens_apart / max(self.tokens, 1):.1f} times fewer than with one sequence per example",
            *(
                f"left out        {count:,} records, such as {self.dropped_first.get(reason, '?')}: {reason}"
                for reason, count in self.dropped.items()
            ),
            *(f"note            {sentence}" for sentence in self.amber),
            *(f"STOP            {sentence}" for sentence in self.red),
        ]


def certify(
    train: ExampleSet,
    held_out: ExampleSet,
    encoded: Encoded,
    rows: Sequence[Row],
    prompts: PromptBuilder,
) -> Certificate:
    """The certificate of a run; `red` is empty if the run may start."""
    counts = [len(_labelled(labels)) for row in rows for _, _, labels in branches_of(row)]
    dropped = {**train.dropped, **held_out.dropped}
    answered = [example for example in train.examples if example.answer is not None]
    null_share = (len(train.examples) - len(answered)) / max(len(train.examples), 1)
    near_duplicates = _near_duplicates(train, held_out)
    red, amber = _split_warnings(train, held_out, null_share, near_duplicates)
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
        null_share=null_share,
        gold_surviving=sum(bool(example.numbers) for example in answered) / max(len(answered), 1),
        shortened=len(encoded.left_out),
        dropped=dict(Counter(dropped.values())),
        dropped_first={reason: record for record, reason in reversed(dropped.items())},
        near_duplicates=near_duplicates,
        red=(*_wrong_labels(encoded, rows, prompts), *red),
        amber=tuple(amber),
    )


def _wrong_labels(encoded: Encoded, rows: Sequence[Row], prompts: PromptBuilder) -> list[str]:
    """Sentences about examples whose labels are not exactly the completion and its end of turn."""
    faults: list[str] = []
    seen: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for row in rows:
        for record, tokens, labels in branches_of(row):
            labelled = _labelled(labels)
            seen[record, tuple(labelled)] += 1
            fault = _wrong_label(tokens, labels, labelled, prompts)
            if fault:
                faults.append(f"record {record}: {fault}")
            if len(faults) == _MAX_RED:
                return faults
    expected = Counter((branch.record_id, branch.completion) for group in encoded.groups for branch in group.branches)
    if not faults and seen != expected:
        record, _ = next(iter((expected - seen) or (seen - expected)))
        faults.append(f"record {record}: its labels are not its completion")
    return faults


def _labelled(labels: Sequence[int]) -> list[int]:
    return [label for label in labels if label != IGNORE_INDEX]


def _wrong_label(tokens: Sequence[int], labels: Sequence[int], labelled: Sequence[int], prompts: PromptBuilder) -> str:
    """What is wrong with the labels of one example; empty if nothing is."""
    prompt = len(tokens) - len(labelled)
    if not labelled:
        return "no token is labelled, so it would teach nothing"
    if labelled[-1] != prompts.end_of_turn_id:
        return "the end-of-turn token is not labelled, so the reader would never stop"
    if list(labels[:prompt]).count(IGNORE_INDEX) != prompt:
        return "a token of the prompt is labelled"
    try:
        text = prompts.tokenizer.decode(labelled[:-1])
        if text.startswith(completion.HEAD + completion.OPEN_PART):
            completion.parse_part(text)
        else:
            completion.parse(text, _ANY_CITATION)
    except AnswerParseError:
        return "its labels do not decode to the JSON of an answer"
    return ""


def _split_warnings(
    train: ExampleSet, held_out: ExampleSet, null_share: float, near_duplicates: int
) -> tuple[list[str], list[str]]:
    """Red and amber sentences about both sides of the split as wholes."""
    red: list[str] = []
    amber: list[str] = []
    shared = train.documents & held_out.documents
    if shared:
        red.append(f"document {min(shared)} is on both sides of the split: held-out results would measure memory")
    if null_share == 1:
        red.append("every target is null: the reader would learn to answer nothing; add answerable questions")
    elif null_share == 0:
        amber.append("no target is null: the reader learns to answer always; add unanswerable questions or negatives")
    elif null_share > 0.7:
        amber.append(f"{null_share:.0%} of the targets are null: expect a reader that seldom answers")
    if train.questions < 50:
        amber.append(f"{train.questions} questions are few: the verdict on overfitting will be rough")
    lost = len({**train.dropped, **held_out.dropped})
    lost_share = lost / (train.questions + held_out.questions + lost)
    if lost_share > _MAX_LOST_SHARE:
        red.append(
            f"{lost_share:.0%} of the records give nothing to train on (reasons above): 'rag-ft data check' lists them"
        )
    elif lost_share > _MANY_LOST:
        amber.append(f"{lost_share:.0%} of the records give nothing to train on: 'rag-ft data check' lists them")
    with_answer = {example.record_id for example in held_out.examples if example.answer is not None}
    if not with_answer:
        red.append("no held-out question has an answer to measure by: add documents with answerable questions")
    if not any(example.record_id not in with_answer for example in held_out.examples):
        amber.append(
            "no held-out question is unanswerable, so no threshold will be chosen: add some about more documents"
        )
    if near_duplicates:
        amber.append(
            f"{near_duplicates} held-out questions are training questions in other words: results look too good"
        )
    return red, amber


def _near_duplicates(train: ExampleSet, held_out: ExampleSet) -> int:
    known = {question_key(example.question) for example in train.examples}
    return len({example.record_id for example in held_out.examples if question_key(example.question) in known})


def fingerprint_examples(examples: ExampleSet) -> str:
    """SHA-256 over what is trained on: record ids, questions, passages, targets."""
    digest = hashlib.sha256()
    for example in examples.examples:
        passages = [(passage.id, passage.text) for passage in example.passages]
        part = (example.leads, example.yes) if example.leads else ()
        target = (example.answer, example.numbers, *part)
        digest.update(repr((example.record_id, example.question, passages, *target)).encode())
    return digest.hexdigest()
