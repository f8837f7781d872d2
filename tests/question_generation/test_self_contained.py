import pytest
from tiny_reader import passage

from rag_ft.question_generation import self_contained
from rag_ft.question_generation.self_contained import form_problem, problem_of

TEXT = passage("The tower of Oslo is 107 metres high. It must be closed at night.", "oslo.txt", "Oslo")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("How high is the tower of Oslo?", None),
        ("Is it safe to climb the tower of Oslo?", None),
        ("What does this section say of Oslo?", self_contained.POINTS_TO_TEXT),
        ("How high is it?", self_contained.UNEXPLAINED),
        ("The height of the tower", self_contained.NOT_A_QUESTION),
        ("What is the the tower?", self_contained.REPEATS_ITSELF),
        ("Does the tower of Oslo must be closed?", self_contained.READS_BADLY),
        ("How high?", self_contained.TOO_SHORT),
        ("How high is the tower " + "of Oslo, Lima " * 20, self_contained.TOO_LONG),
        ("How " + "x" * 500 + " is it?", self_contained.TOO_LONG),
        ("What is used here?", self_contained.ASKS_OF_NOTHING),
        ("How high is the tower?\nAnswer: 9", self_contained.NOT_ONE_LINE),
        ("How high is \x1b[2J the tower?", self_contained.NOT_ONE_LINE),
        ("How high is \ud800 the tower?", self_contained.NOT_ONE_LINE),
    ],
)
def test_a_question_stands_on_its_own_or_has_a_reason(question, reason):
    assert form_problem(question) == reason


@pytest.mark.parametrize(
    ("question", "answer", "kind", "reason"),
    [
        ("How high is the 107 metres tower?", "107 metres", "span", self_contained.HOLDS_ITS_ANSWER),
        ("Is the tower of Oslo 107 metres or 90 metres high?", "107 metres", "span", None),
        (
            "Why is it that it must be closed at night in Oslo?",
            "It must be closed at night.",
            "part",
            "holds its answer",
        ),
        ("How high is the tower of Oslo?", "The tower of Oslo is 107 metres high.", "part", None),
        ("Who won the election in France?", "107 metres", "span", self_contained.OTHER_WORDS_THAN_ITS_PASSAGE),
        ("How is the tower not open at night?", "The tower is not open at night.", "part", "holds its answer"),
        ("Is the tower open at night?", "The tower is open at night.", "part", None),
        ("How high are towers?", "107 metres", "span", None),
        ("What must be closed at night in Oslo?", "this tower", "span", self_contained.UNEXPLAINED_ANSWER),
    ],
)
def test_a_question_does_not_hold_its_answer_and_shares_words_with_its_passage(question, answer, kind, reason):
    assert problem_of(question, answer, kind, TEXT) == (form_problem(question) or reason)
