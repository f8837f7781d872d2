"""What people said of answers, and the question records that follow from it."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field

from rag_ft.schema import AnswerKind, Evidence, Question, Record

FeedbackVerdict: TypeAlias = Literal["right", "wrong", "better", "no_answer"]
"""What somebody said of an answer: right; wrong; better words, which they marked; null should have been the answer.

Where null was the answer, `right` and `no_answer` mean the same."""


class Feedback(Record):
    """What one person said of one answer."""

    id: Annotated[str, Field(min_length=1)]
    """`feedback_id` of question, answer and giver: the same person has one vote on the same answer."""
    question: Annotated[str, Field(min_length=1)]
    history: tuple[str, ...] = ()
    """Earlier questions of the conversation, oldest first."""
    verdict: FeedbackVerdict
    answered: bool = True
    """Whether there was an answer; False where it was null."""
    evidence: Evidence
    """Where the answer stands; where it was null, the passage that looked likeliest."""
    better: Evidence | None = None
    """The better words that the person marked, with the verdict `better`."""
    kind: AnswerKind = "span"
    """What the right answer is: some words, or a part of a passage."""
    yes: bool | None = None
    """What a part says to a question of yes or no."""
    by: str = ""
    """Name of the giver's personal token; empty where the server has none."""
    on: datetime.date | None = None
    """Day on which it was given, in UTC; None where it is not known."""

    @property
    def documents(self) -> frozenset[str]:
        """Ids of the documents that it names: it is erased with any of them."""
        return frozenset(piece.document_id for piece in (self.evidence, self.better) if piece is not None)

    @property
    def right_answer(self) -> Evidence | None:
        """Where the right answer stands, if the person gave it."""
        if self.verdict == "better":
            return self.better
        return self.evidence if self.verdict == "right" and self.answered else None

    @property
    def says_null(self) -> bool:
        """Whether the person says that there is no answer."""
        return self.verdict == "no_answer" or (self.verdict == "right" and not self.answered)


def feedback_id(question: str, history: Sequence[str], evidence: Evidence, *, answered: bool, by: str) -> str:
    """The id of what somebody says of an answer, wherever in its document the answer stands."""
    answer = evidence.quote if answered else None
    key = json.dumps([question, list(history), evidence.document_id, answer, by], ensure_ascii=False)
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class FeedbackRecords(NamedTuple):
    """Question records made from feedback, and the feedback that gave none."""

    records: tuple[Question, ...]
    wrong: tuple[Feedback, ...]
    """Feedback that only says that an answer is wrong, of questions whose answer nobody gave."""
    disputed: tuple[Feedback, ...]
    """Feedback on questions and answers about which people disagree."""
    moved: tuple[Feedback, ...] = ()
    """Feedback whose words are gone from the document, or stand in several places of it."""

    def lines(self) -> list[str]:
        """The counts for people to read."""
        answerable = sum(record.answerable for record in self.records)
        lines = [
            f"{len(self.records):,} question records: {answerable:,} with an answer,"
            f" {len(self.records) - answerable:,} without"
        ]
        for entries, meaning in (
            (self.wrong, "say only that an answer is wrong: answer these questions to train on them"),
            (self.disputed, "contradict each other: decide, then withdraw the others"),
            (self.moved, "quote words that their document no longer has, or has more than once (--prune erases them)"),
        ):
            if entries:
                lines.append(f"{len(entries):,} kept apart: they {meaning}")
        return lines


def feedback_records(entries: Iterable[Feedback]) -> FeedbackRecords:
    """Question records of origin `feedback`, one for each question and kind of answer, in order of first mention.

    Different right answers to a question become accepted answers of one record. Where one person says that an answer is
    right and another that it is wrong, or that there should be none, both are `disputed` and give no record.
    """
    by_question: dict[tuple[str, tuple[str, ...]], list[Feedback]] = {}
    for entry in entries:
        by_question.setdefault((entry.question, entry.history), []).append(entry)
    records: list[Question] = []
    wrong: list[Feedback] = []
    disputed: list[Feedback] = []
    for (question, history), given in by_question.items():
        rejected = {_place(entry.evidence) for entry in given if entry.verdict == "wrong" and entry.answered}
        answers = [entry for entry in given if entry.right_answer is not None]
        nulls = [entry for entry in given if entry.says_null]
        contradicted = [entry for entry in answers if _place(entry.right_answer or entry.evidence) in rejected]
        says = {entry.yes for entry in answers if entry.yes is not None}
        refused_null = [entry for entry in given if entry.verdict == "wrong" and not entry.answered]
        if (answers and nulls) or len(says) > 1 or (nulls and refused_null):
            disputed += given
            continue
        if contradicted:
            places = {_place(entry.right_answer or entry.evidence) for entry in contradicted}
            apart = [entry for entry in given if _place(entry.right_answer or entry.evidence) in places]
            disputed += apart
            answers = [entry for entry in answers if entry not in apart]
        if nulls:
            records.append(_unanswerable(question, history, nulls))
        records += _answerable(question, history, answers)
        if not answers and not nulls:
            wrong += [entry for entry in given if entry.verdict == "wrong" and entry not in disputed]
    return FeedbackRecords(tuple(records), tuple(wrong), tuple(disputed))


def _place(evidence: Evidence) -> tuple[str, str]:
    return evidence.document_id, evidence.quote


def _unanswerable(question: str, history: tuple[str, ...], entries: Sequence[Feedback]) -> Question:
    return Question(
        id=_record_id(question, history, "null", None),
        question=question,
        history=history,
        evidence=tuple(dict.fromkeys(entry.evidence for entry in entries)),
        answerable=False,
        origin="feedback",
    )


def _answerable(question: str, history: tuple[str, ...], entries: Sequence[Feedback]) -> list[Question]:
    """A record for each kind of answer."""
    records = []
    for kind, yes in dict.fromkeys((entry.kind, entry.yes) for entry in entries):
        places = [entry.right_answer for entry in entries if (entry.kind, entry.yes) == (kind, yes)]
        evidence = tuple(dict.fromkeys(place for place in places if place is not None))
        records.append(
            Question(
                id=_record_id(question, history, kind, yes),
                question=question,
                history=history,
                answers=tuple(dict.fromkeys(piece.quote for piece in evidence)),
                evidence=evidence,
                kind=kind,
                yes=yes,
                origin="feedback",
            )
        )
    return records


def _record_id(question: str, history: tuple[str, ...], kind: str, yes: bool | None) -> str:
    key = json.dumps([question, list(history), kind, yes], ensure_ascii=False)
    return "feedback-" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
