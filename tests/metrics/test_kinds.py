import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.metrics.kinds import (
    KINDS,
    WHAT_IS_RIGHT,
    decision_of,
    exact_score_of,
    is_correct,
    judged_kind,
    kind_of,
    overlaps_evidence,
    score_of,
)
from rag_ft.schema import Evidence, Question

SPAN = Question(id="s", question="When?", answers=("in 1905",))
PART = Question(id="p", question="How?", answers=("Install the extra h2. Then pass http2=True.",), kind="part")
YES = Question(id="y", question="Is it on?", answers=("It is on by default.",), kind="part", yes=True)
NO = YES.model_copy(update={"yes": False})
NULL = Question(id="n", question="Is it red?", answerable=False, kind="part")


def test_a_part_that_says_yes_or_no_is_a_kind_of_its_own():
    assert [kind_of(question) for question in (SPAN, PART, YES, NO, NULL)] == [
        "span",
        "part",
        "yes/no",
        "yes/no",
        "part",
    ]
    assert [judged_kind("span", None), judged_kind("part", None), judged_kind("part", False)] == list(KINDS)
    # What is unanswerable says neither, whatever its record holds.
    assert kind_of(NULL.model_copy(update={"yes": True})) == "part"
    assert tuple(WHAT_IS_RIGHT) == KINDS


@pytest.mark.parametrize(
    ("answer", "yes", "decision"),
    [
        ("It is on by default.", True, True),
        ("No, it is off.", True, True),  # what a tuned reader says counts, not the words that it quotes
        ("It is on by default.", None, None),
        ("Yes", None, True),
        ("no.", None, False),
        ("**No**, it is off", None, False),
        ("Nobody knows", None, None),
        ("Yesterday", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_a_decision_is_what_the_reader_says_or_the_first_word_of_its_text(answer, yes, decision):
    assert decision_of(answer, yes) is decision


def test_the_right_words_with_the_wrong_decision_are_wrong():
    words = "It is on by default."
    assert is_correct(words, YES, True) and not is_correct(words, YES, False)
    assert is_correct(words, NO, False) and not is_correct(words, NO, True)
    assert (score_of(words, YES, True), score_of(words, YES, False)) == (1.0, 0.0)
    assert (exact_score_of("other words", YES, True), exact_score_of(words, YES, False)) == (1.0, 0.0)


def test_the_right_words_without_a_decision_are_no_answer_to_a_question_of_yes_or_no():
    assert not is_correct("It is on by default.", YES) and score_of("It is on by default.", YES) == 0.0
    assert is_correct("Yes, it is on.", YES) and not is_correct("No, it is on.", YES)


def test_null_is_right_only_where_there_is_no_answer():
    for question in (SPAN, PART, YES):
        assert not is_correct(None, question) and score_of(None, question) == exact_score_of(None, question) == 0.0
    assert is_correct(None, NULL) and score_of(None, NULL) == exact_score_of(None, NULL) == 1.0
    assert not is_correct("It is red.", NULL, True) and score_of("It is red.", NULL, True) == 0.0


def test_numbers_decide_a_span_and_not_a_part():
    assert not is_correct("in 1906", SPAN) and is_correct("1905", SPAN)
    longer = "Install the extra h2. Then pass http2=True. See section 12."
    assert is_correct(longer, PART)
    assert not is_correct("See section 12.", PART)
    assert score_of(longer, PART) == pytest.approx(2 * 6 / (6 + 9))
    assert exact_score_of(PART.answers[0], PART) == 1.0


PIECES = (Evidence(document_id="d", start=10, end=20, quote="0123456789"),)


@pytest.mark.parametrize(
    ("document", "start", "end", "overlaps"),
    [
        ("d", 12, 15, True),
        ("d", 0, 99, True),
        ("d", 19, 30, True),
        ("d", 20, 30, False),
        ("d", 0, 10, False),
        ("e", 12, 15, False),
    ],
)
def test_a_quote_overlaps_the_evidence_from_one_shared_character(document, start, end, overlaps):
    assert overlaps_evidence(document, start, end, PIECES) is overlaps


@given(st.sampled_from([SPAN, PART, YES, NO, NULL]), st.sampled_from([None, "in 1905", "yes", "no", "It is on"]))
def test_what_matches_exactly_has_the_full_score_and_is_right(question, answer):
    if exact_score_of(answer, question) == 1.0:
        assert score_of(answer, question) == 1.0 and is_correct(answer, question)
