"""Ways of answering under evaluation: each gets the same questions and the same retrieved passages.

An arm is anything with a name, settings and `reply`; the rest of the evaluation knows no more of it. All arms that read
with a model share the prompt builder, the budget, the grammar and the stopping rule (docs/evaluation.md, "Why the arms
are comparable"); what differs between two arms is what their names say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from pydantic import JsonValue

from rag_ft.answering.citation import Claim, verify
from rag_ft.evaluation.predictions import CitedPlace, Prediction
from rag_ft.metrics.retrieval import Place
from rag_ft.schema import Answer, Citation, Hit, Passage, Question

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index


class Case(NamedTuple):
    """A question with what the run's retriever found for it, best first: what an arm is asked."""

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
        """Everything that decides its replies: shown in the report, and part of the run's fingerprint."""
        ...

    def reply(self, cases: Sequence[Case]) -> list[Prediction]:
        """One prediction per case, in order."""
        ...


@runtime_checkable
class TrainedArm(Protocol):
    """An arm whose models say what they were tuned on."""

    def training_records(self) -> Sequence[Mapping[str, Any]]:
        """The record of each tuned model: what it was trained on, and what was held out."""
        ...


@runtime_checkable
class ChoosingArm(Protocol):
    """An arm with a threshold that an evaluation can choose."""

    def with_threshold(self, threshold: float, chosen_on: str) -> Arm:
        """The arm with another threshold. `chosen_on`: the questions that it was chosen on, for the report."""
        ...


def cut(cases: Sequence[Case], k: int | None) -> list[Case]:
    """The cases with their first k passages only; the run retrieves as many as its deepest arm needs."""
    return [case._replace(hits=case.hits[:k]) for case in cases]


def depth(k: int | None) -> dict[str, JsonValue]:
    """An arm's own k as a setting; empty for an arm without one."""
    return {} if k is None else {"k": k}


def gold_passages(index: Index, question: Question) -> list[Passage]:
    """The passages of an index that show the question's evidence, in document order."""
    indexed = set(index.documents())
    gold: dict[str, Passage] = {}
    for piece in question.evidence:
        if piece.document_id in indexed:
            for passage in index.passages_of(piece.document_id):
                if Place.of(passage).shows(question):
                    gold.setdefault(passage.id, passage)
    return list(gold.values())


def failure(arm: str, case: Case, reason: str, seconds: float = 0.0) -> Prediction:
    """The record of a case that got no reply, with the reason."""
    return Prediction(
        arm=arm,
        question_id=case.question.id,
        answer=None,
        passages=tuple(Place.of(hit.passage) for hit in case.hits),
        failed=" ".join(reason.split())[:300] or "no reason was given",
        seconds=seconds,
    )


def from_answer(arm: str, case: Case, answer: Answer, seconds: float) -> Prediction:
    """The prediction for an answer of the pipeline."""
    return Prediction(
        arm=arm,
        question_id=case.question.id,
        answer=answer.answer,
        kind=answer.kind,
        yes=answer.yes,
        citations=cited_places(answer.citations, [hit.passage for hit in case.hits]),
        passages=tuple(Place.of(hit.passage) for hit in case.hits),
        confidence=rounded(answer.confidence if answer.answer is not None else 1 - answer.confidence),
        complete=answer.complete,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        seconds=seconds,
    )


def plain_prediction(
    arm: str, case: Case, answer: str | None, claims: Sequence[Claim], confidence: float | None, seconds: float
) -> Prediction:
    """The prediction of an arm that quotes passages, its citations verified."""
    passages = [hit.passage for hit in case.hits]
    return Prediction(
        arm=arm,
        question_id=case.question.id,
        answer=answer,
        citations=cited_places(verify(answer, claims, passages), passages) if answer is not None else (),
        passages=tuple(Place.of(passage) for passage in passages),
        confidence=confidence if confidence is None else rounded(confidence),
        seconds=seconds,
    )


def cited_places(citations: Sequence[Citation], passages: Sequence[Passage]) -> tuple[CitedPlace, ...]:
    """Citations as predictions keep them; `passages` are those that may have been cited."""
    by_id = {passage.id: passage for passage in passages}
    return tuple(
        CitedPlace(
            passage=Place.of(by_id[citation.passage_id]),
            quote=citation.quote,
            verdict=citation.verdict,
            start=citation.start if citation.answer_start is None else citation.answer_start,
            end=citation.end if citation.answer_end is None else citation.answer_end,
        )
        for citation in citations
        if citation.passage_id in by_id
    )


def rounded(confidence: float) -> float:
    """A confidence to six digits; further digits depend on how questions were batched."""
    return round(min(max(confidence, 0.0), 1.0), 6)
