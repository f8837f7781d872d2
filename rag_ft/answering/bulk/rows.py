"""The answers to many questions as rows: a line of JSON for each, and the file that they become in the end.

{"id": "q7", "question": "...", "reply": {...}}       `reply` is the `Answer`, as `rag-ft ask --json` prints it
{"id": "q8", "question": "...", "error": "..."}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rag_ft.answering.bulk.questions import PARQUET, BulkQuestion
from rag_ft.errors import UsageError
from rag_ft.extras import require_extra
from rag_ft.files import replacing
from rag_ft.schema import Answer

ENDINGS = (".jsonl", PARQUET)
_ROWS = 1000
"""Rows of a group of a Parquet file, which are in memory together."""
_LONGEST_SHOWN = 1000
"""Characters of a question that is repeated in the row of its error."""


def row_line(question: BulkQuestion, outcome: Answer | str) -> str:
    """A line for a question: its answer, or what was wrong with it."""
    head = json.dumps({"id": question.id, "question": question.question[:_LONGEST_SHOWN]})[:-1]
    if isinstance(outcome, Answer):
        return f'{head}, "reply": {outcome.model_dump_json()}}}\n'
    return f'{head}, "error": {json.dumps(outcome)}}}\n'


def check_answers_path(path: Path) -> None:
    """Raise UsageError for a file of another ending than those that can be written, MissingExtraError."""
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"the file of answers is {path}: give a name that ends in {' or '.join(ENDINGS)}")
    if path.suffix.lower() == PARQUET:
        require_extra("parquet", "writing Parquet")


def write_rows(lines: Iterable[str], path: Path) -> None:
    """Write lines of rows as the file of answers, whole or not at all. Raises OSError."""
    with replacing(path) as work:
        if path.suffix.lower() == PARQUET:
            _write_parquet(lines, work)
        else:
            with work.open("w", encoding="utf-8", newline="") as file:
                file.writelines(lines)


def _write_parquet(lines: Iterable[str], path: Path) -> None:
    """One row per line; the fields that are looked at most as columns, all of them in `reply`, as JSON."""
    import pyarrow as pa
    import pyarrow.parquet

    text, number, truth = pa.string(), pa.float64(), pa.bool_()
    columns = {"id": text, "question": text, "answer": text, "confidence": number, "abstained": truth}
    columns |= {"complete": truth, "source": text, "page": pa.int64(), "quote": text, "verdict": text}
    schema = pa.schema({**columns, "error": text, "reply": text})
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(map(_columns_of, lines), _ROWS):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _columns_of(line: str) -> dict[str, Any]:
    row = json.loads(line)
    reply = row.get("reply")
    columns = {"id": row["id"], "question": row["question"], "error": row.get("error")}
    if reply is not None:
        columns |= {name: reply[name] for name in ("answer", "confidence", "abstained", "complete")}
        columns["reply"] = json.dumps(reply, ensure_ascii=False)
        for citation in reply["citations"][:1]:
            columns |= {name: citation[name] for name in ("source", "page", "quote", "verdict")}
    # Half of a surrogate pair is text in JSON and not in Parquet.
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in columns.items()
    }


def _groups(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
