"""Questions from a file of any length: text, JSONL or Parquet, read line by line, with constant memory.

    .jsonl, .ndjson   {"id": "q7", "question": "And how often?", "history": ["an earlier question"]}
    .parquet          columns question, and if there are id (text or whole numbers) and history (lists of text)
    anything else     a question per line, or such an object

Without an id, a question has the number of its line or row, counted from 1. Blank lines are skipped. What is wrong with
one question becomes its answer's error.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rag_ft.errors import DatasetError, first_line
from rag_ft.extras import require_extra

MOST_BYTES = 1_000_000
"""Longest line that is read whole; a longer one is no question, and must not fill the memory."""

JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
_ROWS = 1024
"""Rows of a Parquet file that are in memory together."""
_OPTIONAL = ("id", "history")


class BulkQuestion(NamedTuple):
    """One question of a file."""

    id: str
    question: str
    history: Any = ()
    """Earlier questions, oldest first, as the file has them: whoever searches checks them."""
    problem: str = ""
    """Why it cannot be asked; empty where it can."""


class Block(NamedTuple):
    """Neighbouring questions of a file, which are answered together."""

    number: int
    """Counted from 0, in the order of the file."""
    questions: tuple[BulkQuestion, ...]


class Survey(NamedTuple):
    """What a file of questions holds."""

    total: int
    fingerprint: str
    """SHA-256 of ids, questions and histories, in order."""


def survey(path: Path) -> Survey:
    """Read the file once: count the questions, and see that their ids differ.

    Takes eight bytes of memory per question. Raises DatasetError.
    """
    import numpy as np

    digest = hashlib.sha256()
    hashes = array("Q")
    for question in read_bulk_questions(path):
        digest.update(
            json.dumps([question.id, question.question, question.history, question.problem], default=str).encode()
        )
        hashes.append(_hash(question.id))
    if not hashes:
        raise DatasetError(f"{path} holds no question: give a file with a question per line, .jsonl or .parquet")
    ordered = np.frombuffer(hashes, dtype=np.uint64).copy()
    ordered.sort()
    alike = {int(value) for value in ordered[1:][ordered[1:] == ordered[:-1]]}
    if alike:
        _check_alike(path, alike)
    return Survey(len(hashes), digest.hexdigest())


def _check_alike(path: Path, alike: set[int]) -> None:
    """Raise DatasetError unless the ids with these hashes differ after all."""
    seen: set[str] = set()
    for question in read_bulk_questions(path):
        if _hash(question.id) in alike:
            if question.id in seen:
                raise DatasetError(f"{path} holds the question id {question.id[:80]!r} twice: make the ids unique")
            seen.add(question.id)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def read_blocks(path: Path, size: int) -> Iterator[Block]:
    """The questions of a file in blocks of a size, in order; the last block may be smaller. Raises DatasetError."""
    questions = read_bulk_questions(path)
    number = 0
    while block := tuple(islice(questions, size)):
        yield Block(number, block)
        number += 1


def read_bulk_questions(path: Path) -> Iterator[BulkQuestion]:
    """The questions of a file, one after the other. Raises DatasetError where the file cannot be read."""
    try:
        if path.suffix.lower() == PARQUET:
            yield from _parquet_questions(path)
            return
        objects_only = path.suffix.lower() in JSON_LINES
        with path.open("rb") as file:
            for number, line in _lines(file):
                if line is None:
                    problem = f"line {number} is longer than {MOST_BYTES:,} bytes: shorten it"
                    yield BulkQuestion(str(number), "", problem=problem)
                elif line.strip():
                    yield _line_question(line, number, objects_only)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror or error}): give a file of questions") from error


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers from 1; None for one that is too long."""
    number = 0
    while line := file.readline(MOST_BYTES + 1):
        number += 1
        if len(line) <= MOST_BYTES or line.endswith(b"\n"):
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MOST_BYTES)
        yield number, None


def _line_question(line: bytes, number: int, objects_only: bool) -> BulkQuestion:
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        problem = f"line {number} is not UTF-8 at its byte {error.start + 1}: save the file as UTF-8"
        return BulkQuestion(str(number), "", problem=problem)
    given = line_object(text)
    if given is not None:
        return _object_question(given, number)
    if not objects_only:
        return BulkQuestion(str(number), text)
    problem = f"line {number} is not a JSON object: give {{'question': ...}}"
    return BulkQuestion(str(number), "", problem=problem)


def line_object(line: str) -> dict[str, Any] | None:
    """The JSON object that a line is; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        return dict(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _object_question(given: dict[str, Any], number: int) -> BulkQuestion:
    name, question, history = given.get("id"), given.get("question"), given.get("history")
    if name is None:
        name = number
    if isinstance(name, float) and name.is_integer():
        name = int(name)  # whole numbers beside missing ones are often kept as floats
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        return BulkQuestion(str(number), "", problem=f"the id of line {number} is neither text nor a whole number")
    if not isinstance(question, str):
        return BulkQuestion(str(name), "", problem="its field 'question' is missing or not text")
    return BulkQuestion(str(name), question, () if history is None else history)


def _parquet_questions(path: Path) -> Iterator[BulkQuestion]:
    require_extra("parquet", "reading Parquet")
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if "question" not in names:
                raise DatasetError(
                    f"{path} has no column 'question', only {', '.join(names)[:200]}: rename that of the questions"
                )
            columns = ["question", *(name for name in _OPTIONAL if name in names)]
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield _object_question(row, number)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not a readable Parquet file ({first_line(error)}): write it again") from error
