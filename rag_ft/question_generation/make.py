"""MAKE: question records from the passages of an index. `make_questions` writes, filters, asks back, and saves.

`choosing.py` says which passage is asked for what. `sentences/` turns sentences around, another `QuestionSource`
writes. `batches.py` goes through both: `self_contained.py`, `fitting.py` and `duplicates.py` filter, `round_trip.py`
asks the whole pipeline, and `outcomes.py` keeps what came of it, so that a killed run resumes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pydantic import JsonValue

from rag_ft.errors import DatasetError, UsageError
from rag_ft.files import full_disk_as, is_disk_full, locked, write_atomic
from rag_ft.progress import OnProgress, Progress, notify
from rag_ft.question_generation.batches import Phase, QuestionRun
from rag_ft.question_generation.choosing import Chooser, answerable_of, checked_shares
from rag_ft.question_generation.made import MadeQuestions
from rag_ft.question_generation.outcomes import Outcome, WorkFolder
from rag_ft.question_generation.round_trip import Answers, pipeline_fingerprint
from rag_ft.question_generation.sentences.source import SentenceQuestions
from rag_ft.question_generation.source import QuestionSource
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
    such as a `ChatSource`. A question stays where it stands on its own, is not nearly the same as another, and where
    `pipeline` (None: the default reader on this index) comes back with its evidence. All others are written beside
    `output`, as `NAME.rejected.jsonl`, with the reason. `asked_for`: shares of what is asked for (`choosing.SHARES`).
    `unanswerable`: share of the records that have no answer, made from the others by an exchange of words. Fewer
    records are made where the passages give no more; the result says why.

    A run that was killed resumes when it is called again with equal arguments, and ends with the same files.
    `overwrite` replaces the files of an earlier run, and forgets an unfinished run with other arguments. Raises
    UsageError, DatasetError, and what the source and the pipeline raise.
    """
    output = Path(output)
    shares = checked_shares(asked_for)
    work = WorkFolder(output)
    _check_call(count, unanswerable, output, overwrite, work)
    writer = checked_writer(writer, source)
    passages = list(index.passages())
    of_passages = Chooser(passages, seed, shares)
    phases: list[Phase] = []
    if writer in ("sentences", "both"):
        sentences = SentenceQuestions(passages)
        used_up = "all sentences that answer a question by themselves are used up"
        if writer == "sentences":
            used_up += " (the packaged generator writes more: writer='both', or --writer both)"
        phases.append(Phase(Chooser(passages, seed, shares, sentences.gives), sentences, used_up))
    about = next((phase.chooser for phase in phases if not of_passages.passages), of_passages)
    notes = _notes_before(index, about, english=writer is not None)
    for note in notes:
        logger.info("%s", note)
    model, pipeline = _defaults(index, source, pipeline, generator=writer in ("generator", "both"))
    if model is not None:
        phases.append(Phase(of_passages, model, "all passages are used up"))
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
            run = QuestionRun(phases, pipeline, work, answerable_of(count, unanswerable), on_progress)
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
    run: QuestionRun,
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
    if len(run.kept_of) > 1:
        of_sentences, of_the_generator = run.kept_of
        after.append(
            f"{of_sentences:,} questions, the first of the file, are turned sentences; {of_the_generator:,} are the"
            " generator's: look through these before you use them"
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


def checked_writer(writer: Writer | None, source: QuestionSource | None) -> Writer | None:
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

    if pipeline is None:
        reader = Reader.from_pretrained()
        pipeline = Pipeline(index.as_retriever(), reader)
        return (QuestionGenerator.beside(reader) if generator else source), pipeline
    return (QuestionGenerator.from_pretrained() if generator else source), pipeline
