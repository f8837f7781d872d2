"""Ask two adapters the same questions on the same passages, and show where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from typing_extensions import Unpack

from rag_ft.answering.config import ReaderSettings
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.errors import UsageError
from rag_ft.metrics.kinds import score_of
from rag_ft.models.adapter_record import adapter_record
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.compute import ComputePlan
from rag_ft.models.weights import DEFAULT, NO_ADAPTER, resolve_adapter
from rag_ft.questions.records import read_questions
from rag_ft.schema import Answer, Question

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

_BATCH = 16
"""Questions that are retrieved and read together."""


class Side(BaseModel):
    """One adapter's answer to a question."""

    model_config = ConfigDict(frozen=True)

    answer: str | None
    confidence: float
    cited: tuple[str, ...]
    """Ids of the documents cited."""
    f1: float
    """Token F1 against the accepted answers; for an unanswerable question 1 for null, else 0."""


class ComparedQuestion(BaseModel):
    """A question with the answers of both adapters."""

    model_config = ConfigDict(frozen=True)

    id: str
    question: str
    accepted: tuple[str, ...]
    """Accepted answers; empty where the question is unanswerable."""
    first: Side
    second: Side

    @property
    def same(self) -> bool:
        """Whether both give the same answer and cite the same documents."""
        return (self.first.answer, self.first.cited) == (self.second.answer, self.second.cited)


class Summary(BaseModel):
    """Counts and means over all questions."""

    model_config = ConfigDict(frozen=True)

    questions: int
    same: int
    only_first_answers: int
    only_second_answers: int
    other_answer: int
    """Questions that both answer, differently."""
    other_citation: int
    """Questions with the same answer from different documents."""
    first_better: int
    """Questions on which the first adapter has the higher F1."""
    second_better: int
    """Questions on which the second adapter has the higher F1."""
    first_f1: float
    """Mean of the first adapter's F1 over all questions."""
    second_f1: float
    """Mean of the second adapter's F1 over all questions."""


class Comparison(BaseModel):
    """Two adapters on the same questions."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    summary: Summary
    questions: tuple[ComparedQuestion, ...]


def compare_adapters(
    first: str | Path,
    second: str | Path,
    questions: str | Path | Sequence[Question],
    index: Index,
    *,
    reader: str = DEFAULT,
    k: int = 3,
    plan: ComputePlan | None = None,
    **settings: Unpack[ReaderSettings],
) -> Comparison:
    """Ask both adapters every question with the same retrieved passages.

    An adapter is a folder, `packaged`, or `none` for the untuned reader. `settings` are those of `Reader`; each adapter
    has its own threshold unless one is given. Raises UsageError, WeightsError, DatasetError.
    """
    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    if not records:
        raise UsageError("no questions were given to compare the adapters on: give at least one")
    readers = _readers(first, second, reader, plan, settings)
    rows: list[ComparedQuestion] = []
    retriever = index.as_retriever(k=k, **readers[0].reranking)
    for start in range(0, len(records), _BATCH):
        batch = records[start : start + _BATCH]
        queries = [retriever.query(record.question, record.history) for record in batch]
        hits = retriever.retrieve_batch(queries)
        answers = [Pipeline(retriever, adapted).read_batch(queries, hits) for adapted in readers]
        for record, first_answer, second_answer in zip(batch, *answers, strict=True):
            rows.append(
                ComparedQuestion(
                    id=record.id,
                    question=record.question,
                    accepted=record.answers,
                    first=_side(first_answer, record),
                    second=_side(second_answer, record),
                )
            )
    return Comparison(first=str(first), second=str(second), summary=_summary(rows), questions=tuple(rows))


def _readers(
    first: str | Path, second: str | Path, name: str, plan: ComputePlan | None, settings: ReaderSettings
) -> tuple[Reader, Reader]:
    """A reader of each adapter; they share one base in memory where both were trained on the same values of it."""
    nf4 = {_trained_on_nf4(adapter) for adapter in (first, second)} - {None}
    reader = Reader.from_pretrained(name, adapter=first, plan=plan, **settings)
    # `none` is the original base, which an NF4-trained adapter does not leave in memory.
    if len(nf4) == 2 or (NO_ADAPTER in (str(first), str(second)) and True in nf4):
        return reader, Reader.from_pretrained(name, adapter=second, plan=plan, **settings)
    if str(second) == NO_ADAPTER:
        return reader, reader.with_adapter(NO_ADAPTER)
    reader.add_adapter("second", second)
    return reader, reader.with_adapter("second")


def _trained_on_nf4(adapter: str | Path) -> bool | None:
    """Whether an adapter was trained on NF4 values; None for `none`, and where its record does not say."""
    if str(adapter) == NO_ADAPTER:
        return None
    bits = adapter_record(resolve_adapter(adapter_folder(adapter))).get("base_model", {}).get("bits")
    return None if bits is None else bits == 4


def _side(answer: Answer, record: Question) -> Side:
    f1 = score_of(answer.answer, record, answer.yes)
    cited = tuple(dict.fromkeys(citation.document_id for citation in answer.citations))
    return Side(answer=answer.answer, confidence=answer.confidence, cited=cited, f1=f1)


def _summary(rows: Sequence[ComparedQuestion]) -> Summary:
    pairs = [(row.first, row.second) for row in rows]
    return Summary(
        questions=len(rows),
        same=sum(row.same for row in rows),
        only_first_answers=sum(a.answer is not None and b.answer is None for a, b in pairs),
        only_second_answers=sum(a.answer is None and b.answer is not None for a, b in pairs),
        other_answer=sum(None not in (a.answer, b.answer) and a.answer != b.answer for a, b in pairs),
        other_citation=sum(a.answer == b.answer and a.cited != b.cited for a, b in pairs),
        first_better=sum(a.f1 > b.f1 for a, b in pairs),
        second_better=sum(b.f1 > a.f1 for a, b in pairs),
        first_f1=sum(a.f1 for a, _ in pairs) / len(pairs),
        second_f1=sum(b.f1 for _, b in pairs) / len(pairs),
    )
