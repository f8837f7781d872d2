"""The file of answers, as JSONL and as Parquet."""

import json

import pyarrow.parquet
import pytest

from rag_ft.answering.bulk.questions import BulkQuestion
from rag_ft.answering.bulk.rows import row_line, write_rows
from rag_ft.schema import Answer
from rag_ft.serving.http.openapi import ANSWER

REPLY = Answer.model_validate(ANSWER)
LINES = [
    row_line(BulkQuestion("a", "What\u2028now?"), REPLY),
    row_line(BulkQuestion("b \ud800", "x" * 5000, problem="it is wrong"), "it is wrong"),
]


def test_jsonl_holds_a_row_per_line(tmp_path):
    write_rows(LINES, tmp_path / "answers.jsonl")
    first, second = map(json.loads, (tmp_path / "answers.jsonl").read_bytes().split(b"\n")[:-1])
    assert list(first) == ["id", "question", "reply"]
    assert Answer.model_validate(first["reply"]) == REPLY
    assert (second["id"], len(second["question"]), second["error"]) == ("b \ud800", 1000, "it is wrong")


def test_parquet_has_columns_for_what_is_looked_at_and_the_reply_as_json(tmp_path):
    write_rows(LINES, tmp_path / "answers.parquet")
    first, second = pyarrow.parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    assert (first["id"], first["answer"], first["confidence"]) == ("a", REPLY.answer, REPLY.confidence)
    assert (first["quote"], first["verdict"]) == (REPLY.citations[0].quote, REPLY.citations[0].verdict)
    assert Answer.model_validate_json(first["reply"]) == REPLY and first["error"] is None
    assert (second["id"], second["answer"], second["reply"], second["error"]) == ("b ?", None, None, "it is wrong")


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.parquet"])
def test_a_file_that_is_not_whole_is_not_there(tmp_path, name):
    def broken():
        yield LINES[0]
        raise OSError("the disk is gone")

    (tmp_path / name).write_text("before")
    with pytest.raises(OSError, match="the disk is gone"):
        write_rows(broken(), tmp_path / name)
    assert (tmp_path / name).read_text() == "before" and len(list(tmp_path.iterdir())) == 1
