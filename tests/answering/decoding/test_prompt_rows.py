import math

import pytest
from tiny_reader import PASSAGES, QUESTIONS, null_probability, passage, tiny_reader

from rag_ft.answering.decoding.prompt_rows import PromptRow, PromptRows, best_row
from rag_ft.answering.prompt import Prompt
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import PromptTooLongError, UsageError


def rows_of(reader) -> PromptRows:
    return PromptRows(reader.prompts, reader.decoder, reader.budget, reader.mode)


def test_joint_reading_has_one_prompt_and_separate_reading_one_per_passage(loaded):
    rows = rows_of(tiny_reader(loaded))
    (joint,) = rows.of_request(ReadRequest(QUESTIONS[0], PASSAGES), "joint")
    assert joint.positions == (0, 1, 2) and joint.prompt.passages == PASSAGES
    separate = rows.of_request(ReadRequest(QUESTIONS[0], PASSAGES), "separate")
    assert [row.positions for row in separate] == [(0,), (1,), (2,)]
    for row in (joint, *separate):
        assert tuple(row.ids[: row.context]) == row.prompt.context
    assert [rows.of_request(ReadRequest(QUESTIONS[0], ()), reading) for reading in ("joint", "separate")] == [[], []]


def test_a_passage_that_does_not_fit_has_no_position(loaded):
    rows = rows_of(tiny_reader(loaded, max_prompt_tokens=400))
    passages = (PASSAGES[0], passage("word " * 400, "long"), PASSAGES[1])
    (joint,) = rows.of_request(ReadRequest("What?", passages), "joint")
    assert joint.positions == (0, 2)
    assert [row.positions for row in rows.of_request(ReadRequest("What?", passages), "separate")] == [(0,), (2,)]
    with pytest.raises(PromptTooLongError):
        rows.of_request(ReadRequest("What?", passages[1:2]), "separate")


def test_a_request_with_a_wrong_threshold_is_refused(loaded):
    with pytest.raises(UsageError, match=r"threshold is 1\.5"):
        rows_of(tiny_reader(loaded)).of_request(ReadRequest("What?", PASSAGES, 1.5), "joint")


def test_starting_rows_notes_how_likely_null_is(loaded):
    reader = tiny_reader(loaded)
    rows = rows_of(reader)
    started = rows.of_request(ReadRequest(QUESTIONS[0], PASSAGES), "separate")
    assert len(rows.start(started).opened) == len(PASSAGES)
    for row in started:
        exact = null_probability(reader, QUESTIONS[0], row.prompt.passages)
        assert math.exp(row.null) == pytest.approx(exact, rel=1e-2)


def test_the_best_row_has_the_best_odds_and_the_first_of_equal_ones_wins():
    def row(null, logprob=None, complete=True):
        found = {} if logprob is None else {"scored": {"x": logprob}, "best": "x"}
        return PromptRow("Q?", Prompt((), (), (), (), ()), (), [], 0, null, complete=complete, **found)

    rows = [row(-1.0), row(-1.0, -3.0), row(-2.0, -3.0), row(-2.0, -3.0), row(-9.0, -1.0, complete=False)]
    assert best_row(rows) is rows[2]
    assert best_row([row(-1.0), surest := row(-2.0)]) is surest
    assert best_row(rows[4:]) is best_row([]) is None
    rows[2].standing = -0.5
    assert best_row(rows) is rows[3]


def test_passages_read_one_by_one_stand_as_the_reranking_has_them(loaded):
    rows = rows_of(tiny_reader(loaded))

    def stand(margins, reading="separate"):
        return [row.standing for row in rows.of_request(ReadRequest("What?", PASSAGES, None, margins), reading)]

    assert stand((0.5, 2.0, 9.0)) == [0.0, -0.5, -2.5]
    assert stand((0.5, 2.0, None)) == [0.0, -0.5, -2.5]
    assert stand(()) == stand((0.5, None, 9.0)) == [0.0, 0.0, 0.0]
    assert stand((0.5, 2.0, 9.0), "joint") == [0.0]
