"""What is in a file of question records, and what would spoil a run: missing evidence, duplicates, leaks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from rag_ft.errors import DatasetError
from rag_ft.questions.records import check_evidence, read_questions
from rag_ft.questions.split import split_by_document
from rag_ft.questions.wording import question_key
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
    """Ids of unanswerable questions without evidence, which no split by document can place."""
    left_out: dict[str, str] = {}
    """Ids of answerable questions that give nothing to train on, with the reason."""
    evidence_missing: tuple[str, ...]
    """A sentence for each piece of evidence that is not in the index as the record says."""
    not_found: tuple[str, ...]
    """Ids of answerable questions whose evidence is not among the index's first ten passages for them."""
    duplicates: tuple[str, ...]
    """Ids of questions that were asked before, word order and little words apart."""
    leaks: tuple[str, ...]
    """Ids of held-out questions that are training questions too."""
    split_error: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something must be mended before a run."""
        return bool(self.evidence_missing or self.split_error)

    def lines(self) -> list[str]:
        """As a person reads it."""
        without = self.questions - self.answerable
        share = without / self.questions
        found = [
            f"questions   {self.questions:,} about {self.documents:,} documents;"
            f" {without:,} unanswerable ({share:.0%})",
            f"answers     median {self.answer_words_median:g} words, longest {self.answer_words_max}",
            f"split       {self.train:,} to train on, {self.held_out:,} held out, by document",
        ]
        if self.split_error:
            found.append(f"STOP        {self.split_error}")
        for name, ones, meaning in (
            ("evidence", self.evidence_missing, "pieces of evidence are not in the index as the records say"),
            (
                "left out",
                tuple(f"{record}: {reason}" for record, reason in self.left_out.items()),
                "answerable questions give nothing to train on",
            ),
            *(
                [("homeless", self.no_evidence, "unanswerable questions without evidence are held out by chance alone")]
                if self.no_evidence
                else []
            ),
            ("retrieval", self.not_found, "answerable questions do not find their evidence among ten passages"),
            ("duplicates", self.duplicates, "questions were asked before in almost the same words"),
            ("leaks", self.leaks, "held-out questions are training questions too"),
        ):
            found.append(f"{name:<11} {len(ones):,} {meaning}")
            found.extend(f"            {one}" for one in ones[:_SHOWN])
            if len(ones) > _SHOWN:
                found.append(f"            and {len(ones) - _SHOWN:,} more (--json has all)")
        return found


def check_questions(
    path: str | Path, index: Index, examples: ExampleConfig | None = None, *, k: int = 10
) -> DataReport:
    """The report on a file's records against the index that they will be trained with. Raises DatasetError.

    `examples`: of a run with these settings.
    """
    examples = examples or ExampleConfig()
    records = read_questions(path)
    lengths = [len(answer.split()) for one in records for answer in one.answers]
    wanted = sorted({one.document_id for record in records for one in record.evidence})
    there = set(index.documents())
    documents = [index.document(name) for name in wanted if name in there]
    answerable = [one for one in records if one.answerable]
    hits = index.as_retriever(k=k).retrieve_batch([one.question for one in answerable])
    not_found = [
        one.id
        for one, found in zip(answerable, hits, strict=True)
        if one.evidence
        and not any(
            hit.passage.document_id == piece.document_id
            and hit.passage.start < piece.end
            and piece.start < hit.passage.end
            for hit in found
            for piece in one.evidence
        )
    ]
    keys = Counter[str]()
    duplicates = []
    for record in records:
        key = question_key(record.question)
        if keys[key]:
            duplicates.append(record.id)
        keys[key] += 1
    train, held, leaks, wrong = len(records), 0, (), ""
    try:
        split = split_by_document(records, examples.held_out, examples.seed)
        train, held = len(split.train), len(split.held_out)
        known = {question_key(one.question) for one in split.train}
        leaks = tuple(one.id for one in split.held_out if question_key(one.question) in known)  # type: ignore[assignment]
    except DatasetError as error:
        wrong = str(error)
    return DataReport(
        questions=len(records),
        answerable=len(answerable),
        documents=len(wanted),
        answer_words_median=float(median(lengths)) if lengths else 0.0,
        answer_words_max=max(lengths, default=0),
        train=train,
        held_out=held,
        no_evidence=tuple(one.id for one in records if not one.answerable and not one.evidence),
        left_out=left_out(records, index),
        evidence_missing=tuple(check_evidence(records, documents)),
        not_found=tuple(not_found),
        duplicates=tuple(duplicates),
        leaks=leaks,
        split_error=wrong,
    )
