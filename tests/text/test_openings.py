import pytest

from rag_ft.text.openings import ASKED_FOR, OPENINGS, asked_for


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Who wrote the manual?", "fact"),
        ("How many parameters does rank 16 add?", "fact"),
        ("What colour is the gate?", "fact"),
        ("How do I open the gate?", "how"),
        ("How to remove a document?", "how"),
        ("How does a merge change outputs?", "how"),
        ("Why are prompt tokens masked?", "why"),
        ("How come the gate is open?", "why"),
        ("Is HTTP/2 enabled by default?", "whether"),
        ("Can I merge an adapter into 4-bit weights?", "whether"),
        ("What is an adapter?", "what"),
        ("Which adapters are on one base?", "list"),
        ("What are the signs of overfitting?", "list"),
    ],
)
def test_what_a_question_asks_for_is_read_off_its_words(question, kind):
    assert asked_for(question) == kind


def test_every_kind_has_openings_and_no_opening_twice():
    assert set(ASKED_FOR) == set(OPENINGS)
    assert all(len(set(texts)) == len(texts) > 0 for texts in OPENINGS.values())


@pytest.mark.parametrize("kind", ["how", "why", "whether"])
def test_a_question_that_begins_as_its_kind_does_is_of_that_kind(kind):
    assert {asked_for(f"{opening} the gate be opened by hand?") for opening in OPENINGS[kind]} == {kind}
