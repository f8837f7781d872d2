import math

import pytest
from tiny_reader import PASSAGES

from rag_ft.answering import completion
from rag_ft.answering.confidence import PLAIN, KindCalibration, PlattScale
from rag_ft.answering.decoding.prompt_rows import PromptRow
from rag_ft.answering.outcome import combine, not_null_probability
from rag_ft.answering.prompt import Prompt
from rag_ft.answering.reading import Cited
from rag_ft.text.spans import Span

HALF, FIFTH = math.log(0.5), math.log(0.2)


def row(position=0, null=HALF, answer=None, logprob=-1.0, **more) -> PromptRow:
    passage = PASSAGES[position]
    return PromptRow(
        question="Q?",
        prompt=Prompt((1,), (2, 3), (4,), (passage,), ()),
        positions=(position,),
        ids=[2, 3, 4],
        context=2,
        null=null,
        best=answer,
        scored={} if answer is None else {answer: logprob},
        cited=() if answer is None else (Cited(passage, None),),
        **more,
    )


def test_no_rows_are_a_certain_null():
    reading = combine([], PASSAGES, None, PLAIN)
    assert (reading.answer, reading.abstained, reading.complete) == (None, True, True)
    assert (reading.confidence, reading.answer_confidence, reading.read) == (1.0, 0.0, (False,) * 3)


def test_rows_without_an_answer_are_null_as_sure_as_the_surest_row():
    reading = combine([row(null=FIFTH), row(1, null=HALF)], PASSAGES, 0.0, PLAIN)
    assert (reading.answer, reading.not_null, reading.answer_confidence) == (None, 0.0, 0.0)
    assert reading.confidence == pytest.approx(0.2)  # the row whose null is least likely is the winner


def test_the_answer_with_the_best_odds_against_its_own_null_wins_and_is_cited_by_its_number_among_those_read():
    rows = [row(0, HALF, "fox", -1.0), row(2, math.log(0.01), "small", -2.0)]
    reading = combine(rows, PASSAGES, None, PLAIN)
    assert reading.answer == "small" and reading.read == (True, False, True)
    assert reading.completion == completion.render("small", (2,))  # the second of those read
    assert reading.not_null == reading.confidence == reading.answer_confidence == pytest.approx(0.99)


@pytest.mark.parametrize(("logprob", "answer"), [(-0.6, "fox"), (-0.8, None)])
def test_without_a_threshold_an_answer_must_outscore_null(logprob, answer):
    reading = combine([row(0, HALF, "fox", logprob)], PASSAGES, None, PLAIN)
    assert (reading.answer, reading.abstained) == (answer, answer is None)
    assert (reading.not_null, reading.confidence) == pytest.approx((0.5, 0.5))


def test_an_answer_that_is_declined_is_kept_as_it_would_have_been_given():
    rows = [row(0, FIFTH, "fox", -1.0)]
    given, declined = (combine(rows, PASSAGES, threshold, PLAIN) for threshold in (0.0, 0.9))
    assert given.declined is None and declined.declined == given
    assert (declined.answer, declined.cited, declined.completion) == (None, (), completion.render(None))
    assert declined.confidence == pytest.approx(1 - given.confidence)
    assert combine([row(null=FIFTH)], PASSAGES, 0.9, PLAIN).declined is None  # there is nothing to give


@pytest.mark.parametrize(("threshold", "answer"), [(0.79, "fox"), (0.81, None)])
def test_a_threshold_is_compared_with_the_confidence_alone(threshold, answer):
    reading = combine([row(0, FIFTH, "fox", -30.0)], PASSAGES, threshold, PLAIN)
    assert reading.answer == answer and reading.answer_confidence == pytest.approx(0.8)
    assert reading.confidence == pytest.approx(0.8 if answer else 0.2)


OWN = {
    "span": KindCalibration(value=0.9),
    "part": KindCalibration(value=0.3, platt=PlattScale(slope=0.5, intercept=-1)),
    "yes/no": KindCalibration(value=0.7),
}


@pytest.mark.parametrize(
    ("kind", "yes", "answer", "confidence"),
    [
        ("span", None, None, 0.8),
        ("part", None, "fox", 2 / (2 + math.e)),  # log-odds ln 4, halved and lowered by one: odds 2 / e
        ("part", True, "fox", 0.8),
        ("part", False, "fox", 0.8),
    ],
)
def test_threshold_and_scale_are_those_of_the_best_answers_kind(kind, yes, answer, confidence):
    rows = [row(0, FIFTH, "fox", kind=kind, yes=yes, leads=("fox",))]
    reading = combine(rows, PASSAGES, 0.5, PLAIN, OWN)
    assert reading.answer == answer and reading.answer_confidence == pytest.approx(confidence)
    assert reading.not_null == pytest.approx(0.8)
    # A kind without its own has the common ones.
    few = {name: own for name, own in OWN.items() if name == "span"}
    assert combine(rows, PASSAGES, 0.5, PLAIN, few).answer == (None if kind == "span" else "fox")


def test_a_span_of_a_question_for_sentences_is_given_and_calibrated_as_a_part():
    text = PASSAGES[0].text
    word = next(word for word in text.split() if word.isalpha() and text.count(word) == 1)
    start = text.index(word)
    rows = [row(0, FIFTH, word)]
    rows[0].question = "Why?"
    rows[0].cited = (Cited(PASSAGES[0], Span(start, start + len(word))),)
    assert combine(rows, PASSAGES, 0.5, PLAIN, OWN).answer is None
    reading = combine(rows, PASSAGES, 0.5, PLAIN, OWN, whole=True)
    assert reading.kind == "part" and word in reading.answer and len(reading.answer) > len(word)
    assert reading.answer == reading.cited[0].text and reading.yes is None
    assert reading.completion == combine(rows, PASSAGES, 0.0, PLAIN).completion  # what the reader said stays


def test_the_best_answer_is_chosen_by_raw_odds_however_strict_its_kind_is():
    """The span has the better odds: its threshold declines it, and the part, whose threshold is low, is not given."""
    rows = [row(0, FIFTH, "fox", -0.5), row(1, FIFTH, "rank", -0.6, kind="part", leads=("rank",))]
    reading = combine(rows, PASSAGES, 0.5, PLAIN, OWN)
    assert (reading.answer, reading.abstained) == (None, True)
    lenient = {**OWN, "span": KindCalibration(value=0.1, platt=PlattScale(intercept=-5))}
    assert combine(rows, PASSAGES, 0.5, PLAIN, {**lenient, "span": KindCalibration(value=0.0)}).answer == "fox"
    assert combine(rows[::-1], PASSAGES, 0.5, PLAIN, lenient).answer is None


def test_a_second_look_counts_by_the_mean_of_log_odds_and_its_tokens_are_counted():
    reading = combine([row(0, FIFTH, "fox", second_look=row(null=math.log(0.8)))], PASSAGES, 0.0, PLAIN)
    assert reading.not_null == pytest.approx(0.5) and reading.prompt_tokens == 8


def test_confidences_are_on_the_scale():
    scale = PlattScale(slope=0.4, intercept=-0.8)
    for threshold in (0.0, 1.0):
        reading = combine([row(0, FIFTH, "fox")], PASSAGES, threshold, scale)
        assert reading.not_null == pytest.approx(0.8)
        assert reading.answer_confidence == scale.scaled(reading.not_null)
        wanted = reading.answer_confidence if reading.answer else 1 - reading.answer_confidence
        assert reading.confidence == wanted


def test_free_text_has_decided_for_its_answer_and_is_given_as_it_was_written():
    text = '{"answer":  "fox", "citations": [1]}'
    reading = combine([row(0, -0.1, "fox", -3.0, decided=True, text=text)], PASSAGES, None, PLAIN)
    assert (reading.answer, reading.completion) == ("fox", text)
    assert combine([row(0, -0.1, "fox", -3.0, decided=True, text=text)], PASSAGES, 0.5, PLAIN).abstained


def test_incomplete_rows_lose_and_alone_are_no_answer():
    broken = row(0, complete=False, text="no JSON")
    assert combine([broken, row(1, FIFTH, "layer")], PASSAGES, 0.0, PLAIN).answer == "layer"
    reading = combine([broken], PASSAGES, 0.0, PLAIN)
    assert (reading.answer, reading.complete, reading.abstained, reading.confidence) == (None, False, False, 0.0)
    assert reading.completion == "no JSON"


@pytest.mark.parametrize(
    ("nulls", "wanted"),
    [([-700.0], 1.0), ([-700.0, -700.0], 1.0), ([0.0], 0.0), ([0.0, 0.0], 0.0), ([math.log(0.2), math.log(0.8)], 0.5)],
)
def test_the_mean_of_log_odds_holds_at_the_ends(nulls, wanted):
    assert not_null_probability(nulls) == pytest.approx(wanted, abs=1e-9)
