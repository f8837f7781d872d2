"""`rag-ft ask --questions`: with a reader that follows a script, at a server, and on a Ray cluster."""

import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import ChatServer
from commands import run_main
from scripted_reader import scripted_pipeline

from rag_ft.cli.pipeline import PipelineChoice
from rag_ft.schema import Answer

GOOD = '{"answer": null, "citations": []}'


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text("What is rule 1?\n\nWhat was declined?\n")
    return path


@pytest.fixture
def scripted(world, monkeypatch):
    """The command with a scripted reader; the choices that it made."""
    choices = []

    def load(choice):
        choices.append(choice)
        return scripted_pipeline(world[0].path)

    monkeypatch.setattr(PipelineChoice, "load", load)
    return choices


def test_a_file_is_answered_and_counted(scripted, questions, tmp_path):
    output = tmp_path / "answers.jsonl"
    done = run_main("ask", "--index", "i", "--questions", questions, "-o", output, "-k", 2, "--threshold", 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["answered    1 of 2 questions", "null        1"]
    assert "questions: 2 of 2" in done.stderr
    assert [json.loads(line)["id"] for line in output.read_text().splitlines()] == ["1", "3"]
    (choice,) = scripted
    assert choice.options.k == 2 and choice.options.threshold == 0 and choice.index.is_absolute()
    as_json = run_main("ask", "--index", "i", "--questions", questions, "-o", tmp_path / "again.jsonl", "--json")
    counts = json.loads(as_json.stdout)
    assert (counts["answered"], counts["declined"], counts["output"]) == (1, 1, str(tmp_path / "again.jsonl"))


@pytest.mark.parametrize("index", ["lancedb:lance#docs", "postgresql://user@host/team#docs"])
def test_an_index_in_a_database_is_asked_too(scripted, questions, tmp_path, index):
    done = run_main("ask", "--index", index, "--questions", questions, "-o", tmp_path / "answers.jsonl")
    assert done.returncode == 0, done.stderr
    (choice,) = scripted
    folder = f"lancedb:{Path.cwd() / 'lance'}#docs"
    assert choice.index == (folder if index.startswith("lancedb") else index)


def test_a_row_with_an_error_is_counted_and_the_exit_status_says_so(scripted, questions, tmp_path):
    questions.write_text('What is rule 1?\n{"question": 7}\n')
    done = run_main("ask", "--index", "i", "--questions", questions, "-o", tmp_path / "a.parquet")
    assert done.returncode == 1
    assert "errors      1: their rows have a field error" in done.stdout


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_wrong_file_is_said_before_anything_is_loaded(scripted, tmp_path, engine):
    options = ["--engine", engine, *(["--address", "127.0.0.1:1"] if engine == "ray" else [])]
    done = run_main("ask", "--index", "i", "--questions", tmp_path / "none.txt", "-o", tmp_path / "a.jsonl", *options)
    assert done.returncode == 1 and "there is no file" in done.stderr and scripted == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--questions", "q.txt"], "--questions needs a file for the answers: give one with --output"),
        (["-o", "a.jsonl"], "--output is for a file of questions: give it with --questions"),
        (["--engine", "ray"], "--engine ray is for a file of questions"),
        (["What?", "--overwrite"], "--overwrite is for a file of questions: give it with --questions"),
        (["What?", "--block", 5], "--block is for a file of questions: give it with --questions"),
        (
            ["--questions", "q.txt", "-o", "a.jsonl", "--engine", "ray", "--worker-gpus", -1],
            "gpus is -1 but must be 0 or more",
        ),
        (["--address", "h:1"], "--address is for a file of questions"),
        (["What?", "--questions", "q.txt", "-o", "a.jsonl"], "leave out the question and --after"),
        (["--after", "What?", "--questions", "q.txt", "-o", "a.jsonl"], "leave out the question and --after"),
        (
            ["--questions", "q.txt", "-o", "a.jsonl", "--workers", 2],
            "--workers is for --engine ray: add that, or leave it out",
        ),
        (["--questions", "q.txt", "-o", "a.csv"], "give a name that ends in .jsonl or .parquet"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(scripted, options, sentence):
    done = run_main("ask", "--index", "i", *options)
    assert done.returncode == 2 and sentence in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_remote_reader_takes_no_option_of_one_on_this_machine(world, monkeypatch):
    monkeypatch.setattr(PipelineChoice, "_index", lambda choice: world[0])
    wrong = {
        ("--threshold", "0.5"): "--threshold is for a reader on this machine, not at a server: leave it out",
        ("--reading", "joint"): "--reading is for a reader on this machine",
        ("--cross-encoder", "packaged"): "--cross-encoder is for a reader on this machine",
        ("--adapter", "tuned"): "--adapter is for a reader on this machine, not at a server: name the adapter as the",
        ("--mode", "free"): "a remote reader has only the modes quote and schema",
    }
    for options, sentence in wrong.items():
        done = run_main("ask", "What?", "--index", "i", "--reader", "http://127.0.0.1:1/v1", "--model", "m", *options)
        assert done.returncode == 2 and sentence in done.stderr, done.stderr
    done = run_main("ask", "What?", "--index", "i", "--model", "m")
    assert "--model names a model of a server: give its URL with --reader" in done.stderr
    done = run_main("ask", "What?", "--index", "i", "--reader", "http://127.0.0.1:1/v1")
    assert done.returncode == 1 and "the server at http://127.0.0.1:1/v1 gave no reply" in done.stderr


def test_one_question_is_answered_at_a_server(world, monkeypatch):
    monkeypatch.setattr(PipelineChoice, "_index", lambda choice: world[0])
    with ChatServer([GOOD]) as server:
        done = run_main("ask", "What is rule 1?", "--index", "i", "--reader", server.url, "--json")
    assert done.returncode == 0, done.stderr
    answer = Answer.model_validate_json(done.stdout)
    assert answer.abstained and answer.confidence == 0.5 and len(server.requests) == 1
    assert "untuned" not in done.stderr


def own_process(*arguments):
    """A command in a process of its own: Ray keeps what it was first told of clusters as long as the process lives."""
    command = [sys.executable, "-m", "rag_ft", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_gives_the_answers_of_this_process(handbook_index, tiny_llama_dir, tmp_path, monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray writes one into the home folder
    questions = tmp_path / "questions.jsonl"
    texts = ["What does gradient checkpointing cost?", "How does LoRA start?", "How large is a flat index?"]
    questions.write_text("".join(json.dumps({"id": f"q{i}", "question": text}) + "\n" for i, text in enumerate(texts)))
    command = ["ask", "--index", handbook_index, "--reader", tiny_llama_dir, "--threshold", 0, "--questions", questions]
    assert run_main(*command, "-o", tmp_path / "local.jsonl").returncode == 0
    done = own_process(*command, "-o", tmp_path / "ray.jsonl", "--engine", "ray", "--workers", 1, "--block", 2)
    assert done.returncode == 0, done.stderr
    files = [tmp_path / name for name in ("local.jsonl", "ray.jsonl")]
    local, ray = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    sure = [[row["reply"].pop("confidence") for row in rows] for rows in (local, ray)]
    assert sure[0] == pytest.approx(sure[1], abs=1e-3)  # a worker may compute with another number of threads
    for row in (*local, *ray):
        row["reply"]["usage"] = None
    assert local == ray and [row["id"] for row in ray] == ["q0", "q1", "q2"]
    missing = run_main(*command, "-o", tmp_path / "none.jsonl", "--engine", "ray", "--address", "127.0.0.1:1")
    assert missing.returncode == 1 and "no Ray cluster answers at 127.0.0.1:1" in missing.stderr
