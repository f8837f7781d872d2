import pytest

from rag_ft.text.askable import defines, gives_reasons, gives_steps, is_sentence, lists_things, settles
from rag_ft.text.parts import passage_units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Open the settings and choose a model.", True),
        ("1. Stop the server.\n2. Remove the folder.", True),
        ("You can lower the rank by setting it to 8.", True),
        ("The tower of Oslo is 107 metres high.", False),
    ],
)
def test_steps_are_orders_items_and_ways(text, expected):
    assert gives_steps(text, passage_units(text)) is expected


def test_reasons_decisions_and_definitions_have_their_words():
    assert gives_reasons("It is small because most weights are frozen.") and not gives_reasons("It is small.")
    assert settles("Guests must leave at ten.") and not settles("The tower is high.")
    assert defines("A reranker is a model that reads passages again.") and not defines("It reads passages again.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Three kinds:\n- dense search\n- word search\n- both of them", True),
        ("It reads PDF, DOCX and EPUB.", True),
        ("It reads PDF and DOCX.", False),
    ],
)
def test_lists_are_items_or_three_things_in_a_sentence(text, expected):
    assert lists_things(text, passage_units(text)) is expected


def test_a_sentence_has_four_words():
    assert is_sentence("Rank adds few parameters.") and not is_sentence("42 | 17 | a b c")
