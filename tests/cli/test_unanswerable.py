"""`rag-ft data unanswerable`; what is made is tested with the maker."""

import pytest
from commands import run_main
from data import little_world, write_little_world
from fakes import HashingEmbedder

from rag_ft.indexing import embedding
from rag_ft.indexing.building import sentinels
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions


@pytest.fixture
def world(tmp_path, monkeypatch):
    write_little_world(tmp_path)
    embedder = HashingEmbedder()
    Index.build(little_world()[0], tmp_path / "index", embedder=embedder, progress=False)
    for module in (embedding, sentinels):
        monkeypatch.setattr(module, "load_named_embedder", lambda name: embedder)
    return tmp_path


def make(world, *options, output="null.jsonl", source="qa.jsonl"):
    words = ("data", "unanswerable", world / source, "--index", world / "index", "-o", world / output, *options)
    return run_main(*words)


def test_the_records_are_written_and_what_was_left_out_is_counted(world):
    done = make(world, "-n", 3)
    assert done.returncode == 0, done.stderr
    records = read_questions(world / "null.jsonl")
    assert len(records) == 3 and {record.origin for record in records} == {"made"}
    assert "made      3 records: 2 opposite, 1 near miss" in done.stdout and "left out" in done.stdout
    first = (world / "null.jsonl").read_bytes()
    assert make(world, "-n", 3, "--overwrite").returncode == 0 and (world / "null.jsonl").read_bytes() == first


def test_wrong_calls_change_nothing(world):
    before = (world / "qa.jsonl").read_bytes()
    for output, options, message in (
        ("qa.jsonl", ("--overwrite",), "made from"),
        ("null.jsonl", ("-n", 0), "--most is 0"),
        ("none/null.jsonl", (), "a folder that exists"),
    ):
        done = make(world, *options, output=output)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert (world / "qa.jsonl").read_bytes() == before and not (world / "null.jsonl").exists()


def test_records_that_give_none_are_an_error_that_says_why(world):
    lines = (world / "qa.jsonl").read_text().splitlines()
    (world / "one.jsonl").write_text(lines[2] + "\n")  # unanswerable itself
    done = make(world, source="one.jsonl")
    assert done.returncode == 1 and "no unanswerable record could be made" in done.stderr
    assert not (world / "null.jsonl").exists()
