import pytest

from rag_ft.question_generation.sentences.grammar import COMPARED, Statement, goes_on, is_plural, is_subject
from rag_ft.question_generation.sentences.wording import Names


@pytest.mark.parametrize("phrase", ["Homebrew", "A flat index", "Formal votes", "The WSL kernel", "the internet"])
def test_noun_phrases_that_can_be_asked_about(phrase):
    assert is_subject(phrase)


@pytest.mark.parametrize(
    "phrase",
    [
        "It",
        "This file",
        "the file",
        "The current setting",
        "Use blocks",
        "Many users",
        "files only",
        "Sometimes a package",
        "Thereby wildcards",
    ],
)
def test_what_means_nothing_by_itself(phrase):
    assert not is_subject(phrase)


@pytest.mark.parametrize(
    ("phrase", "known"),
    [("The training loss", False), ("The WSL kernel", True), ("The end of a run", True), ("The checksum", False)],
)
def test_a_thing_with_the_needs_a_name_or_a_term(phrase, known):
    def may_ask(terms):
        return Statement(phrase, "", phrase, False, False, False, Names([]), terms.__contains__).may_ask_about(phrase)

    assert may_ask(()) is known
    assert may_ask(("The training loss",)) is (known or phrase == "The training loss")


@pytest.mark.parametrize("text", ["Code is easier to read", "Builds are faster here", "This is more common"])
def test_a_comparison_needs_both_sides(text):
    assert COMPARED.search(text) and not COMPARED.search(f"{text} than that")


def test_number_of_a_noun_phrase():
    assert is_plural("formal votes") and not is_plural("the index of files is") and not is_plural("Express.js")
    assert not is_plural("a class") and not is_plural("analysis")


def test_a_second_verb_is_seen():
    assert goes_on("small and takes a second") and goes_on("kept or is removed")
    assert not goes_on("small and cheap")
