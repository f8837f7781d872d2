"""Question records + index → training examples: gold passages, hard negatives, `null` targets, a split by document.

The distractors are the index's own hard negatives, as in RAFT (Zhang et al., 2024): the reader trains on what it will
meet. A passage that holds an accepted answer in other words is never a `null` example.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from rag_ft.errors import DatasetError
from rag_ft.questions.split import documents_of, evidence_documents
from rag_ft.schema import Passage, Question

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

_RETRIEVED = 8
"""Passages looked at for hard negatives."""


class ExampleConfig(BaseModel):
    """How question records become examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reading: Literal["separate", "joint"] = "separate"
    """What the reader will do: one passage a prompt, or several."""
    passages: Annotated[int, Field(ge=1, le=20)] = 3
    """Passages in a prompt read jointly."""
    gold_probability: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Jointly: how often the gold passage is in the prompt; else the target is null."""
    negatives: Annotated[float, Field(ge=0, le=8)] = 1.0
    """Separately: hard negatives with a null target for each answerable question, on average."""
    unanswerable_repeats: Annotated[int, Field(ge=1, le=10)] = 1
    """How often an unanswerable question is an example; more than once where the records hold few of them."""
    unanswerable_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Largest share of unanswerable questions; None keeps all."""
    held_out: Annotated[float, Field(ge=0.02, le=0.5)] = 0.15
    """Share of documents (by their questions) that are never trained on."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Example(NamedTuple):
    """A question, the passages of its prompt in their order, and the target."""

    record_id: str
    question: str
    passages: tuple[Passage, ...]
    answer: str | None
    """Words of one of the passages; None for null."""
    numbers: tuple[int, ...]
    """Passages that the completion cites, counted from 1."""
    by_rank: tuple[int, ...] = ()
    """The passages' places in the order of their rank, where the prompt has another order."""


@dataclass(frozen=True)
class ExampleSet:
    """Examples of one side of the split, and what could not become one."""

    examples: tuple[Example, ...]
    documents: frozenset[str]
    """Those that the questions of the examples are about."""
    questions: int
    """Those that are in the examples."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Record id → reason."""


def make_examples(
    questions: Sequence[Question], index: Index, config: ExampleConfig, *, apart: Collection[str] = ()
) -> ExampleSet:
    """Examples for one side of the split, in an order that keeps questions of the same passages together.

    `apart`: documents of the other side, whose passages are no hard negatives here. Equal arguments give equal
    examples. Raises DatasetError where nothing remains, naming the first reason.
    """
    chooser = random.Random(config.seed)
    kept = _limited(questions, config.unanswerable_share, chooser)
    by_document = _by_document(index)
    found = index.as_retriever(k=_RETRIEVED).retrieve_batch([one.question for one in kept])
    examples: list[Example] = []
    dropped: dict[str, str] = {}
    distractors: dict[str, list[Passage]] = {}
    for question, hits in zip(kept, found, strict=True):
        ranked = [hit.passage for hit in hits if hit.passage.document_id not in apart]
        gold = _gold(question, by_document)
        negatives = [one for one in ranked if not _holds(one, question) and (gold is None or one.id != gold.id)]
        reason = _why_left_out(question, gold, by_document)
        if reason:
            dropped[question.id] = reason
            continue
        target = _target(question, gold) if gold is not None and question.answerable else None
        times = 1 if question.answerable else config.unanswerable_repeats
        if config.reading == "separate":
            examples.extend([*_separate(question, gold, target, negatives, config, chooser)] * times)
        else:
            examples.extend([_joint(question, gold, target, negatives, config, chooser, distractors)] * times)
    if not examples:
        record, why = next(iter(dropped.items()), ("", "there are no question records"))
        raise DatasetError(
            f"no question record could become an example (record {record}: {why}): run 'rag-ft data check'"
        )
    used = [one for one in kept if one.id not in dropped]
    return ExampleSet(tuple(examples), documents_of(used), len(used), dropped)


def left_out(questions: Iterable[Question], index: Index) -> dict[str, str]:
    """Record id → reason, of the answerable questions that would give no example with this index."""
    by_document = _by_document(index)
    reasons = {one.id: _why_left_out(one, _gold(one, by_document), by_document) for one in questions}
    return {record: reason for record, reason in reasons.items() if reason}


def _by_document(index: Index) -> dict[str, list[Passage]]:
    passages: dict[str, list[Passage]] = {}
    for number in range(len(index)):
        passage = index.passage(number)
        passages.setdefault(passage.document_id, []).append(passage)
    return passages


def _limited(questions: Sequence[Question], share: float | None, chooser: random.Random) -> list[Question]:
    """All answerable questions, and of the others as many as make at most `share`; order kept."""
    if share is None:
        return list(questions)
    without = [number for number, one in enumerate(questions) if not one.answerable]
    most = int(share / (1 - share) * (len(questions) - len(without)))
    chosen = set(chooser.sample(without, min(most, len(without))))
    return [one for number, one in enumerate(questions) if one.answerable or number in chosen]


def _gold(question: Question, by_document: dict[str, list[Passage]]) -> Passage | None:
    """The first passage that holds a whole piece of evidence; of a longer quote, the one that holds an answer."""
    for one in question.evidence:
        overlapping = [
            passage
            for passage in by_document.get(one.document_id, ())
            if passage.start < one.end and one.start < passage.end
        ]
        for passage in overlapping:
            if passage.start <= one.start and one.end <= passage.end:
                return passage
        for passage in overlapping:
            if any(answer in passage.text for answer in question.answers):
                return passage
    return None


def _why_left_out(question: Question, gold: Passage | None, by_document: dict[str, list[Passage]]) -> str:
    """Why a question gives no example, in the same words for equal reasons; nothing where it gives one."""
    if not question.answerable:
        return ""
    if not question.evidence:
        return "answerable, but without evidence"
    if gold is None and any(one not in by_document for one in evidence_documents(question)):
        return "the index lacks the document of its evidence"
    if gold is None:
        return "no passage of the index holds its evidence whole"
    return "" if _target(question, gold) is not None else "no accepted answer stands in its evidence, word for word"


def _target(question: Question, gold: Passage) -> str | None:
    """The accepted answer to teach: the first that stands in the gold passage word for word."""
    return next((answer for answer in question.answers if answer in gold.text), None)


def _holds(passage: Passage, question: Question) -> bool:
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
    # The first ranks are what the reader meets: drawn with weights that fall with the rank.
    pool = list(negatives)
    for _ in range(min(count, len(pool))):
        place = min(int(chooser.expovariate(0.5)), len(pool) - 1)
        yield Example(question.id, question.question, (pool.pop(place),), None, ())


def _joint(
    question: Question,
    gold: Passage | None,
    target: str | None,
    negatives: Sequence[Passage],
    config: ExampleConfig,
    chooser: random.Random,
    distractors: dict[str, list[Passage]],
) -> Example:
    """Questions of one gold passage share their distractors, and so their context, wherever that is allowed."""
    absent = target is not None and (config.passages == 1 or chooser.random() >= config.gold_probability)
    key = "" if gold is None else gold.id
    wanted = config.passages if absent or gold is None else config.passages - 1
    shared = distractors.setdefault(key, list(negatives)) if key else list(negatives)
    usable = [one for one in shared if not _holds(one, question)]
    chosen = (usable if len(usable) >= wanted else list(negatives))[:wanted]
    if not absent and gold is not None:
        chosen = [*chosen, gold]
    ranked = list(chosen)
    # The order depends on the passages alone, so that equal sets are equal contexts.
    chosen.sort(key=lambda one: one.id)
    random.Random(f"{config.seed} {' '.join(one.id for one in chosen)}").shuffle(chosen)
    numbers = (chosen.index(gold) + 1,) if target is not None and not absent and gold is not None else ()
    by_rank = tuple(chosen.index(one) for one in ranked)
    return Example(question.id, question.question, tuple(chosen), target if numbers else None, numbers, by_rank)
