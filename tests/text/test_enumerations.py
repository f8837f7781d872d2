from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.text.enumerations import enumerated


def items(text):
    return [text[item.start : item.end] for item in enumerated(text)]


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        (
            "plants, animals, human populations, and technology",
            ["plants", "animals", "human populations", "technology"],
        ),
        ("Norms, biases and embeddings", ["Norms", "biases", "embeddings"]),
        ("both Fiji and Samoa", ["Fiji", "Samoa"]),
        ("pH or available iron", ["pH", "available iron"]),
        ("primary law, as well as case law", ["primary law", "case law"]),
        ("1e-4, 3e-4 and 1e-3", ["1e-4", "3e-4", "1e-3"]),
        ("385, 801", ["385", "801"]),
        ("Fredericia (Denmark, in the north), Berlin", ["Fredericia (Denmark, in the north)", "Berlin"]),
        ("“Salt and Iron”; “Tin”", ["“Salt and Iron”", "“Tin”"]),
    ],
)
def test_commas_and_conjunctions_part_what_is_listed(text, listed):
    assert items(text) == listed


@pytest.mark.parametrize("text", ["Sand", "July 4, 1776", "1,163 feet", "the Andes", "(a, b)", "", ", and", "Orlando"])
def test_other_texts_list_nothing(text):
    assert items(text) == []


def test_the_same_thing_is_listed_once():
    assert items("Fiji, Samoa, fiji and “Samoa”") == ["Fiji", "Samoa"]
    assert items("Fiji and Fiji") == []


@given(st.lists(st.sampled_from(["a", " ", ",", ";", "and", "or", "(", ")", '"', "1776", "\n", "“", "é"])).map("".join))
def test_items_are_words_of_the_text_in_order(text):
    listed = enumerated(text)
    assert len(listed) != 1
    assert all(text[item.start : item.end].strip() == text[item.start : item.end] != "" for item in listed)
    assert all(before.end <= after.start for before, after in pairwise(listed))
