"""Ways of answering under evaluation: each gets the same questions and the same retrieved passages.

An arm is anything with a name, settings and `reply`; every other room knows no more of it. All arms that read with a
model share the prompt builder, the budget, the grammar and the stopping rule (DESIGN.md: fair arms); what differs
between two arms is what their names say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from pydantic import JsonValue

from rag_ft.answering.citation import Claim, verify
from rag_ft.evaluation.predictions import CitedPlace, Prediction
from rag_ft.metrics.retrieval import Place
from rag_ft.schema import Answer, Citation, Hit, Passage, Question

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index


class Asked(NamedTuple):
    """A question and what the run's retriever found for it, best first."""

    question: Question
    hits: tuple[Hit, ...]


@runtime_checkable
class Arm(Protocol):
    """One way of answering."""

    @property
    def name(self) -> str:
        """Unique in a run."""
        ...

    @property
    def settings(self) -> Mapping[str, JsonValue]:
        """All that decides its replies: shown in the report, and part of the run's fingerprint."""
        ...

    def reply(self, asked: Sequence[Asked]) -> list[Prediction]:
        """A prediction for each question, in order."""
        ...


def cut(asked: Sequence[Asked], k: int | None) -> list[Asked]:
    """The questions with the first k of their passages: what is retrieved is as deep as the deepest arm needs."""
    return [one._replace(hits=one.hits[:k]) for one in asked]


def depth(k: int | None) -> dict[str, JsonValue]:
    """An arm's k as a setting, where it has one of its own."""
    return {} if k is None else {"k": k}


def gold_passages(index: Index, question: Question) -> list[Passage]:
    """The passages of an index that hold a whole piece of the question's evidence, in document order."""
    there = set(index.documents())
    found: dict[str, Passage] = {}
    for piece in question.evidence:
        if piece.document_id in there:
            for passage in index.passages_of(piece.document_id):
                if place_of(passage).holds(piece):
                    found.setdefault(passage.id, passage)
    return list(found.values())


def place_of(passage: Passage) -> Place:
    """Where a passage stands."""
    return Place(document_id=passage.document_id, start=passage.start, end=passage.end)


def failure(arm: str, one: Asked, reason: str, seconds: float = 0.0) -> Prediction:
    """No reply at all, and why."""
    return Prediction(
        arm=arm,
        question_id=one.question.id,
        answer=None,
        passages=tuple(place_of(hit.passage) for hit in one.hits),
        failed=" ".join(reason.split())[:300] or "no reason was given",
        seconds=seconds,
    )


def from_answer(arm: str, one: Asked, answer: Answer, seconds: float) -> Prediction:
    """A prediction from what the pipeline gives."""
    return Prediction(
        arm=arm,
        question_id=one.question.id,
        answer=answer.answer,
        citations=cited_places(answer.citations, [hit.passage for hit in one.hits]),
        passages=tuple(place_of(hit.passage) for hit in one.hits),
        confidence=rounded(answer.confidence if answer.answer is not None else 1 - answer.confidence),
        complete=answer.complete,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        seconds=seconds,
    )


def plain_prediction(
    arm: str, one: Asked, answer: str | None, claims: Sequence[Claim], confidence: float | None, seconds: float
) -> Prediction:
    """The prediction of an arm that quotes passages, its citations verified."""
    passages = [hit.passage for hit in one.hits]
    return Prediction(
        arm=arm,
        question_id=one.question.id,
        answer=answer,
        citations=cited_places(verify(answer, claims, passages), passages) if answer is not None else (),
        passages=tuple(place_of(passage) for passage in passages),
        confidence=confidence if confidence is None else rounded(confidence),
        seconds=seconds,
    )


def cited_places(citations: Sequence[Citation], passages: Sequence[Passage]) -> tuple[CitedPlace, ...]:
    """Citations as predictions keep them; `passages` are those that may have been cited."""
    by_id = {passage.id: passage for passage in passages}
    return tuple(
        CitedPlace(passage=place_of(by_id[one.passage_id]), quote=one.quote, verdict=one.verdict)
        for one in citations
        if one.passage_id in by_id
    )


def rounded(confidence: float) -> float:
    """To six digits: what is beyond them depends on how questions were batched."""
    return round(min(max(confidence, 0.0), 1.0), 6)
