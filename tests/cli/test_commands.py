import json
import re
import subprocess
import sys

import pytest
from commands import run_main as run

from rag_ft.cli.options import parse_where
from rag_ft.errors import UsageError
from rag_ft.indexing.index import Index


def fails(done, code: int, *says: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    for part in says:
        assert part in errors[0]


def test_the_command_is_a_process_with_an_exit_code_and_an_error_of_one_sentence(tmp_path):
    """All other tests call it in their own process."""
    command = [sys.executable, "-m", "rag_ft", "index", "info", str(tmp_path / "none")]
    fails(subprocess.run(command, capture_output=True, text=True, timeout=280), 1, "no index")


def test_help_and_version():
    assert "rag-ft" in run("--version").stdout
    for command in ([], ["index", "build"], ["index", "remove"], ["ask"], ["demo"], ["why"], ["models"]):
        done = run(*command, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["index", "build", "no/such/folder", "{tmp}/i"], 1, "there is nothing at no/such/folder"),
        (["index", "build", "{tmp}/empty", "{tmp}/i"], 1, "holds no document"),
        (["index", "build", "{tmp}/empty", "{tmp}/i", "--max-tokens", "2"], 2, "--max-tokens is 2"),
        (["index", "build", "{tmp}/empty", "{tmp}/i", "--max-chars", "0"], 2, "max_chars is 0"),
        (["index", "info", "{tmp}/none"], 1, "no index"),
        (["index", "build", "{tmp}/empty", "{tmp}/i", "--kind", "best"], 2, "best"),
        (["ask", "Q?", "--index", "{tmp}/none"], 1, "no index"),
        (["ask", "Q?"], 2, "--index"),
        (["why", "{tmp}/none.json"], 2, "cannot be read"),
        (["why", "-"], 2, "not one answer's JSON"),
        (["nonsense"], 2, "nonsense"),
        (["ask", "Q?", "--index", "{tmp}/none", "--retrieval", "foo"], 2, "'--retrieval': 'foo' is not one of"),
    ],
)
def test_wrong_calls_are_one_sentence(tmp_path, arguments, code, says):
    (tmp_path / "empty").mkdir()
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    fails(run(*filled, RAG_FT_HOME=str(tmp_path / "home")), code, says)
    assert not (tmp_path / "i" / "manifest.json").exists()


def test_of_several_processes_the_first_speaks_and_the_others_only_say_what_ended_them(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("rag_ft.cli._PATIENCE_SECONDS", 0)
    first = run("index", "info", tmp_path, WORLD_SIZE="2", RANK="0")
    assert first.stderr.startswith("error: ") and not capfd.readouterr().err
    second = run("index", "info", tmp_path, WORLD_SIZE="2", RANK="1")
    assert second.returncode == first.returncode and not second.stderr
    assert capfd.readouterr().err == first.stderr.replace("error: ", "error: process 1: ")
    assert not run("plan", "--help", WORLD_SIZE="2", RANK="1").stdout


def test_debug_shows_the_traceback(tmp_path):
    done = run("--debug", "index", "info", tmp_path)
    assert "Traceback" in done.stderr and done.returncode == 1


def test_where_pairs_become_a_filter():
    assert parse_where(["topic=a", "topic=b", "year=3", "old=true", "x=1a"]) == {
        "topic": ["a", "b"],
        "year": ["3", 3],
        "old": ["true", True],
        "x": "1a",
    }
    assert parse_where([]) is None
    with pytest.raises(UsageError):
        parse_where(["topic"])


def test_models_lists_weights_and_the_plan_without_fetching(tmp_path):
    done = run("models", RAG_FT_HOME=str(tmp_path))
    assert done.returncode == 0
    for part in ("all-MiniLM-L6-v2", "MIT", "not fetched yet", "This machine", "compute type", "threads", "Embedding"):
        assert part in done.stdout
    listed = json.loads(run("models", "--json", RAG_FT_HOME=str(tmp_path)).stdout)
    assert [weights["kind"] for weights in listed["weights"]] == [
        *("embedder", "reader", "adapter", "question generator", "cross-encoder")
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"checksums.json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    (folder / "kenya.md").write_text(
        "# Mount Kenya\n\nBatian, the highest peak of Mount Kenya, is 5,199 metres high.\n"
    )
    (folder / "basalt.txt").write_text("Basalt is a dark volcanic rock. It forms when lava cools quickly.\n")
    (folder / "broken.pdf").write_text("no pdf")
    return folder


@pytest.fixture(scope="module")
def index(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "i"
    done = run("index", "build", folder, path)
    assert done.returncode == 1  # one file could not be read
    assert "not read:" in done.stderr and "broken.pdf" in done.stderr
    assert "2 documents" in done.stdout
    return path


@pytest.mark.slow
def test_a_folder_is_built_asked_and_explained(index, folder):
    done = run("ask", "How high is Batian?", "--index", index, "--threshold", "0", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    (citation,) = answer["citations"]
    assert citation["verdict"] == "supported" and citation["source"].endswith((".md", ".txt"))
    why = run("why", "-", stdin=done.stdout)
    assert why.returncode == 0, why.stdout
    assert "the quote stands there" in why.stdout and "is what was indexed" in why.stdout
    shown = run("ask", "How high is Batian?", "--index", index, "--threshold", "0")
    assert "supported" in shown.stdout and "confidence" in shown.stdout


def test_why_names_what_it_opens_and_never_a_model_that_the_answer_names(tmp_path):
    from rag_ft.serving.http.openapi import ANSWER

    (tmp_path / "notes.txt").write_text("It costs one more forward pass.")
    answer = json.loads(json.dumps(ANSWER))
    answer["provenance"] |= {"index_path": str(tmp_path / "elsewhere"), "base_model": str(tmp_path / "model")}
    answer["citations"][0]["source"] = str(tmp_path / "notes.txt")
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    done = run("why", tmp_path / "answer.json", "--reader", tmp_path / "none")
    read = [line for line in done.stderr.splitlines() if line.startswith("reading ")]
    assert read == [f"reading {tmp_path / 'elsewhere'}", f"reading {tmp_path / 'notes.txt'}"]
    assert str(tmp_path / "model") not in done.stdout + done.stderr
    done = run("why", tmp_path / "answer.json", "--index", tmp_path / "mine", "--reader", tmp_path / "none")
    assert f"reading {tmp_path / 'mine'}" in done.stderr and "elsewhere" not in done.stdout + done.stderr


@pytest.mark.slow
def test_null_from_an_untuned_reader_comes_with_a_hint(index):
    done = run("ask", "Who was the first king of France?", "--index", index, "--adapter", "none")
    assert "no answer in the passages" in done.stdout and "--threshold 0" in done.stderr
    done = run("ask", "Who was the first king of France?", "--index", index, "--threshold", "1")
    assert "no answer" in done.stdout and "--threshold" not in done.stderr


@pytest.mark.slow
def test_questions_from_stdin_give_a_json_line_each_also_for_bad_ones(index):
    done = run("ask", "--index", index, stdin="How high is Batian?\n\n" + "why " * 25_000 + "\nWhat is basalt?\n")
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 1
    assert (first["question"], third["question"]) == ("How high is Batian?", "What is basalt?")
    assert "tokens" in second["error"] and "\n" not in second["error"]


@pytest.mark.slow
def test_bad_questions_are_one_sentence(index):
    fails(run("ask", "  ", "--index", index), 2, "empty")
    fails(run("ask", "Q?", "--index", index, "-k", "0"), 2, "k is 0")
    fails(run("ask", "why " * 25_000, "--index", index), 1, "tokens")
    fails(run("ask", "Q?", "--index", index, "--threshold", "3"), 2, "threshold is 3")


@pytest.mark.slow
def test_removal_is_shown_first_done_and_proved(folder, tmp_path):
    path = tmp_path / "i"
    run("index", "build", folder, path)
    dry = run("index", "remove", path, "basalt.txt", "--dry-run")
    assert "would be removed" in dry.stdout
    assert "2 documents" in run("index", "info", path).stdout
    assert run("index", "verify", path, "--absent", "basalt.txt").returncode == 1
    trained = Index.load(path).document_fingerprint("basalt.txt")[:16]
    adapter = tmp_path / "adapters" / "rocks"
    adapter.mkdir(parents=True)
    (adapter / "rag_ft.json").write_text(json.dumps({"data": {"document_fingerprints": [trained]}}))
    named = run("index", "remove", path, "kenya.md", "--dry-run", "--adapters", tmp_path / "adapters").stdout
    assert "recite" not in named
    shown = run("index", "remove", path, "basalt.txt", "--adapters", tmp_path / "adapters").stdout
    assert "basalt.txt removed" in shown and "may recite it" in shown
    proof = run("index", "verify", path, "--absent", folder / "basalt.txt")
    assert proof.returncode == 0 and "FAILED" not in proof.stdout
    fails(run("index", "remove", path, "basalt.txt"), 2, "has no document 'basalt.txt'", "index info --documents")
    assert "its file is still at" in shown and "would index it again" in shown
    assert "kenya.md" in run("index", "info", path, "--documents").stdout


@pytest.mark.slow
def test_square_brackets_in_names_are_text(tmp_path):
    folder = tmp_path / "d [x]"
    folder.mkdir()
    (folder / "plan [draft].md").write_text("The plan is to paint the fence green.")
    (folder / "b [bold].txt").write_text("The fence was built in 1990.")
    path = tmp_path / "i [z]"
    built = run("index", "build", folder, path)
    assert built.returncode == 0 and "[z]" in built.stdout and "plan [draft].md" in built.stderr
    listed = run("index", "info", path, "--documents").stdout
    assert "plan [draft].md" in listed and "b [bold].txt" in listed
    removed = run("index", "remove", path, "plan [draft].md")
    assert "plan [draft].md removed" in removed.stdout
    again = run("index", "add", folder / "b [bold].txt", path)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_one_file_indexed_twice_is_reported(tmp_path):
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "deep" / "leave.md").write_text("Leave is twenty-eight days a year.")
    (tmp_path / "docs" / "travel.md").write_text("Trains are booked in second class.")
    run("index", "build", tmp_path / "docs", tmp_path / "i")
    shown = run("index", "add", tmp_path / "docs" / "deep" / "leave.md", tmp_path / "i").stderr
    assert "from one file: deep/leave.md, leave.md" in shown


@pytest.mark.slow
def test_a_filter_that_nothing_matches_is_a_wrong_call(index):
    fails(
        run("ask", "Q?", "--index", index, "--where", "topic=nothing"),
        2,
        "no document",
        "matches topic=nothing: its fields are",
        "document_id, source, title",
    )


@pytest.mark.slow
def test_the_demo_answers_from_the_handbook_with_a_verified_citation():
    done = run("demo")
    assert done.returncode == 0, done.stderr
    assert "supported" in done.stdout
    assert re.search(r"index: \d+ pages", done.stderr)
    assert "\x1b[" not in done.stdout  # no colour where stdout is no terminal
