from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turned_sentences import NAMES, turned

from rag_ft.question_generation.self_contained import form_problem
from rag_ft.question_generation.sentences.entries import entry_question
from rag_ft.question_generation.sentences.rules import questions_of
from rag_ft.text.openings import asked_for


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
        assert (each.yes is None) == (asked_for(each.question) != "whether")
        assert form_problem(each.question) != "not one line of text"


def documented():
    """The rows of docs/make-questions.md: a text, the question, and what it says of yes or no."""
    rows = []
    page = (Path(__file__).parents[3] / "docs" / "make-questions.md").read_text(encoding="utf-8")
    table = page.partition("| the text says | the question |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        text, asked = (cell.strip().replace("`", "") for cell in row.strip("|").split("|"))
        question, _, said = asked.partition(" (")
        rows.append((text.replace(" ...", ""), question, {"": None, "no)": False}[said]))
    return rows


@pytest.mark.parametrize(("text", "question", "yes"), documented())
def test_the_page_on_made_questions_says_what_is_asked(text, question, yes):
    if entry := entry_question(text):
        assert (entry.question, entry.yes) == (question, yes)
        return
    found = {each.question: each.yes for each in questions_of(text, NAMES, lambda words: words == "An adapter")}
    assert question in found and found[question] is yes


def test_the_page_has_a_row_for_every_kind_of_question():
    assert len(documented()) >= 12
