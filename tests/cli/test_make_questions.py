"""`rag-ft data make` with a scripted source and pipeline; what is made is tested with the maker."""

import json
import re
import sys

import pytest
from commands import run_main
from fakes import HashingEmbedder
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from scripted_questions import ScriptedPipeline, ScriptedSource, build

from rag_ft.indexing import embedding
from rag_ft.indexing.building import sentinels
from rag_ft.question_generation import make as maker
from rag_ft.questions.records import read_questions


def chat():
    return FakeListChatModel(responses=[json.dumps({"question": None})])


def scripted(monkeypatch, kind):
    """Put a scripted source and a pipeline of this kind in the place of the packaged generator and reader."""

    def defaults(index, source, pipeline, *, generator):
        return ScriptedSource() if generator else source, pipeline or kind(index)

    monkeypatch.setattr(maker, "_defaults", defaults)


@pytest.fixture
def make(tmp_path, monkeypatch):
    build(tmp_path / "index")
    embedder = HashingEmbedder()
    for module in (embedding, sentinels):
        monkeypatch.setattr(module, "load_named_embedder", lambda name: embedder)
    scripted(monkeypatch, ScriptedPipeline)
    monkeypatch.setitem(sys.modules, "my_chat", sys.modules[__name__])

    def run(*options, output="made.jsonl"):
        writer = () if "--model" in options or "--writer" in options else ("--writer", "generator")
        return run_main("data", "make", "--index", tmp_path / "index", tmp_path / output, *writer, *options)

    return run


def test_what_was_kept_and_rejected_and_what_to_do_next_is_printed(make, tmp_path):
    done = make("-n", 20)
    assert done.returncode == 0, done.stderr
    assert len(read_questions(tmp_path / "made.jsonl")) == 20
    lines = done.stdout.splitlines()
    assert lines[0] == "kept      20 records of 7 documents"
    assert {line.split()[-1] for line in lines[1:5]} == {"fact", "whether", "why", "unanswerable"}
    assert any(line.startswith("rejected  ") and "questions" in line for line in lines)
    assert any(line.endswith("declined") and "%" in line for line in lines)
    assert any("rag-ft data review" in line for line in lines) and "rag-ft train" in lines[-1]
    assert "questions: 16 of 16" in done.stderr


def test_documents_that_are_not_retrieved_are_named(make, monkeypatch, tmp_path):
    class Misses(ScriptedPipeline):
        def _answer(self, question):
            city = "Oslo" if "Lima" in question else "Lima"
            return super()._answer(question) if "Lima" not in question else super()._answer(f"How long is {city}?")

    scripted(monkeypatch, Misses)
    done = make("-n", 20)
    lines = done.stdout.splitlines()
    i = lines.index("not retrieved most often, so look at these documents")
    assert lines[i + 1].split()[1] == "Lima.txt"


def test_a_second_call_does_not_replace_the_first_unasked(make, tmp_path):
    assert make("-n", 6).returncode == 0
    before = (tmp_path / "made.jsonl").read_bytes()
    done = make("-n", 8)
    assert done.returncode == 2 and "already exists" in done.stderr
    assert (tmp_path / "made.jsonl").read_bytes() == before
    assert make("-n", 8, "--overwrite").returncode == 0
    assert len(read_questions(tmp_path / "made.jsonl")) == 8


def test_a_chat_model_is_told_what_it_will_be_asked_before(make):
    done = make("-n", 10, "--model", "my_chat:chat")
    assert "my_chat:chat: about 16 calls if half of the questions are kept (at least 8, at most 192)" in done.stderr
    assert "give the model's prices per million tokens: --prompt-million and --completion-million" in done.stderr
    assert "cost" not in done.stderr.partition("for the price")[0]
    assert done.returncode == 1 and "'the model found nothing to ask'" in done.stderr


def test_prices_give_what_a_chat_model_will_cost_before_it_is_asked(make):
    prices = ("--prompt-million", 1000, "--completion-million", 0, "--currency", "EUR")
    lines = " ".join(make("-n", 10, "--model", "my_chat:chat", *prices).stderr.split())
    tokens = int(re.search(r"some ([\d,]+) prompt tokens", lines)[1].replace(",", ""))
    assert f"which cost about {tokens / 1000:.2f} EUR (at least {tokens / 2000:.2f}, at most" in lines
    assert "for the price" not in lines
    assert lines.index("which cost") < lines.index("no question was kept")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompt-million", 1, "--completion-million", 1), "are prices of a chat model: give --model NAME"),
        (("--model", "my_chat:chat", "--prompt-million", 1), "--completion-million is missing beside the other"),
        (("--model", "my_chat:chat", "--prompt-million", -1, "--completion-million", 1), "--prompt-million is -1.0"),
        (("--model", "my_chat:chat", "--prompt-million", 1, "--completion-million", "inf"), "must be 0 or more"),
        (("--url", "http://127.0.0.1:1/v1"), "give --model NAME"),
        (("--model", "gpt"), "has no server"),
        (("-n", 0), "count is 0"),
        (("--unanswerable", 2), "unanswerable is 2.0"),
    ],
)
def test_wrong_calls_are_one_sentence(make, tmp_path, options, message):
    done = make(*options)
    assert done.returncode == 2 and message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
