"""Questions of a file answered once each, whatever happens in between."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time

import pytest
from scripted_reader import TOO_LONG, ScriptedReader, rows_of, scripted_pipeline
from small_indexes import CHUNKING, DOCUMENTS, sharded

from rag_ft.answering.bulk import run as bulk_run
from rag_ft.answering.bulk.blocks import LocalEngine
from rag_ft.answering.bulk.run import answer_questions
from rag_ft.answering.bulk.work import BulkWork
from rag_ft.errors import DatasetError, IndexCorruptError, UsageError
from rag_ft.schema import Answer

QUESTIONS = 90
BLOCK = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory, world):
    index, _ = world
    return index.path


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    lines = [{"id": f"q{i}", "question": f"What is rule {i % 7} of topic {i % 11}?"} for i in range(QUESTIONS)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_question_has_its_row_in_the_order_of_the_file(folder, questions, tmp_path):
    seen = []
    output = tmp_path / "answers.jsonl"
    report = answer_questions(questions, output, scripted_pipeline(folder), block=BLOCK, on_progress=seen.append)
    rows = rows_of(output)
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(QUESTIONS)]
    replies = [Answer.model_validate(json.loads(line)["reply"]) for line in output.read_text().splitlines()]
    assert all(reply.answer and reply.citations[0].verdict == "supported" for reply in replies)
    assert (report.questions, report.answered, report.failed, report.done_before) == (QUESTIONS, QUESTIONS, 0, 0)
    assert [(progress.done, progress.total) for progress in seen] == [(done, 90) for done in (0, 20, 40, 60, 80, 90)]
    assert seen[1].seconds_left > 0 and not seen[-1].seconds_left
    assert not (tmp_path / "answers.jsonl.partial").exists()


def test_the_answers_are_those_of_asking_each_question_alone(folder, questions, tmp_path):
    pipeline = scripted_pipeline(folder)
    answer_questions(questions, tmp_path / "answers.jsonl", pipeline, block=BLOCK)
    for row in rows_of(tmp_path / "answers.jsonl"):
        alone = json.loads(pipeline.ask(row["question"]).model_dump_json())
        for name in ("retrieve_seconds", "read_seconds", "verify_seconds"):
            alone["usage"].pop(name)
        assert row["reply"] == alone


def test_questions_with_common_passages_are_read_together(folder, tmp_path):
    path = tmp_path / "questions.txt"
    kinds = ["harbour lighthouse", "tide noon", "ferry monday", "market fish"]
    path.write_text("".join(f"What of {kinds[i % 4]}?\n" for i in range(64)))
    reader = ScriptedReader()
    pipeline = scripted_pipeline(folder)
    pipeline.reader = reader
    answer_questions(path, tmp_path / "sorted.jsonl", pipeline, block=64)
    assert all(len(set(batch)) <= 2 for batch in reader.batches)
    reader.batches.clear()
    answer_questions(path, tmp_path / "unsorted.jsonl", LocalEngine(pipeline, in_order=True), block=64)
    assert all(len(set(batch)) == 4 for batch in reader.batches)
    assert rows_of(tmp_path / "sorted.jsonl") == rows_of(tmp_path / "unsorted.jsonl")


def test_what_is_wrong_with_one_question_is_its_row_and_not_the_end(folder, tmp_path):
    path = tmp_path / "questions.jsonl"
    lines = [
        b'{"id": "good", "question": "What is rule 1?"}',
        b'{"id": "empty", "question": "  "}',
        b"{broken",
        b'{"id": "number", "question": 7}',
        b'{"id": ["list"], "question": "What?"}',
        b'{"id": "history", "question": "And?", "history": "before"}',
        b'{"id": "latin", "question": "caf\xe9"}',
        b'{"id": "half", "question": "\\ud800?"}',
        b'{"id": "long", "question": "' + TOO_LONG.encode() + b'"}',
        b'{"id": "huge", "question": "' + b"x" * 1_100_000 + b'"}',
        b"",
        b'{"id": "last", "question": "And rule 2?", "history": ["What is rule 1?"]}',
    ]
    path.write_bytes(b"\n".join(lines))
    report = answer_questions(path, tmp_path / "answers.jsonl", scripted_pipeline(folder))
    rows = {row["id"]: row for row in rows_of(tmp_path / "answers.jsonl")}
    assert list(rows) == ["good", "empty", "3", "number", "5", "history", "7", "half", "long", "10", "last"]
    wrong = {name: row["error"] for name, row in rows.items() if "error" in row}
    assert report.failed == len(wrong) == 9 and report.answered == 2
    assert wrong == {
        "empty": "the question is empty: ask something",
        "3": "line 3 is not a JSON object: give {'question': ...}",
        "number": "its field 'question' is missing or not text",
        "5": "the id of line 5 is neither text nor a whole number",
        "history": "history is text: give a list of the conversation's earlier questions, oldest first",
        "7": "line 7 is not UTF-8 at its byte 33: save the file as UTF-8",
        "half": "the question has half of a surrogate pair at character 0: send valid Unicode",
        "long": "the question has 9,999 tokens and the prompt has room for 9: shorten it",
        "10": "line 10 is longer than 1,000,000 bytes: shorten it",
    }
    assert rows["last"]["reply"]["history"] == ["What is rule 1?"]


def test_what_is_wrong_with_the_index_ends_the_run_which_resumes(folder, questions, tmp_path, monkeypatch):
    pipeline, output = scripted_pipeline(folder), tmp_path / "answers.jsonl"
    read, calls = type(pipeline).read_batch, iter(range(100))

    def damaged(self, *given, **options):
        if next(calls) == 3:
            raise IndexCorruptError("a file of the index is damaged: build it again")
        return read(self, *given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(pipeline), "read_batch", damaged)
        with pytest.raises(IndexCorruptError):
            answer_questions(questions, output, pipeline, block=BLOCK)
    assert not output.exists()
    pipeline.reader.batches.clear()
    report = answer_questions(questions, output, pipeline, block=BLOCK)
    assert report.done_before == 20 and len(rows_of(output)) == QUESTIONS
    assert sum(map(len, pipeline.reader.batches)) == QUESTIONS - 20


class Killed(BaseException):
    """Stands for the end of the process."""


def unfinished(questions, output, pipeline, monkeypatch, **options):
    """A run that answers all questions, and is killed before it writes them."""
    with monkeypatch.context() as patched:
        patched.setattr(bulk_run, "write_rows", lambda lines, path: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            answer_questions(questions, output, pipeline, block=BLOCK, **options)


PLACES = [
    *((BulkWork, "keep", call) for call in range(10)),
    *((ScriptedReader, "read_batch", call) for call in (0, 1, 5)),
    *((bulk_run, "write_rows", call) for call in (0, 1)),
    *((BulkWork, "clear", call) for call in (0, 1)),
    (BulkWork, "claim", 1),
]


@pytest.mark.parametrize(("owner", "name", "call"), PLACES)
def test_a_run_killed_at_any_place_ends_with_the_rows_of_one_that_was_not(
    folder, questions, tmp_path, monkeypatch, owner, name, call
):
    calls, function = iter(range(1000)), getattr(owner, name)

    def killed(*given, **options):
        number = next(calls)
        if 2 * number == call:
            raise Killed
        result = function(*given, **options)
        if 2 * number + 1 == call:
            raise Killed
        return result

    output = tmp_path / "answers.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, killed)
        with pytest.raises(Killed):
            answer_questions(questions, output, scripted_pipeline(folder), block=BLOCK)
    if output.exists():  # it was whole before the end
        assert name in ("write_rows", "clear")
        with pytest.raises(UsageError, match="already exists"):
            answer_questions(questions, output, scripted_pipeline(folder), block=BLOCK)
    answer_questions(questions, output, scripted_pipeline(folder), block=BLOCK, overwrite=True)
    answer_questions(questions, tmp_path / "whole.jsonl", scripted_pipeline(folder), block=BLOCK)
    assert rows_of(output) == rows_of(tmp_path / "whole.jsonl")
    assert {path.name for path in tmp_path.iterdir()} == {"questions.jsonl", "answers.jsonl", "whole.jsonl"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_killed_25_times_by_the_system_nothing_is_lost_and_nothing_twice(folder, questions, tmp_path):
    context = multiprocessing.get_context("fork")
    output, log = tmp_path / "answers.jsonl", tmp_path / "log.txt"
    pipeline = scripted_pipeline(folder, 0.005, log)
    answer_questions(questions, tmp_path / "whole.jsonl", scripted_pipeline(folder), block=3)
    chance, kills = random.Random(0), 0
    while kills < 25:
        process = context.Process(target=answer_questions, args=(questions, output, pipeline), kwargs={"block": 3})
        process.start()
        time.sleep(chance.uniform(0.005, 0.08))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if output.exists():
            assert rows_of(output) == rows_of(tmp_path / "whole.jsonl")
            output.unlink()
    answer_questions(questions, output, pipeline, block=3)
    assert rows_of(output) == rows_of(tmp_path / "whole.jsonl")


def test_no_block_is_read_again_once_it_is_kept(folder, questions, tmp_path, monkeypatch):
    log = tmp_path / "log.txt"
    unfinished(questions, tmp_path / "a.jsonl", scripted_pipeline(folder, log=log), monkeypatch)
    assert len(log.read_text().splitlines()) == QUESTIONS
    report = answer_questions(questions, tmp_path / "a.jsonl", scripted_pipeline(folder, log=log), block=BLOCK)
    assert len(log.read_text().splitlines()) == QUESTIONS and report.done_before == QUESTIONS


def test_an_unfinished_run_with_other_settings_is_named_and_overwritten_on_request(
    folder, questions, tmp_path, monkeypatch
):
    output = tmp_path / "answers.jsonl"
    unfinished(questions, output, scripted_pipeline(folder), monkeypatch)
    with pytest.raises(
        DatasetError, match=r"an unfinished run with other settings \(block was 20 and is now 7\): repeat its command"
    ):
        answer_questions(questions, output, scripted_pipeline(folder), block=7)
    with pytest.raises(DatasetError, match=r"other settings \(pipeline was"):
        answer_questions(questions, output, scripted_pipeline(folder, k=2), block=BLOCK)
    questions.write_text(questions.read_text() + '{"id": "more", "question": "More?"}\n')
    with pytest.raises(DatasetError, match=r"other settings \(questions was"):
        answer_questions(questions, output, scripted_pipeline(folder), block=BLOCK)
    report = answer_questions(questions, output, scripted_pipeline(folder), block=BLOCK, overwrite=True)
    assert (report.questions, report.done_before) == (QUESTIONS + 1, 0)


def test_a_run_that_overwrites_resumes_with_the_same_command(folder, questions, tmp_path, monkeypatch):
    output, pipeline = tmp_path / "answers.jsonl", scripted_pipeline(folder)
    output.write_text("of another run")
    unfinished(questions, output, pipeline, monkeypatch, overwrite=True)
    assert output.read_text() == "of another run"
    report = answer_questions(questions, output, pipeline, block=BLOCK, overwrite=True)
    assert report.done_before == QUESTIONS and len(rows_of(output)) == QUESTIONS


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "lists", "objects", "blank"])
def test_a_damaged_block_is_named_and_answered_again_once_it_is_removed(
    folder, questions, tmp_path, monkeypatch, damage
):
    output, pipeline = tmp_path / "answers.jsonl", scripted_pipeline(folder)
    unfinished(questions, output, pipeline, monkeypatch)
    blocks = tmp_path / "answers.jsonl.partial" / "blocks"
    block = blocks / "00000001.jsonl"
    whole = block.read_text()
    damaged = {
        "cut": whole[:-40],
        "empty": "",
        "longer": whole + whole.splitlines(keepends=True)[0],
        "lists": "[]\n" * BLOCK,
        "objects": '{"reply": {}}\n' * BLOCK,
        "blank": whole + "\n",
    }
    block.write_text(damaged[damage])
    with pytest.raises(DatasetError, match=r"00000001\.jsonl is damaged: remove it and run the same command again"):
        answer_questions(questions, output, pipeline, block=BLOCK)
    assert not output.exists()
    block.unlink()
    (blocks / "00000099.jsonl").write_text("of nobody")
    report = answer_questions(questions, output, pipeline, block=BLOCK)
    assert report.done_before == QUESTIONS - BLOCK and len(rows_of(output)) == QUESTIONS


def test_answers_that_lack_a_shard_are_counted(tmp_path, questions):
    sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)
    shutil.rmtree(tmp_path / "all" / "shard0")
    report = answer_questions(questions, tmp_path / "answers.jsonl", scripted_pipeline(tmp_path / "all"))
    assert report.searched_in_part == QUESTIONS - report.failed > 0


def test_a_second_process_is_refused(folder, questions, tmp_path):
    class Nested(ScriptedReader):
        def read_batch(self, requests):
            with pytest.raises(UsageError, match="another process is writing"):
                answer_questions(questions, tmp_path / "answers.jsonl", pipeline, block=BLOCK)
            return super().read_batch(requests)

    pipeline = scripted_pipeline(folder)
    pipeline.reader = Nested()
    answer_questions(questions, tmp_path / "answers.jsonl", pipeline, block=BLOCK)


def test_wrong_calls_get_one_sentence(folder, questions, tmp_path):
    pipeline = scripted_pipeline(folder)
    (tmp_path / "there.jsonl").write_text("")
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "twice.jsonl").write_text('{"id": 2, "question": "a?"}\n{"question": "b?"}\n')
    (tmp_path / "no.parquet").write_text("no")
    wrong = {
        (questions, "a.csv"): "give a name that ends in .jsonl or .parquet",
        (questions, "there.jsonl"): "already exists: choose another path, or overwrite it",
        (questions, "no/a.jsonl"): "give the path of a file in a folder that exists",
        (tmp_path / "none.txt", "a.jsonl"): "there is no file",
        (tmp_path / "blank.txt", "a.jsonl"): "holds no question",
        (tmp_path / "twice.jsonl", "a.jsonl"): "holds the question id '2' twice: make the ids unique",
        (tmp_path / "no.parquet", "a.jsonl"): "is not a readable Parquet file",
    }
    for (source, name), sentence in wrong.items():
        with pytest.raises((DatasetError, UsageError), match=sentence):
            answer_questions(source, tmp_path / name, pipeline)
    with pytest.raises(UsageError, match="written over the questions"):
        answer_questions(questions, questions, pipeline, overwrite=True)
    with pytest.raises(UsageError, match="block is 0"):
        answer_questions(questions, tmp_path / "a.jsonl", pipeline, block=0)
    assert not (tmp_path / "a.jsonl").exists() and not (tmp_path / "a.jsonl.partial").exists()


def test_a_folder_in_the_way_is_not_touched(folder, questions, tmp_path):
    (tmp_path / "a.jsonl.partial").write_text("mine")
    with pytest.raises(UsageError, match="in the way of the unfinished work"):
        answer_questions(questions, tmp_path / "a.jsonl", scripted_pipeline(folder))
    assert (tmp_path / "a.jsonl.partial").read_text() == "mine"
