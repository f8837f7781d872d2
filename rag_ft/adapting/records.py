"""The question records of an adaptation: read from a file, made from the documents, or both; checked in the end."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import JsonValue

from rag_ft.adapting.stages import MADE, QUESTIONS, Folder
from rag_ft.checksums import sha256_of
from rag_ft.errors import DatasetError, UsageError
from rag_ft.files import is_plain_file, is_real_folder, remove_tree
from rag_ft.progress import OnProgress
from rag_ft.question_generation.make import Writer, make_questions
from rag_ft.questions.records import check_evidence, origin_words, read_questions
from rag_ft.questions.split import documents_of
from rag_ft.schema import Question
from rag_ft.training.data.check import DataReport, check_questions

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)

_REJECTED = "made.rejected.jsonl"
_NOT_RETRIEVED = "not retrieved"


MakeQuestions: TypeAlias = Callable[..., object]
"""`make_questions(index, count, output, *, source=None, writer=None, seed=0, on_progress=None)`, for one.

It writes `output`, and what it threw away beside it (`NAME.rejected.jsonl`); while it is not done, there is
`OUTPUT.partial`, from which it resumes.
"""


def collect_records(
    folder: Folder,
    index: Index,
    questions: Path | None,
    make: int,
    seed: int,
    *,
    source: Any = None,
    writer: Writer | None = None,
    maker: MakeQuestions | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Do the stages `made` and `records`: write questions.jsonl, and say what it holds.

    `questions`: a file of records to use. `make`: how many to make. `maker`: makes them; None: the package's own.
    Raises DatasetError where there are no records, or they do not fit the documents.
    """
    given = [] if questions is None else read_questions(questions)
    made: dict[str, Any] = {}
    if make:
        made = _make(folder, index, make, seed, source, writer, maker or make_questions, on_progress)

    def join_records() -> dict[str, JsonValue]:
        records = _joined(given, read_questions(folder.file(MADE)) if make else [])
        _refuse_wrong(records, index, questions or folder.file(MADE))
        text = "".join(record.model_dump_json(exclude_defaults=True) + "\n" for record in records)
        path = folder.file(QUESTIONS)
        digest = folder.write(
            QUESTIONS, text, replaces=questions is not None and path.exists() and questions.samefile(path)
        )
        report = check_questions(path, index)
        return {
            "sha256": digest,
            "not retrieved": _hardly_retrieved(report, records, folder if make else None, index),
            "questions": report.questions,
            "answerable": report.answerable,
            "documents": report.documents,
            "duplicates": len(report.duplicates),
            "origins": dict(report.origins),
        }

    joined = folder.stage(
        "records",
        {"index": index.fingerprint, "questions": _digest(given), "made": made.get("sha256")},
        join_records,
        stands=lambda result: folder.holds(QUESTIONS, result["sha256"]),
    )
    return {**joined, "made": made}


def _make(
    folder: Folder,
    index: Index,
    count: int,
    seed: int,
    source: Any,
    writer: Writer | None,
    maker: MakeQuestions,
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    """Do the stage `made`: write made.jsonl, and say how many records were kept and why others were not."""

    def make_records() -> dict[str, JsonValue]:
        output = folder.file(MADE)
        begun = is_real_folder(output.with_name(f"{MADE}.partial"))
        if begun or not is_plain_file(output):  # else only what is known of the stage was not yet written
            if not begun:
                folder.file(_REJECTED).unlink(missing_ok=True)  # of a call that kept nothing
            maker(index, count, output, source=source, writer=writer, seed=seed, on_progress=on_progress)
        rejected = Counter(reason for reason, _ in _rejections(folder))
        kept = len(read_questions(output))
        return {"sha256": _made_digest(folder), "kept": kept, "wanted": count, "rejected": dict(rejected)}

    return folder.stage(
        "made",
        {"index": index.fingerprint, "make": count, "source": getattr(source, "fingerprint", writer), "seed": seed},
        make_records,
        stands=lambda result: result["sha256"] == _made_digest(folder),
        renew=lambda: _remove_made(folder),
    )


def record_lines(result: Mapping[str, Any]) -> list[str]:
    """What the records are, for people to read."""
    origins = f" ({origin_words(result['origins'])})" if result["origins"] else " (by people)"
    lines = [
        f"{result['questions']:,} records about {result['documents']:,} documents,"
        f" {result['questions'] - result['answerable']:,} of them without an answer{origins}"
    ]
    if made := result["made"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in made["rejected"].items())
        lines.append(
            f"{made['kept']:,} of {made['wanted']:,} wanted ones were made"
            + (f"; thrown away: {reasons}" if reasons else "")
        )
    if result["duplicates"]:
        lines.append(f"{result['duplicates']:,} repeat another record in nearly the same words")
    return lines


def _joined(given: Sequence[Question], made: Iterable[Question]) -> list[Question]:
    """The given records, then the made ones with other ids."""
    known = {record.id for record in given}
    return [*given, *(record for record in made if record.id not in known)]


def _digest(records: Iterable[Question]) -> str:
    text = "".join(record.model_dump_json(exclude_defaults=True) + "\n" for record in records)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_wrong(records: Sequence[Question], index: Index, path: Path) -> None:
    """Raise DatasetError where evidence is not in the documents as the records say."""
    known = documents_of(records) & set(index.documents())
    problems = check_evidence(records, [index.document(name) for name in sorted(known)])
    if problems:
        more = len(problems) - 1
        others = f" (and {more:,} more: 'rag-ft data check' names them)" if more else ""
        raise DatasetError(
            f"{path} does not fit the documents: {problems[0]}{others}: correct the records, or give the documents that"
            " they were written for",
            problems,
        )


def _hardly_retrieved(
    report: DataReport, records: Sequence[Question], made: Folder | None, index: Index
) -> dict[str, JsonValue]:
    """Passage id → number of questions that did not find it: in the check, and those thrown away for that reason."""
    counts: Counter[str] = Counter()
    by_id = {record.id: record for record in records}
    for name in report.not_found:
        piece = by_id[name].evidence[0]
        passages = index.passages_of(piece.document_id)
        gold = next((one.id for one in passages if one.start < piece.end and piece.start < one.end), None)
        counts.update([gold] if gold else [])
    for reason, passage in _rejections(made) if made else ():
        counts.update([passage] if reason == _NOT_RETRIEVED and passage else [])
    return dict(counts.most_common())


def _rejections(folder: Folder) -> list[tuple[str, str]]:
    """Reason and passage of each made question that was thrown away; damaged lines are left out."""
    path = folder.file(_REJECTED)
    if not is_plain_file(path):
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            rows.append((str(row["reason"]), str(row.get("passage_id") or row.get("passage") or "")))
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
    return rows


def _made_digest(folder: Folder) -> str | None:
    path = folder.file(MADE)
    return sha256_of(path) if is_plain_file(path) else None


def _remove_made(folder: Folder) -> None:
    """Remove what was made from other documents or with other settings. Raises UsageError if somebody changed it."""
    before = folder.result_of("made") or {}
    if before and _made_digest(folder) not in (None, before["sha256"]):
        raise UsageError(
            f"{folder.file(MADE)} was changed by somebody since it was made, and is not replaced: move it away (records"
            " that you corrected are used with --questions)"
        )
    for path in folder.path.glob("made.*"):
        if is_real_folder(path):
            remove_tree(path, inside=folder.path)
        elif is_plain_file(path):
            path.unlink()
