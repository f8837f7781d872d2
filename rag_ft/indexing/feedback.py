"""Feedback on answers from an index: checked against its documents when given, and again when it is read."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, get_args

from rag_ft.errors import EvidenceMovedError, UsageError
from rag_ft.indexing.access import Audience
from rag_ft.indexing.query import check_question, checked_history
from rag_ft.indexing.storage.feedback import FeedbackFile
from rag_ft.questions.excerpts import marked_answer
from rag_ft.questions.feedback import Feedback, FeedbackRecords, FeedbackVerdict, feedback_id, feedback_records
from rag_ft.schema import AnswerKind, Document, Evidence

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

FeedbackAction: TypeAlias = FeedbackVerdict | Literal["withdraw"]

MOST_RECORDS = 20_000
"""Records that an index keeps: the file is written as a whole, and must stay quick to write."""
MOST_BY_ONE = 5_000
"""Records that one personal token may give."""
MOST_QUOTE_CHARS = 10_000
"""Longest answer, or better words: a passage is shorter."""

_LOCK_TIMEOUT_S = 10.0


class FeedbackDetails(TypedDict, total=False):
    """Keywords of `add_feedback`."""

    history: Sequence[str]
    """Earlier questions of the conversation, oldest first."""
    answered: bool
    """False where the answer was null."""
    better: Evidence | None
    """The place of the better words, with the verdict `better`; longer ones become whole sentences."""
    kind: AnswerKind
    """Kind of the answer that is right."""
    yes: bool | None
    access: Iterable[str] | str | Audience | None
    """Groups of the giver, who may only name documents that these may read; None: all documents."""
    by: str
    """Name of the giver's token."""
    on: datetime.date | None
    lock_timeout_s: float


def add_feedback(
    index: Index,
    question: str,
    verdict: FeedbackAction,
    evidence: Evidence,
    *,
    history: Sequence[str] = (),
    answered: bool = True,
    better: Evidence | None = None,
    kind: AnswerKind = "span",
    yes: bool | None = None,
    access: Iterable[str] | str | Audience | None = None,
    by: str = "",
    on: datetime.date | None = None,
    lock_timeout_s: float = _LOCK_TIMEOUT_S,
) -> Feedback | None:
    """Keep what somebody says of an answer; a second vote of the same person on the same answer replaces the first.

    `evidence`: where the answer stands; where it was null, what was shown in its place, or the likeliest passage.
    `kind`, `yes`: of what stands there, kept where it is called right or is itself the better answer. `verdict`:
    "right", "wrong", "better", "no_answer" (it should have been null), or "withdraw", which erases the vote and returns
    None. Raises UsageError where a document, as it is on disk now, does not have these words, or may not be read;
    IndexStoreError.
    """
    question, turns = question.strip(), checked_history(list(history))
    check_question(question)
    if verdict not in (*get_args(FeedbackVerdict), "withdraw"):
        raise UsageError(
            f"{str(verdict)[:40]!r} is not a verdict: give right, wrong, better, no_answer, or withdraw to take it back"
        )
    name = feedback_id(question, turns, evidence, answered=answered, by=by)
    file = FeedbackFile(index.path)
    if verdict == "withdraw":
        file.change(lambda entries: [entry for entry in entries if entry.id != name], lock_timeout_s)
        return None
    if (better is None) == (verdict == "better"):
        raise UsageError("'better' takes the place of the better words, and no other verdict does: give both")
    shown = (verdict == "right" and answered) or better == evidence
    entry = Feedback(
        id=name,
        question=question,
        history=turns,
        verdict=verdict,
        answered=answered,
        evidence=evidence,
        better=better,
        kind=kind if shown else "span",
        yes=yes if shown and kind == "part" else None,
        by=by,
        on=on,
    )

    def replaced(entries: list[Feedback]) -> list[Feedback]:
        others = [other for other in entries if other.id != name]
        if len(others) >= MOST_RECORDS:
            raise UsageError(
                f"the index keeps {MOST_RECORDS:,} feedback records and has them: export them ('rag-ft data feedback')"
                " and erase them (--clear)"
            )
        if by and sum(other.by == by for other in others) >= MOST_BY_ONE:
            raise UsageError(f"{by!r} has given {MOST_BY_ONE:,} feedback records, which is the limit for one token")
        # Compared here, within the lock: a removal that comes later erases the record, and one before it is seen.
        newest = index.newest()
        return [*others, _checked(entry, newest if access is None else newest.visible_to(access))]

    return file.change(replaced, lock_timeout_s)[-1]


def read_feedback(index: Index) -> list[Feedback]:
    """What was said of answers from the documents that this index, or part of one, has; oldest first."""
    documents = set(index.documents())
    return [entry for entry in FeedbackFile(index.path).read() if entry.documents <= documents]


def feedback_questions(index: Index) -> FeedbackRecords:
    """The question records that follow from the feedback, with offsets into the documents as they are now.

    Words that stand elsewhere in the changed document, and only once, are followed there.
    """
    placed: list[Feedback] = []
    moved: list[Feedback] = []
    documents: dict[str, Document] = {}
    for entry in read_feedback(index):
        for name in entry.documents - documents.keys():
            documents[name] = index.document(name)
        evidence = _followed(entry.evidence, documents)
        better = None if entry.better is None else _followed(entry.better, documents)
        # Better words count although the answer that they replace is gone.
        if better is not None:
            placed.append(entry.model_copy(update={"evidence": evidence or entry.evidence, "better": better}))
        elif evidence is not None and entry.better is None:
            placed.append(entry.model_copy(update={"evidence": evidence}))
        else:
            moved.append(entry)
    return feedback_records(placed)._replace(moved=tuple(moved))


def erase_feedback(index: Index, entries: Sequence[Feedback], *, lock_timeout_s: float = _LOCK_TIMEOUT_S) -> None:
    """Erase records, unless they were replaced since they were read."""
    erased = set(entries)
    FeedbackFile(index.path).change(lambda present: [entry for entry in present if entry not in erased], lock_timeout_s)


def _followed(piece: Evidence, documents: dict[str, Document]) -> Evidence | None:
    """A piece of evidence where its words stand now; None if they are gone or stand in several places."""
    text = documents[piece.document_id].text
    if text[piece.start : piece.end] == piece.quote:
        return piece
    starts = [match.start() for match in re.finditer(re.escape(piece.quote), text)]
    if len(starts) != 1:
        return None
    return piece.model_copy(update={"start": starts[0], "end": starts[0] + len(piece.quote)})


def _checked(entry: Feedback, index: Index) -> Feedback:
    """The entry, if its words stand where it says. Raises UsageError."""
    check_place(entry.evidence, index)
    return entry if entry.better is None else _with_better(entry, index)


def check_place(piece: Evidence, index: Index) -> None:
    """Raise UsageError unless a document of the index has the quote at its offsets."""
    text = index.document(piece.document_id).text
    if not piece.quote.strip() or len(piece.quote) > MOST_QUOTE_CHARS:
        raise UsageError(
            f"the quote has {len(piece.quote):,} characters: give between 1 and {MOST_QUOTE_CHARS:,} that are not blank"
        )
    if text[piece.start : piece.end] != piece.quote:
        raise EvidenceMovedError(
            f"{piece.document_id!r} does not hold the quote at {piece.start}-{piece.end}: it has changed since; ask"
            " again"
        )


def _with_better(entry: Feedback, index: Index) -> Feedback:
    """An entry whose better words are cut as answers are: without white space around, or whole sentences."""
    assert entry.better is not None
    check_place(entry.better, index)
    text = index.document(entry.better.document_id).text
    (start, end), whole = marked_answer(text, entry.better.start, entry.better.end)
    better = entry.better.model_copy(update={"start": start, "end": end, "quote": text[start:end]})
    return entry.model_copy(update={"better": better, "kind": "part" if whole else entry.kind})
