import pytest

from rag_ft.errors import UsageError
from rag_ft.indexing.query import HISTORY_TURNS, Query, check_question, checked_history, make_query

FIRST, SECOND, THIRD, FOURTH = "Who leads it?", "And since when?", "What is ice?", "How cold is it?"


def test_a_question_alone_is_searched_as_it_is():
    query = make_query("What is ice?")
    assert (query.texts, query.joined, query.left_out) == (("What is ice?",), None, 0)


def test_the_last_three_questions_are_searched_with_it_and_the_others_counted():
    query = make_query("And salt?", [FIRST, SECOND, THIRD, FOURTH])
    assert query == Query("And salt?", (SECOND, THIRD, FOURTH), 1)
    assert query.joined == "And since when? What is ice? How cold is it? And salt? And salt?"
    assert query.texts == ("And salt?", query.joined)
    assert make_query("q", [f"turn {i}?" for i in range(100)]).left_out == 100 - HISTORY_TURNS


def test_turns_that_do_not_fit_are_left_out_whole_and_counted_the_oldest_first():
    def fits(text):
        return len(text) <= 60

    assert make_query("And salt?", [THIRD, FOURTH], fits) == Query("And salt?", (THIRD, FOURTH), 0)
    assert make_query("And salt?", ["long " * 20, THIRD], fits) == Query("And salt?", (THIRD,), 1)
    # What stands before a question that is too long is not searched either: it belongs to that question.
    assert make_query("And salt?", [THIRD, "long " * 20], fits) == Query("And salt?", (), 2)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ("What is ice?", "history is text: give a list"),
        (None, "history is null: give a list"),
        ({"question": "x"}, "history is an object: give a list"),
        (["What is ice?", 7], "history's item 2 is a number: give the text"),
        ([{"role": "user"}], "history's item 1 is an object: give the text"),
        (["What is ice?", " "], "history's item 2 is empty: leave it out"),
        (["\ud800"], "history's item 1 is not valid: the question has half of a surrogate pair"),
    ],
)
def test_what_is_no_history_is_one_sentence(history, message):
    with pytest.raises(UsageError, match=message):
        checked_history(history)


def test_a_history_is_stripped_and_may_be_any_sequence():
    assert checked_history((" What is ice? ",)) == ("What is ice?",)
    assert checked_history([]) == ()


@pytest.mark.parametrize(("question", "message"), [("", "is empty"), ("  \n", "is empty"), ("\udfff", "surrogate")])
def test_a_question_that_cannot_be_embedded_is_a_usage_error(question, message):
    with pytest.raises(UsageError, match=message):
        check_question(question)
