import pytest

from rag_ft.indexing.conservation.record import Conservation


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"words": 9}, ""),
        (
            {"words": 1120, "lost": 14, "sample": ("4 May 2025",)},
            "14 of 1,120 words were left out, such as '4 May 2025'",
        ),
        ({"words": 9, "lost": 1, "sample": ("a",)}, "1 of 9 words was left out, such as 'a'"),
        (
            {"words": 9, "glued": 2, "glued_sample": ("pierfour",)},
            "2 words are glued together from several, such as 'pierfour'",
        ),
        ({"words": 9, "pages_without_text": (2, 3, 4)}, "pages 2 to 4 have no text: they are scanned images"),
        ({"words": 9, "pages_without_text": (2,)}, "page 2 has no text: it is a scanned image"),
        ({"words": 9, "pages_without_text": (1, 3, 4, 5, 9)}, "pages 1, 3 to 5 and 9 have no text"),
        ({"words": 9, "missing_parts": ("word/footnotes.xml",)}, "nothing was read of word/footnotes.xml"),
    ],
)
def test_what_was_lost_is_said_in_one_line(found, says):
    assert Conservation(**found).in_words().startswith(says) and bool(says) == bool(Conservation(**found).in_words())


def test_a_few_words_of_many_are_not_worth_a_line():
    assert not Conservation(words=1000, lost=5).worth_reporting and not Conservation(words=1000, lost=5).complete
    assert Conservation(words=1000, lost=3, glued=3).worth_reporting
    assert Conservation(words=1000, pages_without_text=(2,)).worth_reporting
