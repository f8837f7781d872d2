"""Recognised words as the text of a page."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.ocr.words import Word, page_of


def words(*lines: str, paragraph: tuple[int, int] = (1, 1), confidence: float = 0.9) -> list[Word]:
    return [Word(text, confidence, paragraph, i) for i, line in enumerate(lines) for text in line.split()]


def test_lines_become_paragraphs_and_cut_words_are_joined():
    page = page_of([*words("The ship has a rein-", "forced hull."), *words("Berth seven-", "B", paragraph=(2, 1))])
    assert page.text == "The ship has a reinforced hull.\n\nBerth seven- B"


def test_stains_are_left_out_and_confidence_is_that_of_the_characters():
    others = [Word(text, confidence, (1, 1), 0) for text, confidence in (("|", 0.4), ("qx", 0.1), ("tons", 0.5))]
    page = page_of([*words("Forty"), *others])
    assert page.text == "Forty tons"
    assert page.confidence == round((5 * 0.9 + 4 * 0.5) / 9, 3)


def test_a_page_without_words_has_no_text():
    assert page_of([]) == ("", 0.0, b"")


def test_each_character_has_its_part_of_the_words_box():
    page = page_of([Word("to-", 0.9, (1, 1), 1, (0, 10, 30, 20)), Word("day", 0.9, (1, 1), 2, (0, 30, 30, 40))])
    assert page.text == "today"
    assert [*struct.iter_unpack("<4H", page.boxes)] == [
        (0, 10, 10, 20),
        (10, 10, 20, 20),
        (0, 30, 10, 40),
        (10, 30, 20, 40),
        (20, 30, 30, 40),
    ]


recognised_words = st.builds(
    Word,
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.floats(0, 1),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
    st.integers(1, 4),
    st.tuples(*[st.integers(0, 65_535)] * 4),
)


@given(st.lists(recognised_words))
def test_every_word_that_is_kept_stands_in_the_text_in_order(recognised):
    page = page_of(recognised)
    at = 0
    for word in recognised:
        if word.confidence >= 0.6 and any(map(str.isalnum, word.text)):
            at = page.text.index(word.text.rstrip("-"), at)
    assert 0 <= page.confidence <= 1 and len(page.boxes) == 8 * len(page.text)
