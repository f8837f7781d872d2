"""Questions read from text, JSONL and Parquet."""

import tracemalloc

import pyarrow as pa
import pyarrow.parquet
import pytest

from rag_ft.answering.bulk.questions import BulkQuestion, read_blocks, read_bulk_questions, survey
from rag_ft.errors import DatasetError


def test_a_line_of_text_is_a_question_or_an_object_and_its_number_is_its_id(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n\n{curly} braces?\r\n" + b'{"id": "q", "question": "two", "history": ["one"]}')
    assert list(read_bulk_questions(path)) == [
        BulkQuestion("1", "one"),
        BulkQuestion("3", "{curly} braces?"),
        BulkQuestion("q", "two", ["one"]),
    ]


def test_parquet_gives_the_same_questions(tmp_path):
    path = tmp_path / "questions.parquet"
    columns = {"other": [1.5, 2.5, 3.5], "question": ["one", None, "three"], "history": [None, None, ["one"]]}
    pyarrow.parquet.write_table(pa.table({**columns, "id": [7.0, 8.0, None]}), path)
    assert list(read_bulk_questions(path)) == [
        BulkQuestion("7", "one"),
        BulkQuestion("8", "", problem="its field 'question' is missing or not text"),
        BulkQuestion("3", "three", ["one"]),
    ]
    pyarrow.parquet.write_table(pa.table({"question": ["one", "two"]}), path)
    assert [question.id for question in read_bulk_questions(path)] == ["1", "2"]
    pyarrow.parquet.write_table(pa.table({"text": ["one"]}), path)
    with pytest.raises(DatasetError, match="has no column 'question', only text"):
        survey(path)


def test_blocks_hold_all_questions_in_order(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("".join(f"{i}?\n" for i in range(10)))
    blocks = list(read_blocks(path, 4))
    assert [(block.number, len(block.questions)) for block in blocks] == [(0, 4), (1, 4), (2, 2)]
    assert [question.id for block in blocks for question in block.questions] == [str(i) for i in range(1, 11)]


def test_a_survey_changes_with_every_field(tmp_path):
    path, seen = tmp_path / "questions.jsonl", set()
    for line in ('{"question": "a"}', '{"id": "1", "question": "b"}', '{"question": "a", "history": ["b"]}', "{"):
        path.write_text(line)
        seen.add(survey(path).fingerprint)
    assert len(seen) == 4
    path.write_text('{"id": 1, "question": "a"}\n')
    fingerprint = survey(path).fingerprint
    path.write_text('\n{"question": "a", "id": "1", "tags": []}')
    assert survey(path).fingerprint == fingerprint


def test_ids_that_only_hash_alike_are_different(tmp_path, monkeypatch):
    path = tmp_path / "questions.txt"
    path.write_text("a?\nb?\n")
    monkeypatch.setattr("rag_ft.answering.bulk.questions._hash", lambda name: 1)
    assert survey(path).total == 2


def test_memory_does_not_grow_with_the_questions(tmp_path):
    path = tmp_path / "questions.txt"

    def peak(count):
        path.write_text("".join(f"What is the meaning of the number {i}?\n" for i in range(count)))
        tracemalloc.start()
        assert survey(path).total == count
        assert sum(len(block.questions) for block in read_blocks(path, 256)) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1000)  # imports
    assert peak(60_000) - peak(6_000) < 54_000 * 40
