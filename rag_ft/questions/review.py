"""Verdicts of a person on question records: a file beside theirs, which gains a line with every verdict.

The file of the records is never changed. The last verdict on a record counts, and a line "undo" takes it back. A
verdict holds for the record as it was: one that has changed since is to be judged again. Several sessions, at the
terminal and on the page, may append to one file; each takes in the others' lines with `refresh`.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field, ValidationError, model_validator

from rag_ft.errors import DatasetError, UsageError, first_problem
from rag_ft.files import append_whole, disk_full, is_disk_full
from rag_ft.metrics.agreement import cohens_kappa
from rag_ft.questions.excerpts import marked_answer
from rag_ft.schema import FINGERPRINT, Document, Evidence, Question, Record
from rag_ft.text.sentences import sentences_around
from rag_ft.text.spans import Span

Judgement: TypeAlias = Literal["accept", "edit", "no answer", "reject", "skip"]
"""`no answer`: the question stays, as an unanswerable one. `skip`: to be judged later."""

_REVIEWER = re.compile(r"\w[\w.@-]{0,63}")
"""Holds every name of a personal token (`serving.http.tokens`)."""


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
        raise UsageError(f"the reviewer's name is {reviewer!r}: use up to 64 letters, digits, '.', '_', '-' and '@'")
    return questions.with_name(f"{questions.stem}.review{f'-{reviewer}' if reviewer else ''}.jsonl")


def verdict_files(questions: Path) -> dict[str, Path]:
    """The files of verdicts on a file of records, by the reviewer's name; empty for the one without a name."""
    start = f"{questions.stem}.review"
    files = {}
    for path in sorted(questions.parent.glob(f"{glob.escape(start)}*.jsonl")):
        name = path.name.removeprefix(start).removesuffix(".jsonl")
        if not name or (name[0] == "-" and _REVIEWER.fullmatch(name[1:])):
            files[name[1:]] = path
    return files


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
        self._lines = GrowingLines(self.path)
        self._written: list[Verdict] = []
        """Verdicts of the file that were not taken back, also on records that have changed since."""
        self._given_here: list[Verdict] = []
        """Verdicts of this session."""
        self.refresh()

    def refresh(self) -> None:
        """Take in what other sessions have written to the file since the last look. Raises DatasetError."""
        try:
            replaced, lines = self._lines.read()
        except OSError as error:
            raise DatasetError(
                f"the verdicts {self.path} cannot be read ({error.strerror}): name another file"
            ) from error
        if replaced:
            self._written = []
        for line_number, line in lines:
            try:
                self._apply(Verdict.model_validate_json(line))
            except ValidationError as error:
                self._lines.forget()  # the next look begins at the first line
                raise DatasetError(
                    f"{self.path}, line {line_number} is not a verdict ({first_problem(error)}): correct the line, or"
                    " name another file"
                ) from error

    @property
    def unfinished_lines(self) -> int:
        """Number of lines that a killed process left unfinished; they count as not written."""
        return self._lines.unfinished

    @property
    def changed(self) -> tuple[str, ...]:
        """Ids of the records that were judged before they changed, and not since."""
        stale = {verdict.id for verdict in self._written if not self._holds(verdict)} - self.verdicts().keys()
        return tuple(question.id for question in self.questions if question.id in stale)

    def notes(self, place: str) -> list[str]:
        """What a reviewer should know of the verdicts; `place`: where they are, such as "in review.jsonl"."""
        notes = []
        if self.changed:
            notes.append(f"{len(self.changed):,} records changed after they were judged: they are to be judged again")
        if self.unfinished_lines:
            notes.append(f"{self.unfinished_lines:,} unfinished lines {place} do not count")
        return notes

    @property
    def last(self) -> Verdict | None:
        """The latest verdict of the file that counts, whoever gave it; None where there is none."""
        return next((verdict for verdict in reversed(self._written) if self._holds(verdict)), None)

    def verdict(self, record_id: str) -> Verdict | None:
        """The verdict that counts for a record; None where there is none."""
        return self.verdicts().get(record_id)

    def verdicts(self) -> dict[str, Verdict]:
        """The verdict that counts for each record that has one, by the record's id."""
        return {verdict.id: verdict for verdict in self._written if self._holds(verdict)}

    def pending(self) -> list[Question]:
        """The records still to be judged, in the file's order; once there are no others, those that were skipped."""
        latest = self.verdicts()
        unseen = [question for question in self.questions if question.id not in latest]
        return unseen or [question for question in self.questions if latest[question.id].verdict == "skip"]

    def give(self, question: Question, verdict: Judgement, edited: Question | None = None) -> Judgement:
        """Keep a verdict, durably, and return it: "no answer" to a record that has none accepts it.

        `edited`: the record as an edit leaves it. Raises DatasetError, UsageError.
        """
        if question.id not in self._fingerprints:
            raise UsageError(f"there is no record {question.id!r} in this review: give one of its questions")
        if verdict == "no answer" and not question.answerable:
            verdict = "accept"
        given = Verdict(id=question.id, record=self._fingerprints[question.id], verdict=verdict, question=edited)
        self._append(given)
        self._given_here.append(given)
        return verdict

    def undo(self, record_id: str | None = None) -> Question | None:
        """Take a verdict back, durably, and return its record; None where there is none.

        `record_id`: the record whose verdict to take back. None: the latest that this session gave and that counts,
        or else `last`.
        """
        self.refresh()
        latest = self.verdicts()
        if record_id is None:
            here = [verdict for verdict in self._given_here if latest.get(verdict.id) == verdict]
            last = here[-1] if here else self.last
        else:
            last = latest.get(record_id)
        if last is None:
            return None
        self._append(Verdict(id=last.id, record=last.record, verdict="undo"))
        if last in self._given_here:
            self._given_here.reverse()
            self._given_here.remove(last)
            self._given_here.reverse()
        return next(question for question in self.questions if question.id == last.id)

    def kept(self) -> list[Question]:
        """The accepted records in the file's order: as they are, edited, or without their answers."""
        latest = self.verdicts()
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
        counted = Counter(verdict.verdict for verdict in self.verdicts().values())
        return ReviewCounts(
            len(self.questions), *(counted[name] for name in ("accept", "edit", "no answer", "reject", "skip"))
        )

    def _holds(self, verdict: Verdict) -> bool:
        return self._fingerprints.get(verdict.id) == verdict.record

    def _apply(self, verdict: Verdict) -> None:
        if verdict.verdict != "undo":
            self._written.append(verdict)
            return
        for i in reversed(range(len(self._written))):
            if (self._written[i].id, self._written[i].record) == (verdict.id, verdict.record):
                del self._written[i]
                return

    def _append(self, verdict: Verdict) -> None:
        try:
            append_whole(self.path, verdict.model_dump_json(exclude_defaults=True) + "\n", new_line=True)
        except OSError as error:
            if is_disk_full(error):
                raise DatasetError(disk_full(self.path.parent, "the verdicts before this one are kept")) from error
            raise DatasetError(
                f"the verdict cannot be written to {self.path} ({error.strerror}): make it writable, or name another"
                " file"
            ) from error
        self.refresh()


class GrowingLines:
    """The JSON lines of a file to which processes append, each read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.forget()

    def forget(self) -> None:
        """Begin at the first line again."""
        self._file: tuple[int, int] | None = None
        self._position = 0
        self._line_ends = 0
        self._broken = 0
        self._broken_end = False

    @property
    def unfinished(self) -> int:
        """Number of lines that are not whole, read so far."""
        return self._broken + self._broken_end

    def read(self) -> tuple[bool, list[tuple[int, bytes]]]:
        """Whether these are all lines of another file than before, and the new lines with their numbers.

        The last line may still be being written: it counts once it is whole. Raises OSError.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                replaced = (status.st_dev, status.st_ino) != self._file or status.st_size < self._position
                if replaced:
                    self.forget()
                    self._file = status.st_dev, status.st_ino
                file.seek(self._position)
                content = file.read()
        except FileNotFoundError:
            replaced = self._file is not None
            self.forget()
            return replaced, []
        *lines, rest = content.split(b"\n")
        first = self._line_ends + 1
        self._line_ends += len(lines)
        self._position += len(content) - len(rest)
        self._broken_end = bool(rest.strip()) and not _is_json(rest)
        if rest.strip() and not self._broken_end:
            lines.append(rest)
            self._position += len(rest)
        written = [(number, line) for number, line in enumerate(lines, start=first) if line.strip()]
        whole = [(number, line) for number, line in written if _is_json(line)]
        self._broken += len(written) - len(whole)
        return replaced, whole


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def edited_record(question: Question, document: Document, span: Span, *, whole: bool, yes: bool | None) -> Question:
    """The record with other evidence and answer: whole sentences are a part, words of them a span."""
    quote = document.text[span.start : span.end]
    evidence = Evidence(document_id=document.id, start=span.start, end=span.end, quote=quote)
    changes = {"answers": (quote,), "evidence": (evidence,), "answerable": True}
    return question.model_copy(update={**changes, "kind": "part" if whole else "span", "yes": yes if whole else None})


def marked_record(question: Question, document: Document, start: int, end: int, *, yes: bool | None) -> Question:
    """The record with the words that a person marked; they become whole sentences if they are long or cross an end."""
    span, whole = marked_answer(document.text, start, end)
    whole = whole or span == Span(*sentences_around(document.text, *span))
    return edited_record(question, document, span, whole=whole, yes=yes)


def reworded_record(question: Question, words: str) -> Question:
    """The record with its question in other words. Raises UsageError where there are none."""
    if not words.strip():
        raise UsageError("the question is empty: write its words, or reject the record")
    return question.model_copy(update={"question": words.strip()})


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

    def line(self) -> str:
        """The figures for people to read."""
        if not self.judged:
            return "no record has been judged by both"
        kappa = "not defined, both gave one verdict to all" if self.kappa is None else f"{self.kappa:.2f}"
        return (
            f"{self.judged:,} records judged by both, {self.same:,} the same ({self.same / self.judged:.0%});"
            f" Cohen's kappa {kappa}"
        )


def agreement(first: Review, second: Review) -> Agreement:
    """Compare two people's verdicts on the records that both judged; a skipped record is not judged."""
    ours, others = first.verdicts(), second.verdicts()
    pairs = [
        (question, mine, theirs)
        for question in first.questions
        if (mine := ours.get(question.id)) is not None
        and (theirs := others.get(question.id)) is not None
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
