"""MAKE: question records from the passages of an index. `make_questions` writes, filters, asks back, and saves.

`choosing.py` says which passage is asked for what; sentences that answer a question by themselves come first
(`sentences/`), then a `QuestionSource` writes; `self_contained.py`, `fitting.py` and
`duplicates.py` filter, `round_trip.py` asks the whole pipeline, `outcomes.py` keeps what came of it, so that a killed
run resumes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from pydantic import JsonValue

from rag_ft.errors import DatasetError, UsageError
from rag_ft.files import full_disk_as, is_disk_full, locked, write_atomic
from rag_ft.progress import OnProgress, Progress, notify
from rag_ft.question_generation.choosing import Chooser, answerable_of, checked_shares
from rag_ft.question_generation.duplicates import AskedBefore
from rag_ft.question_generation.fitting import Surroundings, fit_problem
from rag_ft.question_generation.made import MadeQuestions
from rag_ft.question_generation.outcomes import Outcome, WorkFolder
from rag_ft.question_generation.round_trip import (
    ROUND_TRIP_REASONS,
    Answers,
    pipeline_fingerprint,
    round_trip_problem,
)
from rag_ft.question_generation.self_contained import problem_of
from rag_ft.question_generation.sentences.source import SentenceQuestions
from rag_ft.question_generation.source import QuestionSource, WriteRequest, WrittenQuestion
from rag_ft.questions.records import write_questions
from rag_ft.schema import Question
from rag_ft.text import openings
from rag_ft.text.english import seems_english
from rag_ft.text.openings import AskedFor
from rag_ft.training.data.unanswerable import MadeUnanswerable, UnanswerableConfig, make_unanswerable

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)

RULES = 7
"""Raised when other questions are chosen or kept: an unfinished run of earlier rules does not resume."""

Writer: TypeAlias = Literal["sentences", "generator", "both"]
"""What writes questions: sentences turned around, the packaged generator, or the one and then the other."""

NEAR_DUPLICATE = "near-duplicate"
NOT_IN_PASSAGE = "answer not in the passage"

_MOST_FRUITLESS = 10
"""Batches in a row of which nothing is kept, after which a run ends: a source that repeats itself keeps doing so."""
_LONGEST_STORED = 1000
"""Characters of a rejected question that are kept; one that long was rejected for it."""
_FEW_NOT_ENGLISH = 0.1
"""Share of the passages in other languages below which nothing is said of them."""


def make_questions(
    index: Index,
    count: int,
    output: str | Path,
    *,
    source: QuestionSource | None = None,
    writer: Writer | None = None,
    pipeline: Answers | None = None,
    asked_for: Mapping[AskedFor, float] | None = None,
    unanswerable: float = 0.2,
    seed: int = 0,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> MadeQuestions:
    """Make `count` question records from the passages of an index and write them to `output`, a JSONL file.

    `writer`: "sentences" (the default) turns sentences around that answer a question by themselves, "generator" lets
    the packaged generator write, "both" the generator where such sentences are used up. `source` writes them instead,
    such as a `ChatSource`. A question stays where it stands on its own, is not
    nearly the same as another, and where `pipeline` (None: the default reader on this index) comes back with its
    evidence. All others are written beside `output`, as `NAME.rejected.jsonl`, with the reason. `asked_for`: shares of
    what is asked for (`choosing.SHARES`). `unanswerable`: share of the records that have no answer, made from the
    others by an exchange of words. Fewer records are made where the passages give no more; the result says why.

    A run that was killed resumes when it is called again with equal arguments, and ends with the same files.
    `overwrite` replaces the files of an earlier run, and forgets an unfinished run with other arguments. Raises
    UsageError, DatasetError, and what the source and the pipeline raise.
    """
    output = Path(output)
    shares = checked_shares(asked_for)
    work = WorkFolder(output)
    _check_call(count, unanswerable, output, overwrite, work)
    writer = _checked_writer(writer, source)
    chooser = Chooser(index.passages(), seed, shares)
    notes = _notes_before(index, chooser, english=writer is not None)
    for note in notes:
        logger.info("%s", note)
    phases: list[_Phase] = []
    if writer in ("sentences", "both"):
        sentences = SentenceQuestions(chooser.passages)
        used_up = "all sentences that answer a question by themselves are used up"
        if writer == "sentences":
            used_up += " (the packaged generator writes more: writer='both', or --writer both)"
        phases.append(_Phase(Chooser(chooser.passages, seed, shares, sentences.gives), sentences, used_up))
    model, pipeline = _defaults(index, source, pipeline, generator=writer in ("generator", "both"))
    if model is not None:
        phases.append(_Phase(chooser, model, "all passages are used up"))
    settings: dict[str, JsonValue] = {
        "source": "+".join(phase.source.fingerprint for phase in phases),
        "index": index.fingerprint,
        "pipeline": pipeline_fingerprint(pipeline),
        "count": count,
        "unanswerable": unanswerable,
        "seed": seed,
        "asked_for": {name: round(share, 6) for name, share in shares.items()},
        "rules": RULES,
    }
    with full_disk_as(DatasetError, output.parent, "what was made so far is kept"):
        _make_folder(work)
        busy = UsageError(f"another process is making {output}: wait for it, or give another output")
        with locked(work.lock, busy):
            known = work.claim(settings, overwrite=overwrite)
            run = _Run(phases, pipeline, work, answerable_of(count, unanswerable), on_progress)
            run.make(known)
            made = _finished(run, index, count, seed, notes, output, on_progress)
            _write(made)
            work.clear()
        work.remove()
    if not made.records:
        raise DatasetError(
            f"no question was kept, so {output} was not written ({made.rejected_output} has what was rejected):"
            f" {made.notes[-1]}"
        )
    return made


def rejected_path(output: Path) -> Path:
    """Where the questions that were not kept are written."""
    return output.with_name(f"{output.stem}.rejected.jsonl")


class _Phase(NamedTuple):
    """A source, and what it is asked until it gives no more."""

    chooser: Chooser
    source: QuestionSource
    used_up: str
    """What is said where there is nothing more to ask it."""


class _Run:
    """Batch after batch until there are questions enough, or nothing to ask."""

    def __init__(
        self,
        phases: Sequence[_Phase],
        pipeline: Answers,
        work: WorkFolder,
        wanted: int,
        on_progress: OnProgress | None,
    ) -> None:
        self.wanted = wanted
        """Number of answerable questions."""
        self.kept: list[Outcome] = []
        self.rejected: list[Outcome] = []
        self.ended_early = ""
        """Why there are fewer than wanted."""
        self._phases = phases
        self._pipeline = pipeline
        self._work = work
        self._before = AskedBefore()
        self._on_progress = on_progress
        self._batches = 0
        self._started = time.monotonic()
        self._kept_before = 0

    def make(self, known: Sequence[Sequence[Outcome]]) -> None:
        """Make the batches after those that are `known` from before."""
        if known:
            logger.info("resuming: %d requests were done before", sum(map(len, known)))
        for phase in self._phases:
            self.ended_early = self._make_phase(phase, known)
            if not self.ended_early:
                return

    def _make_phase(self, phase: _Phase, known: Sequence[Sequence[Outcome]]) -> str:
        """Ask one source; why it gave no more, empty where there are questions enough."""
        fruitless = 0
        while len(self.kept) < self.wanted:
            requests = phase.chooser.next_batch()
            if not requests:
                return phase.used_up
            if self._batches < len(known):
                outcomes = self._as_before(requests, known[self._batches])
                self._kept_before = len(self.kept) + sum(not outcome.reason for outcome in outcomes)
                self._started = time.monotonic()
            else:
                outcomes = self._outcomes(phase.source, requests, self._batches)
                self._work.append(outcomes)
            fruitful = self._settle(phase.chooser, outcomes)
            fruitless = 0 if fruitful else fruitless + 1
            self._batches += 1
            new = len(self.kept) - self._kept_before
            missing = max(self.wanted - len(self.kept), 0)
            left = (time.monotonic() - self._started) / new * missing if new else None
            notify(self._on_progress, Progress("questions", min(len(self.kept), self.wanted), self.wanted, left))
            if fruitless == _MOST_FRUITLESS and len(self.kept) < self.wanted:
                return f"the last {fruitless} batches gave none"
        return ""

    def _as_before(self, requests: Sequence[WriteRequest], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        same = len(requests) == len(outcomes) and all(map(Outcome.answers, outcomes, requests))
        if not same:
            raise DatasetError(f"{self._work.path} holds requests that this run does not make: remove it to start over")
        for outcome in outcomes:
            if outcome.evidence is not None and outcome.reason in ("", *ROUND_TRIP_REASONS):
                self._before.add(outcome.question, outcome.evidence)
        return outcomes

    def _settle(self, chooser: Chooser, outcomes: Sequence[Outcome]) -> bool:
        """Count the outcomes of a batch; whether any was kept."""
        kept = [outcome for outcome in outcomes if not outcome.reason]
        for outcome in kept:
            chooser.kept(outcome.asked_for)
        self.kept += kept
        self.rejected += [outcome for outcome in outcomes if outcome.reason]
        return bool(kept)

    def _outcomes(self, source: QuestionSource, requests: Sequence[WriteRequest], batch: int) -> list[Outcome]:
        written = source.write(requests)
        if len(written) != len(requests):
            raise DatasetError(
                f"the source gave {len(written)} questions for {len(requests)} requests: make its write() return one"
                " for each, in order"
            )
        outcomes = [
            self._filtered(request, question, batch, len(requests))
            for request, question in zip(requests, written, strict=True)
        ]
        asked = [i for i, outcome in enumerate(outcomes) if not outcome.reason]
        answers = self._pipeline.ask_batch([outcomes[i].question for i in asked]) if asked else []
        for i, answer in zip(asked, answers, strict=True):
            outcome = outcomes[i]
            assert outcome.evidence is not None
            reason = round_trip_problem(outcome.evidence, outcome.kind, outcome.yes, requests[i].passage, answer)
            outcomes[i] = outcome.model_copy(update={"reason": reason or "", "answered": answer.answer})
        return outcomes

    def _filtered(self, request: WriteRequest, written: WrittenQuestion | str, batch: int, batch_size: int) -> Outcome:
        """What came of a request before the pipeline is asked."""
        passage = request.passage
        outcome = Outcome(
            batch=batch,
            batch_size=batch_size,
            passage_id=passage.id,
            document_id=passage.document_id,
            asked_for=request.asked_for,
            seed=request.seed,
        )
        if isinstance(written, str):
            return outcome.model_copy(update={"reason": _storable(written) or "no question"})
        question = written.question.strip()
        stored = _storable(question)
        start, end = written.span
        quote = passage.text[start:end] if 0 <= start < end <= len(passage.text) else ""
        if not quote.strip():
            return outcome.model_copy(update={"question": stored, "reason": NOT_IN_PASSAGE})
        evidence = written.evidence_in(passage)
        around = Surroundings.of(passage.text, written.span)
        reason = problem_of(question, quote, written.kind, passage) or fit_problem(question, quote, written.yes, around)
        if reason is None and not self._before.add(question, evidence):
            reason = NEAR_DUPLICATE
        return outcome.model_copy(
            update={
                "question": stored,
                "evidence": evidence,
                "kind": written.kind,
                "yes": written.yes if written.kind == "part" else None,
                "logprob": written.logprob,
                "reason": reason or "",
            }
        )


def _storable(text: str) -> str:
    """A text as a file can hold it: halves of characters become question marks, and its length is bounded."""
    return text[:_LONGEST_STORED].encode("utf-8", "replace").decode("utf-8")


def _record(outcome: Outcome) -> Question:
    """The record of a question that was kept, tagged with what it turned out to ask for.

    Its id follows from what it says, so that two runs can be joined.
    """
    evidence = outcome.evidence
    assert evidence is not None
    name = json.dumps([outcome.question, evidence.document_id, evidence.start, evidence.end])
    return Question(
        id=f"made-{hashlib.sha256(name.encode()).hexdigest()[:12]}",
        question=outcome.question,
        answers=(evidence.quote,),
        evidence=(evidence,),
        kind=outcome.kind,
        yes=outcome.yes,
        tags=(openings.asked_for(outcome.question),),
        origin="made",
    )


def _finished(
    run: _Run,
    index: Index,
    count: int,
    seed: int,
    notes: Sequence[str],
    output: Path,
    on_progress: OnProgress | None,
) -> MadeQuestions:
    # The last batch may give more than are needed.
    answerable = tuple(_record(outcome) for outcome in run.kept[: run.wanted])
    without = MadeUnanswerable((), Counter())
    # As many as their share of what was made.
    most = round(len(answerable) * (count - run.wanted) / run.wanted)
    if most:
        stage = "unanswerable questions"
        notify(on_progress, Progress(stage, 0, most))
        without = make_unanswerable(answerable, index, UnanswerableConfig(most=most, seed=seed))
        notify(on_progress, Progress(stage, most, most))
    made = MadeQuestions(
        records=(*answerable, *without.records),
        rejected=tuple(run.rejected),
        wanted=count,
        output=output,
        rejected_output=rejected_path(output),
        left_out=without.left_out,
    )
    after = [made.shortfall(run.ended_early)] if run.ended_early else []
    if len(without.records) < most:
        after.append(
            f"{len(without.records):,} of {most:,} unanswerable records were made: more are made from more, or other,"
            " questions"
        )
    for note in after:
        logger.info("%s", note)
    return made._replace(notes=(*notes, *after))


def _write(made: MadeQuestions) -> None:
    try:
        write_atomic(made.rejected_output, "".join(line + "\n" for line in made.rejected_lines()))
        if made.records:
            write_questions(made.records, made.output)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise DatasetError(f"{made.output} cannot be written ({error.strerror}): choose another path") from error


def _check_call(count: int, unanswerable: float, output: Path, overwrite: bool, work: WorkFolder) -> None:
    if count < 1:
        raise UsageError(f"count is {count} but must be 1 or more")
    if not 0 <= unanswerable <= 0.5:
        raise UsageError(f"unanswerable is {unanswerable} but must be between 0 and 0.5: a share of the records")
    if output.suffix.lower() == ".json":
        raise UsageError(f"{output} would be read as SQuAD's JSON: give a name that ends in .jsonl")
    for path in (output, rejected_path(output)):
        if path.is_dir() or path.is_symlink():
            raise UsageError(f"{path} is a folder or a link: give the path of a file")
        # A run that was killed between its two files has left its folder.
        if path.exists() and not overwrite and not work.exists:
            raise UsageError(f"{path} already exists: choose another path, or overwrite it (--overwrite)")
    if not output.parent.is_dir():
        raise UsageError(f"{output} cannot be written: give the path of a file in a folder that exists")


def _checked_writer(writer: Writer | None, source: QuestionSource | None) -> Writer | None:
    """What writes the questions; None for a source that was given. Raises UsageError."""
    if writer not in (None, *get_args(Writer)):
        raise UsageError(
            f"writer is {writer!r} but must be {', '.join(get_args(Writer)[:-1])} or {get_args(Writer)[-1]}"
        )
    if source is None:
        return writer or "sentences"
    if writer is not None:
        raise UsageError(f"writer is {writer!r}, and a source is given, which writes all questions: leave out one")
    return None


def _make_folder(work: WorkFolder) -> None:
    try:
        work.make()
    except OSError as error:
        if is_disk_full(error):
            raise
        raise DatasetError(f"{work.path} cannot be made ({error.strerror}): choose another output") from error


def _notes_before(index: Index, chooser: Chooser, *, english: bool) -> list[str]:
    """What a person should know before anything is made; `english`: by what writes English only.

    Raises DatasetError where nothing can be made.
    """
    if not chooser.passages:
        raise DatasetError(
            f"no question can be made from {index.place}: its {chooser.passages_without_sentences:,} passages hold"
            " tables, code or headings, and no sentences that could be asked for"
        )
    notes = []
    if len(chooser.documents) == 1:
        notes.append(
            f"{chooser.documents[0]} is the only document to ask about, so the records cannot be split by document:"
            " tuning on them cannot be judged on other documents"
        )
    if english:
        other = sum(not seems_english(passage.text) for passage in chooser.passages)
        if other > _FEW_NOT_ENGLISH * len(chooser.passages):
            notes.append(
                f"{other:,} of {len(chooser.passages):,} passages seem not to be in English, and questions are"
                " written in English: give a chat model that writes their language (--model)"
            )
    return notes


def _defaults(
    index: Index, source: QuestionSource | None, pipeline: Answers | None, *, generator: bool
) -> tuple[QuestionSource | None, Answers]:
    """What was given, or the default reader and, on its base where `generator`, the packaged generator."""
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.answering.reader import Reader
    from rag_ft.question_generation.generator import QuestionGenerator

    generator = generator and source is None
    if pipeline is None:
        reader = Reader.from_pretrained()
        pipeline = Pipeline(index.as_retriever(), reader)
        return (QuestionGenerator.beside(reader) if generator else source), pipeline
    return (QuestionGenerator.from_pretrained() if generator else source), pipeline
