"""`rag-ft data feedback`, and `rag-ft train --feedback`."""

import json
from pathlib import Path

import pytest
from commands import invoke
from data import little_world
from fakes import HashingEmbedder

from rag_ft.cli.train import _with_feedback
from rag_ft.errors import UsageError
from rag_ft.indexing.feedback import read_feedback
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions, write_questions
from rag_ft.schema import Document, Evidence


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = Index.build(little_world()[0], tmp_path / "index", embedder=HashingEmbedder(), progress=False)
    text = index.document("Oslo.txt").text
    for question, verdict, quote in (
        ("How high is it?", "right", "metres"),
        ("Who sold it?", "no_answer", "a guild of masons"),
        ("When was it sold?", "wrong", "1900"),
    ):
        start = text.index(quote) if quote in text else 0
        quote = text[start : start + len(quote)]
        index.add_feedback(
            question, verdict, Evidence(document_id="Oslo.txt", start=start, end=start + len(quote), quote=quote)
        )
    return index


def test_feedback_is_counted_and_written_as_records(index, tmp_path):
    output = tmp_path / "feedback.jsonl"
    done = invoke("data", "feedback", "--index", index.path, "-o", output)
    assert done.exit_code == 0, done.output
    assert "2 question records: 1 with an answer, 1 without" in done.output
    assert "1 kept apart: they say only that an answer is wrong" in " ".join(done.output.split())
    assert {record.origin for record in read_questions(output)} == {"feedback"}
    assert len(read_feedback(index)) == 3
    again = invoke("data", "feedback", "--index", index.path, "-o", output)  # replaces its own
    assert again.exit_code == 0
    entries = json.loads(invoke("data", "feedback", "--index", index.path, "--json").output)
    assert [entry["verdict"] for entry in entries] == ["right", "no_answer", "wrong"]


def test_clear_erases_what_was_written_and_needs_a_file(index, tmp_path):
    assert isinstance(invoke("data", "feedback", "--index", index.path, "--clear").exception, UsageError)
    assert len(read_feedback(index)) == 3
    done = invoke("data", "feedback", "--index", index.path, "-o", tmp_path / "kept.jsonl", "--clear")
    assert done.exit_code == 0, done.output
    assert read_feedback(index) == [] and len(read_questions(tmp_path / "kept.jsonl")) == 2
    assert "no feedback was given" in invoke("data", "feedback", "--index", index.path).output


def test_other_records_are_not_replaced(index, tmp_path):
    write_questions(little_world()[1], tmp_path / "qa.jsonl")
    before = (tmp_path / "qa.jsonl").read_bytes()
    done = invoke("data", "feedback", "--index", index.path, "-o", tmp_path / "qa.jsonl")
    assert isinstance(done.exception, UsageError) and "not replaced" in str(done.exception)
    assert (tmp_path / "qa.jsonl").read_bytes() == before


def test_prune_erases_what_quotes_words_that_are_gone(index):
    changed = Document(id="Oslo.txt", text="Nothing of that is left.", title="Oslo")
    index.add([changed], progress=False)
    shown = invoke("data", "feedback", "--index", index.path)
    assert "3 kept apart" in shown.output and len(read_feedback(index)) == 3
    assert invoke("data", "feedback", "--index", index.path, "--prune").exit_code == 0
    assert read_feedback(index) == []


def test_train_adds_the_feedback_once_even_where_it_was_exported(index, tmp_path):
    questions = little_world()[1]
    write_questions([*questions, index.feedback_questions().records[0]], tmp_path / "qa.jsonl")
    records = _with_feedback(tmp_path / "qa.jsonl", index)
    assert len(records) == len(questions) + 2
    assert sum(record.origin == "feedback" for record in records) == 2
