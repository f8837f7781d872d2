"""A block of questions answered: searched together, read in an order in which common passages meet, errors apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

from pydantic import JsonValue

from rag_ft.answering.bulk.questions import Block, BulkQuestion
from rag_ft.answering.bulk.rows import row_line
from rag_ft.answering.pipeline import Pipeline, Retrieved
from rag_ft.answering.together import together_or_apart
from rag_ft.errors import (
    MissingExtraError,
    PromptError,
    PromptMismatchError,
    ReaderError,
    ReaderUnreachableError,
    UsageError,
)
from rag_ft.indexing.retriever import Retriever
from rag_ft.schema import Answer

T = TypeVar("T")

TOGETHER = 16
"""Questions that are read in one batch."""


class BlockEngine(Protocol):
    """What answers blocks: a pipeline in this process, or workers elsewhere."""

    def identity(self) -> Mapping[str, JsonValue]:
        """Everything that decides the answers besides the questions."""
        ...

    def answer(self, blocks: Iterable[Block]) -> Iterator[tuple[int, str]]:
        """Number and lines of each block, in the order in which they are finished."""
        ...


class LocalEngine:
    """One pipeline in this process: block after block."""

    def __init__(self, pipeline: Pipeline | Callable[[], Pipeline], *, in_order: bool = False) -> None:
        """A function is called when the pipeline is first needed: after the questions have been looked through.

        `in_order`: read the questions as they come, for comparison.
        """
        self._given = pipeline
        self._in_order = in_order

    @cached_property
    def _pipeline(self) -> Pipeline:
        return self._given if isinstance(self._given, Pipeline) else self._given()

    def identity(self) -> Mapping[str, JsonValue]:
        """The fingerprints of index and pipeline."""
        return identity_of(self._pipeline)

    def answer(self, blocks: Iterable[Block]) -> Iterator[tuple[int, str]]:
        """The lines of each block."""
        for block in blocks:
            yield block.number, answer_block(self._pipeline, block, in_order=self._in_order)


def identity_of(pipeline: Pipeline) -> dict[str, JsonValue]:
    """Everything that decides a pipeline's answers; another engine with an equal one gives equal answers."""
    retriever = pipeline.retriever
    index = retriever.index if isinstance(retriever, Retriever) else None
    return {"index": str(getattr(index, "fingerprint", "")), "pipeline": pipeline.fingerprint}


def answer_block(pipeline: Pipeline, block: Block, *, in_order: bool = False) -> str:
    """A line for each question of the block, in its order. Raises what is not the fault of one question."""
    outcomes: dict[int, Answer | str] = {}
    found: dict[int, Retrieved] = {}
    asked: list[int] = []
    for i, question in enumerate(block.questions):
        if question.problem:
            outcomes[i] = question.problem
        else:
            asked.append(i)

    def retrieve(positions: Sequence[int]) -> list[Retrieved]:
        questions = [block.questions[i] for i in positions]
        return pipeline.retrieve_batch(
            [question.question for question in questions], histories=[question.history for question in questions]
        )

    def read(positions: Sequence[int]) -> list[Answer]:
        return pipeline.read_batch([found[i].query for i in positions], [found[i].hits for i in positions])

    for positions, results in _batches(asked, retrieve):
        for i, result in zip(positions, results, strict=True):
            if isinstance(result, Exception):
                outcomes[i] = str(result)
            else:
                found[i] = result
    order = list(found) if in_order else meeting_order({i: passage_ids(found[i]) for i in found})
    for positions, answers in _batches(order, read):
        for i, answer in zip(positions, answers, strict=True):
            outcomes[i] = str(answer) if isinstance(answer, Exception) else answer
    return "".join(row_line(question, outcomes[i]) for i, question in enumerate(block.questions))


def _batches(
    positions: Sequence[int], call: Callable[[Sequence[int]], Sequence[T]]
) -> Iterator[tuple[Sequence[int], list[T | Exception]]]:
    for first in range(0, len(positions), TOGETHER):
        batch = positions[first : first + TOGETHER]
        yield batch, together_or_apart(batch, call, is_of_the_question)


def is_of_the_question(error: Exception) -> bool:
    """Whether an error is one question's own, such as a question that is empty or too long: the others go on."""
    return isinstance(error, UsageError | PromptError | ReaderError) and not isinstance(
        error, MissingExtraError | PromptMismatchError | ReaderUnreachableError
    )


def passage_ids(retrieved: Retrieved) -> tuple[str, ...]:
    """Ids of the passages that a question is read with."""
    return tuple(hit.passage.id for hit in retrieved.hits)


def meeting_order(passages: Mapping[int, Sequence[str]]) -> list[int]:
    """The questions in an order in which those with common passages are read in the same batch, or the next one.

    Each batch takes the question with most passages among those of the batch so far, else of the batch before, else
    the first one left: a passage is then read once for all of its questions, or is still in the reader's cache.
    """
    left = dict(passages)
    by_passage: dict[str, list[int]] = {}
    for i, names in passages.items():
        for name in names:
            by_passage.setdefault(name, []).append(i)
    order: list[int] = []
    before: set[str] = set()
    while left:
        batch: set[str] = set()
        for _ in range(min(TOGETHER, len(left))):
            near = _nearest(batch, left, by_passage)
            if near is None:
                near = _nearest(before, left, by_passage)
            chosen = next(iter(left)) if near is None else near
            batch.update(left.pop(chosen))
            order.append(chosen)
        before = batch
    return order


def _nearest(read: set[str], left: Mapping[int, Sequence[str]], by_passage: Mapping[str, Sequence[int]]) -> int | None:
    """The question left that shares most passages with those read; the first of several, None if none shares any."""
    shared: dict[int, int] = {}
    for name in read:
        for i in by_passage[name]:
            if i in left:
                shared[i] = shared.get(i, 0) + 1
    return min(shared, key=lambda i: (-shared[i], i)) if shared else None


def question_range(questions: Sequence[BulkQuestion]) -> str:
    """The first and the last id of some questions, for messages."""
    return f"{questions[0].id[:40]!r} to {questions[-1].id[:40]!r}"
