"""Answer every question of a file exactly once. `answer_questions` reads, answers block by block, and writes.

A block is finished or not done: a run that is killed answers at most the blocks again that it was reading. Questions
and answers are streamed, so memory does not grow with them; while the answers are put together, they are on disk twice.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from rag_ft.answering.bulk.blocks import BlockEngine, LocalEngine
from rag_ft.answering.bulk.questions import Block, Survey, read_blocks, survey
from rag_ft.answering.bulk.rows import check_answers_path, write_rows
from rag_ft.answering.bulk.work import BulkWork, FinishedBlock
from rag_ft.answering.pipeline import Pipeline
from rag_ft.errors import DatasetError, UsageError
from rag_ft.files import full_disk_as, is_plain_file, locked
from rag_ft.progress import OnProgress, Progress, notify

logger = logging.getLogger(__name__)

BLOCK = 256
"""Questions of a block: enough for common passages to meet, few enough that a kill costs minutes."""

RULES = 1
"""Raised when other lines are written: an unfinished run of earlier rules does not resume."""


@dataclass
class BulkReport:
    """What came of the questions of a file."""

    output: Path
    questions: int
    done_before: int
    """Questions that an earlier, unfinished run had answered."""
    seconds: float
    """Without those of earlier runs."""
    answered: int = 0
    declined: int = 0
    incomplete: int = 0
    """Replies that are not usable answers: see `Answer.complete`."""
    searched_in_part: int = 0
    """Replies for which a part of the index was not searched: see `Answer.incomplete`."""
    failed: int = 0
    """Questions that could not be asked; `error` says why."""


def answer_questions(
    questions: str | Path,
    output: str | Path,
    engine: Pipeline | BlockEngine,
    *,
    block: int = BLOCK,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> BulkReport:
    """Answer the questions of a file and write a row for each to `output`, in the order of the questions.

    `questions`: text, `.jsonl` or `.parquet` (`rag_ft.answering.bulk.questions`). `output`: `.jsonl` or `.parquet`; it
    appears when all is done. `engine`: a pipeline, or `RayEngine`. Within each `block`, questions with common passages
    are read together. What is wrong with one question is the error of its row; what is wrong with anything else ends
    the run.

    A run that was killed resumes when it is called again with equal arguments, on whatever engine, also with
    `overwrite`; an unfinished run with other arguments is an error without `overwrite` and forgotten with it. Raises
    UsageError, DatasetError, and what the engine raises.
    """
    questions, output = Path(questions), Path(output)
    _check_call(questions, output, block, overwrite)
    engine = LocalEngine(engine) if isinstance(engine, Pipeline) else engine
    whole = survey(questions)
    settings: dict[str, JsonValue] = {
        "questions": whole.fingerprint,
        **engine.identity(),
        "block": block,
        "rules": RULES,
    }
    start = time.monotonic()
    work = BulkWork(output)
    with full_disk_as(DatasetError, output.parent, "the answers so far are kept"):
        work.make()
        busy = UsageError(f"another process is writing {output}: wait for it, or give another file")
        with locked(work.lock, busy):
            blocks = -(-whole.total // block)
            done = {number for number in work.claim(settings, overwrite=overwrite) if number < blocks}
            done_before = _answer_rest(questions, whole, block, work, done, engine, on_progress)
            report = BulkReport(output, whole.total, done_before, time.monotonic() - start)
            write_rows(_counted(work.blocks(blocks), report, block), output)
            work.clear()
        work.remove()
    return report


def _check_call(questions: Path, output: Path, block: int, overwrite: bool) -> None:
    """Raise UsageError for arguments that cannot work, before anything is loaded."""
    check_answers_path(output)
    if block < 1:
        raise UsageError(f"block is {block} but must be 1 or more")
    if not questions.is_file():
        raise DatasetError(f"there is no file {questions}: give a file of questions")
    if output.exists():
        if output.samefile(questions):
            raise UsageError(f"{output} would be written over the questions: give another file")
        if not is_plain_file(output):
            raise UsageError(f"{output} is not a plain file: choose another path")
        if not overwrite:
            raise UsageError(f"{output} already exists: choose another path, or overwrite it (--overwrite)")
    if not output.parent.is_dir():
        raise UsageError(f"{output} cannot be written: give the path of a file in a folder that exists")


def _answer_rest(
    questions: Path,
    whole: Survey,
    size: int,
    work: BulkWork,
    done: set[int],
    engine: BlockEngine,
    on_progress: OnProgress | None,
) -> int:
    """Answer the blocks that are not done, and keep them; the number of questions that were done before."""

    def questions_of(number: int) -> int:
        return min(size, whole.total - number * size)

    before = finished = sum(questions_of(number) for number in done)
    if before:
        logger.info("resuming: %d of %d questions were answered before", before, whole.total)
    if before == whole.total:
        return before
    started = time.monotonic()
    notify(on_progress, Progress("questions", finished, whole.total))
    for number, lines in engine.answer(_blocks_left(questions, size, done)):
        if number in done:
            continue  # a worker that was given up has replied after all
        work.keep(number, lines)
        done.add(number)
        finished += questions_of(number)
        each = (time.monotonic() - started) / (finished - before)
        notify(on_progress, Progress("questions", finished, whole.total, each * (whole.total - finished)))
    if finished < whole.total:
        raise DatasetError(f"{questions} has changed while it was read: run the same command again")
    return before


def _blocks_left(questions: Path, size: int, done: set[int]) -> Iterator[Block]:
    # A copy: `done` grows while blocks are read ahead.
    skipped = frozenset(done)
    return (block for block in read_blocks(questions, size) if block.number not in skipped)


def _counted(blocks: Iterable[FinishedBlock], report: BulkReport, size: int) -> Iterator[str]:
    """The lines of all blocks, counted into the report by what they say. Raises DatasetError for a damaged block."""
    left = report.questions
    for path, lines in blocks:
        rows = 0
        for line in lines:
            rows += 1
            try:
                _count_row(json.loads(line), report)
            except (ValueError, TypeError, KeyError, AttributeError):
                rows = -1
                break
            yield line
        if rows != min(size, left):
            raise DatasetError(
                f"{path} is damaged: remove it and run the same command again, which answers that block again"
            )
        left -= rows


def _count_row(row: Mapping[str, Any], report: BulkReport) -> None:
    """Count a row by what it says. Raises KeyError, TypeError, AttributeError for what is not a row."""
    if "error" in row:
        report.failed += 1
        return
    reply = row["reply"]
    if not reply["complete"]:
        report.incomplete += 1
    elif reply["answer"] is None:
        report.declined += 1
    else:
        report.answered += 1
    report.searched_in_part += bool(reply["incomplete"])
