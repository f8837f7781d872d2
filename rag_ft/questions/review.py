"""Verdicts of a person on question records: a file beside theirs, which gains a line with every verdict.

The file of the records is never changed. The last verdict on a record counts, and a line "undo" takes it back. A
verdict holds for the record as it was: one that has changed since is to be judged again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field, ValidationError, model_validator

from rag_ft.errors import DatasetError, UsageError, first_problem
from rag_ft.files import append_whole, disk_full, is_disk_full
from rag_ft.metrics.agreement import cohens_kappa
from rag_ft.schema import FINGERPRINT, Question, Record

Judgement: TypeAlias = Literal["accept", "edit", "no answer", "reject", "skip"]
"""`no answer`: the question stays, as an unanswerable one. `skip`: to be judged later."""

_REVIEWER = re.compile(r"\w[\w.-]{0,39}")


class Verdict(Record):
    """A line of a verdict file."""

    id: Annotated[str, Field(min_length=1)]
    """Id of the record."""
    record: str
    """Fingerprint of the record that was judged."""
    verdict: Judgement | Literal["undo"]
    question: Annotated[Question | None, Field(exclude_if=lambda question: question is None)] = None
    """The record as it was edited."""

    @model_validator(mode="after")
    def _an_edit_has_its_record(self) -> Verdict:
        if (self.verdict == "edit") != (self.question is not None):
            raise ValueError(f"the verdict on {self.id!r} must hold a record if it is 'edit', and none otherwise")
        return self


def record_fingerprint(question: Question) -> str:
    """A fingerprint that changes with every field of a record."""
    return hashlib.sha256(question.model_dump_json().encode()).hexdigest()[:FINGERPRINT]


def verdict_path(questions: Path, reviewer: str = "") -> Path:
    """Path of the verdicts on a file of records: `qa.review.jsonl` for `qa.jsonl`, with a name `qa.review-NAME.jsonl`.

    Raises UsageError for a name that cannot be part of a file's name.
    """
    if reviewer and not _REVIEWER.fullmatch(reviewer):
        raise UsageError(f"the reviewer's name is {reviewer!r}: use letters, digits, '.', '_' and '-'")
    return questions.with_name(f"{questions.stem}.review{f'-{reviewer}' if reviewer else ''}.jsonl")


class ReviewCounts(NamedTuple):
    """How many records have which verdict."""

    records: int
    accepted: int
    """As they are."""
    edited: int
    no_answer: int
    rejected: int
    skipped: int

    @property
    def judged(self) -> int:
        """Records with a verdict that decides."""
        return self.accepted + self.edited + self.no_answer + self.rejected

    @property
    def kept(self) -> int:
        """Records that `Review.kept` gives, as they are or changed."""
        return self.judged - self.rejected

    def line(self) -> str:
        """The counts for people to read."""
        done = f"{self.judged:,} of {self.records:,} records judged"
        if not self.judged:
            return done + (f", {self.skipped:,} skipped" if self.skipped else "")
        parts = [
            f"{self.kept:,} accepted ({self.kept / self.judged:.0%})",
            *([f"{self.edited:,} of these edited"] if self.edited else []),
            *([f"{self.no_answer:,} of these as unanswerable"] if self.no_answer else []),
            f"{self.rejected:,} rejected ({self.rejected / self.judged:.0%})",
            *([f"{self.skipped:,} skipped"] if self.skipped else []),
        ]
        return f"{done}: {', '.join(parts)}"


class Review:
    """One person's verdicts on question records, each on disk before the next is given."""

    def __init__(self, path: str | Path, questions: Sequence[Question]) -> None:
        """Read the verdicts so far, if the file exists. Raises DatasetError naming the line that is wrong."""
        self.path = Path(path)
        self.questions = tuple(questions)
        self._fingerprints = {question.id: record_fingerprint(question) for question in self.questions}
        self._given: list[Verdict] = []
        self.unfinished_lines = 0
        """Lines that a killed process left unfinished; they count as not written."""
        self.changed: tuple[str, ...] = ()
        """Ids of the records that were judged before they changed."""
        for verdict in self._read():
            self._apply(verdict)
        stale = {verdict.id for verdict in self._given if not self._holds(verdict)}
        self._given = [verdict for verdict in self._given if self._holds(verdict)]
        self.changed = tuple(question.id for question in self.questions if question.id in stale - self._latest().keys())

    def verdict(self, record_id: str) -> Verdict | None:
        """The verdict that counts for a record; None where there is none."""
        return self._latest().get(record_id)

    def pending(self) -> list[Question]:
        """The records still to be judged, in the file's order; once there are no others, those that were skipped."""
        latest = self._latest()
        unseen = [question for question in self.questions if question.id not in latest]
        return unseen or [question for question in self.questions if latest[question.id].verdict == "skip"]

    def give(self, question: Question, verdict: Judgement, edited: Question | None = None) -> None:
        """Keep a verdict, durably. `edited`: the record as an edit leaves it. Raises DatasetError, UsageError."""
        if question.id not in self._fingerprints:
            raise UsageError(f"there is no record {question.id!r} in this review: give one of its questions")
        record = self._fingerprints[question.id]
        self._append(Verdict(id=question.id, record=record, verdict=verdict, question=edited))

    def undo(self) -> Question | None:
        """Take the latest verdict back, durably, and return its record; None where none is left."""
        if not self._given:
            return None
        last = self._given[-1]
        self._append(Verdict(id=last.id, record=last.record, verdict="undo"))
        return next(question for question in self.questions if question.id == last.id)

    def kept(self) -> list[Question]:
        """The accepted records in the file's order: as they are, edited, or without their answers."""
        latest = self._latest()
        kept: list[Question] = []
        for question in self.questions:
            verdict = latest.get(question.id)
            if verdict is None or verdict.verdict in ("reject", "skip"):
                continue
            if verdict.verdict == "no answer":
                question = without_answer(question)
            kept.append(verdict.question or question)
        return kept

    def counts(self) -> ReviewCounts:
        """How many records have which verdict."""
        counted = Counter(verdict.verdict for verdict in self._latest().values())
        return ReviewCounts(
            len(self.questions), *(counted[name] for name in ("accept", "edit", "no answer", "reject", "skip"))
        )

    def _latest(self) -> dict[str, Verdict]:
        return {verdict.id: verdict for verdict in self._given}

    def _holds(self, verdict: Verdict) -> bool:
        return self._fingerprints.get(verdict.id) == verdict.record

    def _apply(self, verdict: Verdict) -> None:
        if verdict.verdict != "undo":
            self._given.append(verdict)
            return
        for i in reversed(range(len(self._given))):
            if self._given[i].id == verdict.id:
                del self._given[i]
                return

    def _read(self) -> list[Verdict]:
        try:
            content = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DatasetError(
                f"the verdicts {self.path} cannot be read ({error.strerror}): name another file"
            ) from error
        verdicts: list[Verdict] = []
        for line_number, line in enumerate(content.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                json.loads(line)
            except ValueError:
                self.unfinished_lines += 1
                continue
            try:
                verdicts.append(Verdict.model_validate_json(line))
            except ValidationError as error:
                raise DatasetError(
                    f"{self.path}, line {line_number} is not a verdict ({first_problem(error)}): correct the line, or"
                    " name another file"
                ) from error
        return verdicts

    def _append(self, verdict: Verdict) -> None:
        line = verdict.model_dump_json(exclude_defaults=True) + "\n"
        try:
            if self._ends_within_a_line():
                line = "\n" + line
            append_whole(self.path, line)
        except OSError as error:
            if is_disk_full(error):
                raise DatasetError(disk_full(self.path.parent, "the verdicts before this one are kept")) from error
            raise DatasetError(
                f"the verdict cannot be written to {self.path} ({error.strerror}): make it writable, or name another"
                " file"
            ) from error
        self._apply(verdict)

    def _ends_within_a_line(self) -> bool:
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - 1))
                return size > 0 and file.read(1) != b"\n"
        except FileNotFoundError:
            return False


def without_answer(question: Question) -> Question:
    """The record of the same question as an unanswerable one; its evidence is then what makes it look answerable."""
    return question.model_copy(update={"answers": (), "answerable": False, "yes": None})


class Disagreement(NamedTuple):
    """A record with two verdicts that differ."""

    question: Question
    first: Verdict
    second: Verdict


class Agreement(NamedTuple):
    """What two people's verdicts on the same records have in common."""

    judged: int
    """Records that both judged."""
    same: int
    """Those that both gave the same verdict."""
    kappa: float | None
    """Cohen's kappa over accept, edit, no answer and reject; None where it is not defined."""
    disagreements: tuple[Disagreement, ...]
    """Records with different verdicts, and those that both edited to different records."""


def agreement(first: Review, second: Review) -> Agreement:
    """Compare two people's verdicts on the records that both judged; a skipped record is not judged."""
    pairs = [
        (question, mine, theirs)
        for question in first.questions
        if (mine := first.verdict(question.id)) is not None
        and (theirs := second.verdict(question.id)) is not None
        and "skip" not in (mine.verdict, theirs.verdict)
    ]
    return Agreement(
        judged=len(pairs),
        same=sum(mine.verdict == theirs.verdict for _, mine, theirs in pairs),
        kappa=cohens_kappa([mine.verdict for _, mine, _ in pairs], [theirs.verdict for _, _, theirs in pairs]),
        disagreements=tuple(
            Disagreement(question, mine, theirs)
            for question, mine, theirs in pairs
            if mine.verdict != theirs.verdict or mine.question != theirs.question
        ),
    )
