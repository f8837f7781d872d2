"""What a file of question records holds, and what would spoil a run: missing evidence, duplicates, leaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from rag_ft.errors import DatasetError
from rag_ft.questions.records import check_evidence, origin_counts, origin_words, read_questions
from rag_ft.questions.split import split_by_document
from rag_ft.questions.wording import question_key
from rag_ft.schema import Evidence, Passage, Question
from rag_ft.training.data.examples import ExampleConfig, left_out

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

_SHOWN = 5


class DataReport(BaseModel):
    """Counts over question records."""

    model_config = ConfigDict(frozen=True)

    questions: int
    answerable: int
    documents: int
    answer_words_median: float
    answer_words_max: int
    train: int
    held_out: int
    no_evidence: tuple[str, ...] = ()
    """Ids of unanswerable questions without evidence, which a split by document cannot assign to a side."""
    left_out: dict[str, str] = {}
    """Id → reason, for answerable questions that give nothing to train on."""
    evidence_missing: tuple[str, ...]
    """A sentence for each piece of evidence that is not in the index as the record says."""
    not_found: tuple[str, ...]
    """Ids of answerable questions whose evidence is not among the first ten passages retrieved for them."""
    duplicates: tuple[str, ...]
    """Ids of questions that repeat an earlier one, apart from word order and stop words."""
    leaks: tuple[str, ...]
    """Ids of held-out questions that are training questions too."""
    split_error: str = ""
    origins: dict[str, int] = {}
    """Number of records of each origin; empty where people wrote all of them."""

    @property
    def wrong(self) -> bool:
        """Whether something must be corrected before a run."""
        return bool(self.evidence_missing or self.split_error)

    def lines(self) -> list[str]:
        """The report for people to read."""
        unanswerable = self.questions - self.answerable
        lines = [
            f"questions   {self.questions:,} about {self.documents:,} documents;"
            f" {unanswerable:,} unanswerable ({unanswerable / self.questions:.0%})",
            *([f"origins     {origin_words(self.origins)}"] if self.origins else []),
            f"answers     median {self.answer_words_median:g} words, longest {self.answer_words_max}",
            f"split       {self.train:,} to train on, {self.held_out:,} held out, by document",
        ]
        if self.split_error:
            lines.append(f"STOP        {self.split_error}")
        for label, entries, meaning in (
            ("evidence", self.evidence_missing, "pieces of evidence are not in the index as the records say"),
            (
                "left out",
                tuple(f"{record}: {reason}" for record, reason in self.left_out.items()),
                "answerable questions give nothing to train on",
            ),
            *(
                [
                    (
                        "no evidence",
                        self.no_evidence,
                        "unanswerable questions name no evidence and are held out at random",
                    )
                ]
                if self.no_evidence
                else []
            ),
            ("retrieval", self.not_found, "answerable questions do not find their evidence among ten passages"),
            ("duplicates", self.duplicates, "questions repeat an earlier one in almost the same words"),
            ("leaks", self.leaks, "held-out questions are training questions too"),
        ):
            lines.append(f"{label:<11} {len(entries):,} {meaning}")
            lines.extend(f"            {entry}" for entry in entries[:_SHOWN])
            if len(entries) > _SHOWN:
                lines.append(f"            and {len(entries) - _SHOWN:,} more (--json has all)")
        return lines


def check_questions(
    path: str | Path, index: Index, examples: ExampleConfig | None = None, *, k: int = 10
) -> DataReport:
    """Check the records of a file against the index that they will be trained with. Raises DatasetError.

    `examples`: settings of the planned run.
    """
    examples = examples or ExampleConfig()
    records = read_questions(path)
    lengths = [len(answer.split()) for record in records for answer in record.answers]
    cited = sorted({piece.document_id for record in records for piece in record.evidence})
    indexed = set(index.documents())
    documents = [index.document(name) for name in cited if name in indexed]
    train, held_out, leaks, split_error = _split(records, examples)
    return DataReport(
        questions=len(records),
        origins=origin_counts(records),
        answerable=sum(record.answerable for record in records),
        documents=len(cited),
        answer_words_median=float(median(lengths)) if lengths else 0.0,
        answer_words_max=max(lengths, default=0),
        train=train,
        held_out=held_out,
        no_evidence=tuple(record.id for record in records if not record.answerable and not record.evidence),
        left_out=left_out(records, index),
        evidence_missing=tuple(check_evidence(records, documents)),
        not_found=_not_found(records, index, k),
        duplicates=_duplicates(records),
        leaks=leaks,
        split_error=split_error,
    )


def _split(records: Sequence[Question], examples: ExampleConfig) -> tuple[int, int, tuple[str, ...], str]:
    """Training questions, held-out questions, ids of leaks, and why the records cannot be split, if they cannot."""
    try:
        split = split_by_document(records, examples.held_out, examples.seed)
    except DatasetError as error:
        return len(records), 0, (), str(error)
    known = {question_key(record.question, record.history) for record in split.train}
    leaks = tuple(record.id for record in split.held_out if question_key(record.question, record.history) in known)
    return len(split.train), len(split.held_out), leaks, ""


def _not_found(records: Sequence[Question], index: Index, k: int) -> tuple[str, ...]:
    """Ids of answerable questions with evidence of which no part is among the first k passages."""
    answerable = [record for record in records if record.answerable]
    retriever = index.as_retriever(k=k)
    hits_by_record = retriever.retrieve_batch(
        [retriever.query(record.question, record.history) for record in answerable]
    )
    return tuple(
        record.id
        for record, hits in zip(answerable, hits_by_record, strict=True)
        if record.evidence and not any(_overlap(hit.passage, piece) for hit in hits for piece in record.evidence)
    )


def _overlap(passage: Passage, piece: Evidence) -> bool:
    return passage.document_id == piece.document_id and passage.start < piece.end and piece.start < passage.end


def _duplicates(records: Sequence[Question]) -> tuple[str, ...]:
    seen: set[str] = set()
    duplicates = []
    for record in records:
        key = question_key(record.question, record.history)
        if key in seen:
            duplicates.append(record.id)
        seen.add(key)
    return tuple(duplicates)
