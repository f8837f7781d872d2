from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turned_sentences import NAMES, turned

from rag_ft.question_generation.sentences.entries import entry_question
from rag_ft.question_generation.sentences.rules import questions_of
from rag_ft.text.openings import ASKED_FOR, asked_for


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


TEMPLATES = (
    "You can {verb} your {noun}{tail}.",
    "You must not {verb} {noun}s by hand{tail}.",
    "To {verb} a {noun}, run `{noun}` by hand{tail}.",
    "{Noun}s are required on Linux{tail}.",
    "If your {noun} is missing, {verb} another one by hand{tail}.",
    "The default {noun} is {verb}{tail}.",
)


@given(
    st.sampled_from(TEMPLATES),
    st.sampled_from(("install", "remove", "copy", "debug")),
    st.sampled_from(("package", "linux kernel", "cache")),
    st.sampled_from(("", " because it is slow", ", which is slow", " or not", " (twice)", " when you are away")),
)
def test_whatever_is_asked_is_a_question(template, verb, noun, tail):
    sentence = template.format(verb=verb, noun=noun, Noun=noun.capitalize(), tail=tail)
    for each in questions_of(sentence, NAMES, lambda term: True):
        assert each.question.endswith("?") and 4 <= len(each.question.split()) <= 16
        assert (each.yes is None) == (asked_for(each.question) != "whether")
        assert "you" not in each.question.split() and "your" not in each.question.split()


def test_the_templates_give_questions():
    asked = [
        questions_of(t.format(verb="copy", noun="cache", Noun="Cache", tail=""), NAMES, bool) for t in TEMPLATES[:4]
    ]
    assert all(asked)


@pytest.mark.parametrize(
    "text", ["You can " + "also then " * 800, "[a](" * 3000, "Homebrew is " + "** " * 800 + " to x."]
)
def test_a_text_that_is_no_sentence_costs_nothing(text):
    assert questions_of(text, NAMES, bool) == []


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("To list packages, run a command.", "To list packages of " + "big " * 12 + "parts, run a command."),
        ("To list packages, run a command.", f"To list {'p' * 31}, run a command."),
        ("To list packages by hand, run a command.", "To list, run a command."),
    ],
)
def test_questions_have_four_to_sixteen_words_of_thirty_letters(short, long):
    assert turned(short) and not turned(long)


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
    assert {asked_for(question) for _, question, _ in documented()} == {*ASKED_FOR} - {"list"}
