"""`rag-ft data next` with a tiny model; what is picked is tested with the picking."""

import json

import pytest
from commands import run_main
from data import little_world, write_little_world
from fakes import HashingEmbedder

from rag_ft.indexing import embedding
from rag_ft.indexing.building import sentinels
from rag_ft.indexing.index import Index
from rag_ft.questions.records import check_evidence, read_questions


@pytest.fixture
def pick(tmp_path, monkeypatch, tiny_llama_dir):
    write_little_world(tmp_path)
    embedder = HashingEmbedder()
    Index.build(little_world()[0], tmp_path / "index", embedder=embedder, progress=False)
    for module in (embedding, sentinels):
        monkeypatch.setattr(module, "load_named_embedder", lambda name: embedder)
    (tmp_path / "questions.txt").write_text("How high is the tower of Oslo?\n\nWho built the tower of Lima?\n")

    def run(source, *options):
        where = ("--index", tmp_path / "index", "--reader", tiny_llama_dir)
        return run_main("data", "next", tmp_path / source, *where, *options)

    return run


def test_lines_of_a_text_become_records_to_review(pick, tmp_path):
    done = pick("questions.txt", "-o", tmp_path / "next.jsonl")
    assert done.returncode == 0, done.stderr
    records = read_questions(tmp_path / "next.jsonl")
    assert {record.id for record in records} == {"questions-1", "questions-3"}
    assert {record.origin for record in records} == {"made"} and check_evidence(records, little_world()[0]) == []
    assert "How high is the tower of Oslo?  (questions-1)" in done.stdout and "threshold 0.50" in done.stdout


def test_records_are_picked_as_they_are(pick, tmp_path):
    done = pick("qa.jsonl", "-n", 4, "--labelled", tmp_path / "qa.jsonl", "--json", "-o", tmp_path / "next.jsonl")
    picked = [row["id"] for row in json.loads(done.stdout)]
    assert len(picked) == 4
    by_id = {record.id: record for record in read_questions(tmp_path / "qa.jsonl")}
    assert read_questions(tmp_path / "next.jsonl") == [by_id[name] for name in picked]


def test_wrong_calls_are_one_sentence(pick, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes(b"\xff?")
    for source, options, message in (
        ("empty.txt", (), "holds no question"),
        ("latin.txt", (), "not UTF-8"),
        ("none.txt", (), "cannot be read"),
        ("questions.txt", ("-o", tmp_path / "qa.jsonl"), "already exists"),
    ):
        done = pick(source, *options)
        assert done.returncode == 2 and message in done.stderr, done.stderr
