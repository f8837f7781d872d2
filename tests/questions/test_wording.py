import pytest

from rag_ft.answering.decoding.candidates import find_candidates
from rag_ft.questions.wording import question_key, repeats_question
from rag_ft.schema import Passage


def test_questions_in_other_words_are_near_duplicates():
    assert question_key("How high is the tower?") == question_key("the TOWER is how high")
    assert question_key("How high is the tower?") != question_key("How old is the tower?")


def test_a_follow_up_asks_what_the_questions_before_say():
    asked = "And when was it built?"
    assert question_key(asked, ["How high is the tower?"]) != question_key(asked, ["How high is the bridge?"])
    assert question_key(asked, []) == question_key(asked)


@pytest.mark.parametrize(
    ("question", "answer", "repeats"),
    [
        ("How many parameters does rank 16 add?", "16", True),
        ("How many parameters does rank 16 add?", "131,072 parameters", False),
        ("How do I fail over?", "Fail over", True),
        ("By what is alpha divided in rsLoRA?", "the alpha", True),
        ("Which model of RAG takes every token?", "RAG-Token", False),
        ("What is 3 times 5?", "3.5", False),
        ("Is the price 3.5 or 4?", "3.5", False),
        ("Which is larger, the crane or the tower?", "the tower", False),
        ("What is the difference between crane and tower?", "crane", False),
        ("Is the interface free?", "the interface is free", False),
        ("price of the crane", "price", False),
        ("Wie hoch ist der Turm?", "der Turm", False),
        ("WHO built the Tower?", "the tower", True),
        ("Who?", "in the", True),
    ],
)
def test_an_answer_that_only_repeats_the_question_is_recognised(question, answer, repeats):
    assert repeats_question(question)(answer) is repeats


def test_candidates_that_repeat_the_question_are_numbered_as_the_texts_are():
    text = "The crane lifts 42 tonnes."
    passages = [Passage(id="p", document_id="d", text=text, start=0, end=len(text))]
    candidates = find_candidates(passages, lambda texts: [tuple(map(ord, text)) for text in texts], 60)
    excluded = candidates.repeating("How much does the crane lift?")
    assert {candidates.texts[i] for i in excluded} == {"The", "The crane", "crane"}
    assert not candidates.repeating("crane")
