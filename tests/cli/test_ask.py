"""What `rag-ft ask` makes of stdin and of a conversation; with the real models in test_commands.py."""

import gc
import json

import pytest
from rich.console import Console

from rag_ft.answering.bulk.questions import line_object
from rag_ft.answering.pipeline import _asked as inputs_of
from rag_ft.cli.ask import NEW_SUBJECT, _answer_lines, _converse
from rag_ft.cli.pipeline import _beside, _without_collecting
from rag_ft.errors import RagFtError, UsageError
from rag_ft.schema import Answer
from rag_ft.serving.http.openapi import ANSWER


class Recording:
    """A pipeline that remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.reader = self
        self.threshold = 0.0

    def ask(self, question, *, history=()):
        if question == "fail":
            raise UsageError("it failed")
        self.asked.append((question, list(history)))
        return Answer.model_validate({**ANSWER, "question": question, "history": tuple(history)})

    def batch(self, inputs, return_exceptions):
        answers = []
        for value in inputs:
            try:
                given = inputs_of([value])
                answers.append(self.ask(given["questions"][0], history=given["histories"][0]))
            except RagFtError as error:
                answers.append(error)
        return answers


@pytest.fixture
def converse(monkeypatch):
    def with_lines(*lines, after=()):
        typed = iter(lines)
        monkeypatch.setattr(Console, "input", lambda self, prompt: next(typed))
        pipeline = Recording()
        assert _converse(pipeline, after) == 0
        return pipeline.asked

    return with_lines


def test_each_question_of_a_conversation_follows_up_those_before(converse, capsys):
    assert converse("one", "two", "") == [("one", []), ("two", ["one"])]
    assert NEW_SUBJECT in capsys.readouterr().out


def test_a_line_begins_a_new_subject_and_a_question_that_failed_is_not_followed_up(converse, capsys):
    assert converse("one", "fail", "two", NEW_SUBJECT, "three", "") == [("one", []), ("two", ["one"]), ("three", [])]
    assert "error: it failed" in capsys.readouterr().out


def test_a_conversation_may_begin_after_a_question(converse):
    assert converse("two", "", after=["one"]) == [("two", ["one"])]


def test_a_line_is_a_question_or_an_object_with_history(capsys):
    pipeline = Recording()
    lines = [
        "one\n",
        '{"question": "two", "history": ["one"]}\n',
        "{curly} braces?\n",
        '{"question": 7}\n',
        '{"question": "three", "history": "one"}\n',
    ]
    assert _answer_lines(pipeline, lines) == 1
    first, second, third, *failures = map(json.loads, capsys.readouterr().out.splitlines())
    assert [first["question"], second["question"], third["question"]] == ["one", "two", "{curly} braces?"]
    assert first["history"] == [] and second["history"] == ["one"]
    (failure,) = [line for line in failures if "error" in line]
    assert failure["question"] == "7" and "takes a question" in failure["error"]


def test_json_without_an_object_is_a_question():
    assert line_object('["one"]') is None
    assert line_object('{"question": "x"') is None
    assert line_object('{"question": "x"}') == {"question": "x"}


def test_loading_leaves_the_garbage_collector_as_it_was():
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), _without_collecting():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()


def test_what_is_loaded_beside_has_ended_and_its_error_is_left_to_the_first_use():
    done = []
    with _beside(lambda: done.append(1)), _beside(lambda: 1 / 0):
        pass
    assert done == [1]
