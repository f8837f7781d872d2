import pytest
from hypothesis import given
from hypothesis import strategies as st
from turned_sentences import NAMES, turned

from rag_ft.question_generation.self_contained import form_problem
from rag_ft.question_generation.sentences.rules import questions_of


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "???",
        "Installation",
        "To install another tool, run the same command.",  # other than what?
        "You can edit the file by hand in your editor.",
        "See the manual for how HTTP/2 is not enabled by default.",
        "To remove https://example.com/x, run a command.",
        "To set a name in the new configuration, run `set-name X`.",
        "You can install " + "a very " * 20 + "small tool by hand with a script.",
    ],
)
def test_what_does_not_stand_alone_is_not_asked(sentence):
    assert turned(sentence) == {}


def test_a_sentence_may_answer_several_questions_each_of_them_once():
    found = turned("Matrix A is initialised with small random values.")
    assert found == {
        "How is Matrix A initialised?": None,
        "Is Matrix A initialised with small random values?": True,
    }


@given(
    st.lists(
        st.sampled_from("You can To If Use Homebrew is are not the a , . : ; because when run install you your".split())
    )
)
def test_whatever_is_asked_is_a_question(words):
    for each in questions_of(" ".join(words) + ".", NAMES, lambda term: True):
        assert each.question.endswith("?") and len(each.question.split()) >= 4 and "\n" not in each.question
        assert (each.yes is None) == (each.asked_for != "whether")
        assert form_problem(each.question) != "not one line of text"
