import pytest

from rag_ft.question_generation.sentences.grammar import goes_on, is_plural, is_subject


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
    ],
)
def test_what_means_nothing_by_itself(phrase):
    assert not is_subject(phrase)


def test_number_of_a_noun_phrase():
    assert is_plural("formal votes") and not is_plural("the index of files is") and not is_plural("Express.js")
    assert not is_plural("a class") and not is_plural("analysis")


def test_a_second_verb_is_seen():
    assert goes_on("small and takes a second") and goes_on("kept or is removed")
    assert not goes_on("small and cheap")
