"""People look through question records on the page: who sees which, what is shown of one, and their verdicts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeAlias

from rag_ft.errors import DatasetError, EvidenceMovedError, UsageError
from rag_ft.indexing.feedback import check_place
from rag_ft.indexing.index import Index
from rag_ft.questions.excerpts import FindDocument, evidence_spans, excerpts, heading_path, problems
from rag_ft.questions.records import read_questions
from rag_ft.questions.review import (
    Review,
    agreement,
    marked_record,
    record_fingerprint,
    reworded_record,
    verdict_files,
    verdict_path,
)
from rag_ft.schema import Document, Question
from rag_ft.serving.http.tokens import Identity
from rag_ft.serving.messages import (
    Problem,
    ReviewAgreement,
    ReviewedRecord,
    ReviewExcerpt,
    ReviewLast,
    ReviewPiece,
    ReviewReply,
    ReviewRequest,
    no_document,
)

logger = logging.getLogger(__name__)

MOST_REVIEWERS = 200
"""Verdict files that the server makes beside one file of records, where anyone may choose a name."""
MOST_COMPARED = 10
"""Other reviewers whose verdicts are compared with one's own: those who gave one last."""

_Signature: TypeAlias = tuple[int, int]


class ReviewDesk:
    """The records of one file and the reviews of them. One thread uses it at a time."""

    def __init__(self, path: Path) -> None:
        """Read the records. Raises DatasetError."""
        self.path = path
        self._read_as = self._signature()
        self._records = tuple(read_questions(path))
        self._reviews: dict[tuple[str, str, bool], Review] = {}
        """By name, the view's fingerprint, and whether that is all of the index; the one used last is last."""
        self._unreadable: set[str] = set()
        """What was wrong with others' verdicts, each logged once."""

    def reply(self, name: str, view: Index, *, whole: bool, zoom: int = 1, record_id: str | None = None) -> ReviewReply:
        """The record with this id, or else the next to judge, and how far the review is.

        `view`: the index as far as the reviewer may see it; `whole`: whether that is all of it. Raises Problem,
        UsageError, DatasetError.
        """
        review = self.review(name, view, whole)
        return self._reply(name, review, view, whole, zoom, self._named(review, record_id))

    def judge(self, name: str, view: Index, request: ReviewRequest, *, whole: bool) -> ReviewReply:
        """Keep or take back a verdict; the reply shows the record to judge then. Raises as `reply` does."""
        review = self.review(name, view, whole)
        question = self._named(review, request.id)
        assert question is not None
        present = review.verdict(question.id)
        if (None if present is None else present.verdict) != request.before:
            raise Problem(409, f"somebody has judged {question.id[:80]!r} since: look at it again")
        if request.record != record_fingerprint(question):
            raise Problem(409, f"the record {question.id[:80]!r} has changed since: look at it again")
        if request.verdict == "undo":
            undone = review.undo(question.id)
            return self._reply(name, review, view, whole, 1, undone)
        edited = None
        if request.verdict in ("accept", "no answer", "edit"):
            find = _finder(view)
            if request.verdict == "edit":
                edited = _edited(question, request, view)
            if wrong := problems(edited or question, find):
                raise Problem(409, f"{wrong[0]}: mark the answer, reject or skip this record")
        if present is None:
            self._check_new_file(review)
        if request.verdict == "edit" and edited == question:
            review.give(question, "accept")
        else:
            review.give(question, request.verdict, edited)
        return self._reply(name, review, view, whole, 1, None)

    def review(self, name: str, view: Index, whole: bool) -> Review:
        """A person's verdicts on the records that they may see, as they are on disk now."""
        self._read_again()
        path = verdict_path(self.path, name)
        key = (name, view.fingerprint, whole)
        review = self._reviews.pop(key, None)
        if review is None:
            review = Review(path, self._records if whole else self._visible(view))
        else:
            review.refresh()
        self._reviews[key] = review
        while len(self._reviews) > MOST_REVIEWERS:
            del self._reviews[next(iter(self._reviews))]
        return review

    def _visible(self, view: Index) -> tuple[Question, ...]:
        """The records of which every document may be read; one that names none may be about any of them."""
        known = frozenset(view.documents())
        return tuple(
            record
            for record in self._records
            if record.evidence and all(piece.document_id in known for piece in record.evidence)
        )

    def _read_again(self) -> None:
        """Take in a change of the file of records; where it is wrong now, the records stay as they were."""
        signature = self._signature()
        if signature == self._read_as:
            return
        self._read_as = signature
        self._reviews.clear()
        try:
            self._records = tuple(read_questions(self.path))
        except DatasetError as error:
            logger.error("%s; the records as they were before are reviewed", error)

    def _signature(self) -> _Signature | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _check_new_file(self, review: Review) -> None:
        if not review.path.exists() and len(verdict_files(self.path)) >= MOST_REVIEWERS:
            raise UsageError(f"{MOST_REVIEWERS} people have reviewed these records already: give one of their names")

    def _agreements(self, name: str, review: Review, view: Index, whole: bool) -> list[ReviewAgreement]:
        """How far the others agree with a reviewer, by their names; without those who judged nothing in common."""
        if not review.counts().judged:
            return []
        files = verdict_files(self.path)
        others = sorted(files.keys() - {name}, key=lambda other: _changed_at(files[other]), reverse=True)
        agreements = []
        for other in sorted(others[:MOST_COMPARED]):
            try:
                found = agreement(review, self.review(other, view, whole))
            except DatasetError as error:  # somebody else's file must not stop this reviewer
                if str(error) not in self._unreadable:
                    self._unreadable.add(str(error))
                    logger.warning("%s; they are not compared", error)
                continue
            if found.judged:
                agreements.append(
                    ReviewAgreement(
                        name=other, judged=found.judged, same=found.same, kappa=found.kappa, line=found.line()
                    )
                )
        return agreements

    @staticmethod
    def _named(review: Review, record_id: str | None) -> Question | None:
        """The record with an id; None without one. Raises Problem."""
        if record_id is None:
            return None
        for question in review.questions:
            if question.id == record_id:
                return question
        raise Problem(404, f"there is no record {record_id[:80]!r} to review")

    def _reply(
        self, name: str, review: Review, view: Index, whole: bool, zoom: int, question: Question | None
    ) -> ReviewReply:
        pending = review.pending() if question is None else []
        question = question or (pending[0] if pending else None)
        counts = review.counts()
        last = review.last
        return ReviewReply(
            name=name,
            file=self.path.name,
            counts=counts._asdict(),
            progress=counts.line(),
            notes=review.notes("of the verdicts"),
            agreement=self._agreements(name, review, view, whole),
            last=None if last is None else ReviewLast(id=last.id, record=last.record, verdict=last.verdict),
            record=None if question is None else _shown(question, review, _finder(view), zoom),
        )


def _changed_at(path: Path) -> int:
    """When a file changed last, in nanoseconds; 0 for one that is gone."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _edited(question: Question, request: ReviewRequest, view: Index) -> Question:
    """The record as the reviewer edited it. Raises Problem, UsageError."""
    edited = question
    if request.question is not None:
        edited = reworded_record(edited, request.question)
    if request.evidence is not None:
        place = request.evidence
        if place.document_id not in frozenset(view.documents()):
            raise no_document(place.document_id)
        try:
            check_place(place, view)
        except EvidenceMovedError as error:
            raise Problem(409, str(error), "evidence") from error
        yes = question.yes if request.yes is None else request.yes
        edited = marked_record(edited, view.document(place.document_id), place.start, place.end, yes=yes)
    elif request.yes is not None and edited.kind == "part":
        edited = edited.model_copy(update={"yes": request.yes})
    return edited


def _finder(view: Index) -> FindDocument:
    """Documents by id, as far as they may be seen; each is read once."""
    known = frozenset(view.documents())
    read: dict[str, Document] = {}

    def find(document_id: str) -> Document | None:
        if document_id in known and document_id not in read:
            read[document_id] = view.document(document_id)
        return read.get(document_id)

    return find


def _shown(question: Question, review: Review, find: FindDocument, zoom: int) -> ReviewedRecord:
    given = review.verdict(question.id)
    shown = []
    for excerpt in excerpts(question, find, zoom):
        text = excerpt.document.text
        shown.append(
            ReviewExcerpt(
                document_id=excerpt.document.id,
                heading=heading_path(excerpt),
                length=len(text),
                pieces=[ReviewPiece(start=start, text=text[start:end]) for start, end in excerpt.pieces],
                evidence=[list(span) for span in evidence_spans(excerpt.evidence)],
            )
        )
    return ReviewedRecord(
        question=question,
        record=record_fingerprint(question),
        verdict=None if given is None else given.verdict,
        problems=problems(question, find),
        excerpts=shown,
    )


def reviewer_of(identity: Identity, given: str) -> str:
    """Whose verdicts a request is about: a personal token's own, or else the name that was given. Raises Problem."""
    if identity.name and given not in ("", identity.name):
        raise Problem(403, f"with this token you review as {identity.name!r}: leave the name out", "by")
    return identity.name or given
