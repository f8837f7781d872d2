"""Question records and an index in, training examples out: gold passages, hard negatives, `null` targets.

The distractors are the index's own hard negatives, as in RAFT (Zhang et al., 2024), so the reader trains on what it
will meet. A passage that holds an accepted answer, in upper or lower case, is never a `null` example.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rag_ft.errors import DatasetError
from rag_ft.questions.split import documents_of, evidence_documents
from rag_ft.schema import Passage, Question
from rag_ft.training.data.part_targets import part_passage, part_target, shows_evidence

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

_RETRIEVED = 8
"""Passages retrieved per question to choose hard negatives from."""


class ExampleConfig(BaseModel):
    """How question records become examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reading: Literal["separate", "joint"] = "separate"
    """How the reader will read: one passage per prompt (separate), or several (joint)."""
    passages: Annotated[int, Field(ge=1, le=20)] = 3
    """Joint reading: passages per prompt."""
    gold_probability: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Joint reading: share of prompts with the gold passage; in the others the target is null."""
    negatives: Annotated[float, Field(ge=0, le=8)] = 1.0
    """Separate reading: hard negatives per answerable question on average; their target is null."""
    unanswerable_repeats: Annotated[int, Field(ge=1, le=10)] = 1
    """How often each unanswerable question is used; more than once if the records hold few of them."""
    unanswerable_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Maximum share of unanswerable questions; None keeps all."""
    held_out: Annotated[float, Field(ge=0.02, le=0.5)] = 0.15
    """Share of documents, weighted by their questions, to hold out from training."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Example(NamedTuple):
    """A question, the passages of its prompt in order, and the target."""

    record_id: str
    question: str
    passages: tuple[Passage, ...]
    answer: str | None
    """Target: words of one of the passages, or None for null."""
    numbers: tuple[int, ...]
    """Numbers of the passages that the completion cites, from 1."""
    by_rank: tuple[int, ...] = ()
    """Positions of the passages in `passages`, best rank first, if the prompt has another order."""
    leads: tuple[str, ...] = ()
    """Of a part: the words that name its first unit, and its last if that is another one."""
    yes: bool | None = None
    """What the part says to a question of yes or no."""


@dataclass(frozen=True)
class ExampleSet:
    """Examples of one side of the split, and the records that gave none."""

    examples: tuple[Example, ...]
    documents: frozenset[str]
    """Documents that the questions of the examples are about."""
    questions: int
    """Number of questions that gave an example."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Record id → why it gave no example."""


def make_examples(
    questions: Sequence[Question], index: Index, config: ExampleConfig, *, apart: Collection[str] = ()
) -> ExampleSet:
    """Examples for one side of the split, in an order that keeps questions about the same passages together.

    `apart`: documents of the other side, whose passages are not used as hard negatives here. Equal arguments give
    equal examples. Raises DatasetError with the first reason if no record gives an example.
    """
    chooser = random.Random(config.seed)
    kept = _limited(questions, config.unanswerable_share, chooser)
    by_document = _by_document(index)
    retriever = index.as_retriever(k=_RETRIEVED)
    hits_by_question = retriever.retrieve_batch(
        [retriever.query(question.question, question.history) for question in kept]
    )
    examples: list[Example] = []
    dropped: dict[str, str] = {}
    distractors: dict[str, list[Passage]] = {}
    for question, hits in zip(kept, hits_by_question, strict=True):
        ranked = [hit.passage for hit in hits if hit.passage.document_id not in apart]
        gold = gold_passage(question, by_document)
        gold_id = None if gold is None else gold.id
        negatives = [passage for passage in ranked if not _holds(passage, question) and passage.id != gold_id]
        reason = _why_left_out(question, gold, by_document)
        if reason:
            dropped[question.id] = reason
            continue
        target = taught_answer(question, gold) if gold is not None and question.answerable else None
        times = 1 if question.answerable else config.unanswerable_repeats
        if config.reading == "separate":
            made = [*_separate(question, gold, target, negatives, config, chooser)]
        else:
            made = [_joint(question, gold, target, negatives, config, chooser, distractors)]
        part = part_target(question, gold) if question.kind == "part" and gold is not None else None
        if part is not None:
            made = [
                example if example.answer is None else example._replace(leads=part.leads, yes=question.yes)
                for example in made
            ]
        examples.extend(made * times)
    if not examples:
        record, why = next(iter(dropped.items()), ("", "there are no question records"))
        raise DatasetError(f"no question record gives an example (record {record}: {why}): run 'rag-ft data check'")
    used = [question for question in kept if question.id not in dropped]
    return ExampleSet(tuple(examples), documents_of(used), len(used), dropped)


def left_out(questions: Iterable[Question], index: Index) -> dict[str, str]:
    """Record id → reason, for the answerable questions that give no example with this index."""
    by_document = _by_document(index)
    reasons = {
        question.id: _why_left_out(question, gold_passage(question, by_document), by_document) for question in questions
    }
    return {record: reason for record, reason in reasons.items() if reason}


def _by_document(index: Index) -> dict[str, list[Passage]]:
    passages: dict[str, list[Passage]] = {}
    for row in range(len(index)):
        passage = index.passage(row)
        passages.setdefault(passage.document_id, []).append(passage)
    return passages


def _limited(questions: Sequence[Question], share: float | None, chooser: random.Random) -> list[Question]:
    """All answerable questions, and unanswerable ones up to `share` of the result, in their order."""
    if share is None:
        return list(questions)
    unanswerable = [i for i, question in enumerate(questions) if not question.answerable]
    most = int(share / (1 - share) * (len(questions) - len(unanswerable)))
    chosen = set(chooser.sample(unanswerable, min(most, len(unanswerable))))
    return [question for i, question in enumerate(questions) if question.answerable or i in chosen]


def gold_passage(question: Question, by_document: Mapping[str, list[Passage]]) -> Passage | None:
    """The first passage that holds a whole piece of evidence, or an answer if the evidence is longer than a passage."""
    if question.kind == "part":
        return part_passage(question, by_document)
    for piece in question.evidence:
        overlapping = [
            passage
            for passage in by_document.get(piece.document_id, ())
            if passage.start < piece.end and piece.start < passage.end
        ]
        for passage in overlapping:
            if passage.start <= piece.start and piece.end <= passage.end:
                return passage
        for passage in overlapping:
            if any(answer in passage.text for answer in question.answers):
                return passage
    return None


def _why_left_out(question: Question, gold: Passage | None, by_document: dict[str, list[Passage]]) -> str:
    """Why a question gives no example, in equal words for equal reasons; empty if it gives one."""
    if not question.answerable:
        return ""
    if not question.evidence:
        return "answerable, but without evidence"
    if gold is None and any(document not in by_document for document in evidence_documents(question)):
        return "the index lacks the document of its evidence"
    if gold is None:
        return "no passage of the index holds its evidence whole"
    return (
        "" if taught_answer(question, gold) is not None else "no accepted answer stands in its evidence, word for word"
    )


def taught_answer(question: Question, gold: Passage) -> str | None:
    """The answer to teach: the first accepted one that stands in the gold passage word for word, or a part of it."""
    if question.kind == "part":
        part = part_target(question, gold)
        return None if part is None else part.text
    return next((answer for answer in question.answers if answer in gold.text), None)


def _holds(passage: Passage, question: Question) -> bool:
    if question.kind == "part":
        return shows_evidence(question, passage)
    text = passage.text.casefold()
    return any(answer.casefold() in text for answer in question.answers)


def _separate(
    question: Question,
    gold: Passage | None,
    target: str | None,
    negatives: Sequence[Passage],
    config: ExampleConfig,
    chooser: random.Random,
) -> Iterable[Example]:
    if gold is not None:
        yield Example(question.id, question.question, (gold,), target, (1,) if target is not None else ())
    elif negatives:
        yield Example(question.id, question.question, (negatives[0],), None, ())
    if target is None:
        return
    count = int(config.negatives) + (chooser.random() < config.negatives % 1)
    # The reader meets the first ranks most: negatives are drawn with weights that fall with the rank.
    pool = list(negatives)
    for _ in range(min(count, len(pool))):
        rank = min(int(chooser.expovariate(0.5)), len(pool) - 1)
        yield Example(question.id, question.question, (pool.pop(rank),), None, ())


def _joint(
    question: Question,
    gold: Passage | None,
    target: str | None,
    negatives: Sequence[Passage],
    config: ExampleConfig,
    chooser: random.Random,
    distractors: dict[str, list[Passage]],
) -> Example:
    """One example of several passages; questions with the same gold passage share distractors if they can."""
    absent = target is not None and (config.passages == 1 or chooser.random() >= config.gold_probability)
    key = "" if gold is None else gold.id
    wanted = config.passages if absent or gold is None else config.passages - 1
    shared = distractors.setdefault(key, list(negatives)) if key else list(negatives)
    usable = [passage for passage in shared if not _holds(passage, question)]
    chosen = (usable if len(usable) >= wanted else list(negatives))[:wanted]
    if not absent and gold is not None:
        chosen = [*chosen, gold]
    ranked = list(chosen)
    # The order depends on the passages alone, so that equal sets are equal contexts.
    chosen.sort(key=lambda passage: passage.id)
    random.Random(f"{config.seed} {' '.join(passage.id for passage in chosen)}").shuffle(chosen)
    numbers = (chosen.index(gold) + 1,) if target is not None and not absent and gold is not None else ()
    by_rank = tuple(chosen.index(passage) for passage in ranked)
    return Example(question.id, question.question, tuple(chosen), target if numbers else None, numbers, by_rank)
