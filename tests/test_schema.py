import datetime
import json
import re

import pytest
from pydantic import ValidationError

from rag_ft.schema import Document, Evidence, Question, json_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        ({1: (2, datetime.datetime(2024, 1, 2, 3, 4))}, {"1": [2, "2024-01-02T03:04:00"]}),
        (b"x", "b'x'"),
    ],
)
def test_any_value_of_front_matter_becomes_json(value, expected):
    assert json_value(value) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"question": "  ", "answers": ("a",)}, "blank text"),
        ({"answers": ("a", " ")}, "blank answer"),
        ({"answers": ("a",), "history": ("Who?", " ")}, "blank question in its history"),
        ({}, "answerable but has no accepted answer"),
        ({"answerable": False, "answers": ("a",)}, "unanswerable but has accepted answers"),
    ],
)
def test_a_question_whose_answers_contradict_it_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Question(id="q", **{"question": "Why?", **fields})


def test_evidence_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValidationError, match=re.escape("evidence in 'd' ends at 1, before its start at 2")):
        Evidence(document_id="d", start=2, end=1, quote="")


def test_records_are_immutable_and_refuse_unknown_fields():
    document = Document(id="d", text="x")
    with pytest.raises(ValidationError, match="frozen"):
        document.text = "y"
    with pytest.raises(ValidationError, match="extra"):
        Document(id="d", text="x", colour="red")


def test_a_question_without_history_is_written_as_before_there_were_any():
    question = Question(id="q", question="Why?", answers=("a",))
    assert "history" not in json.loads(question.model_dump_json())
    followed = question.model_copy(update={"history": ("Who?",)})
    assert Question.model_validate_json(followed.model_dump_json()) == followed


def test_a_record_of_a_person_is_written_without_an_origin():
    """Its fingerprint is that from before records had one."""
    written = Question(id="a", question="Q?", answers=("x",))
    assert "origin" not in written.model_dump() and "made_from" not in written.model_dump()
    made = written.model_copy(update={"origin": "made", "made_from": "b"})
    assert Question.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValidationError):
        Question(id="a", question="Q?", answers=("x",), origin="guessed")
