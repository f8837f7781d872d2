import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.text.normalising import normalised, runs, terms


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"),
        ("cafe\u0301 ﬁle Ａ１", "café file A1"),
        ("co\u00adop zero\u200bwidth \ufeffmark", "coop zerowidth mark"),
        ("10⁶ litres, m², 1½", "10^6 litres, m2, 1 1⁄2"),
        ("\u200b\u00ad", "\u200b\u00ad"),
    ],
)
def test_one_form_for_each_word(text, wanted):
    assert normalised(text) == wanted


@given(st.text())
def test_text_that_is_not_blank_never_becomes_blank(text):
    assert bool(text.strip()) == bool(normalised(text).strip()) or not text.strip()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("getCraneLoadById", "getcraneloadbyid get crane load by id"),
        ("max_crane_load", "max_crane_load max crane load"),
        ("max-crane-load", "max-crane-load max crane load"),
        ("max\u2011crane", "max-crane max crane"),
        ("a.b.c", "a.b.c a b c"),
        ("HTTPServer PDFs", "httpserver http server pdfs"),
        ("__init__ _", "__init__ init _"),
        ("1,024 1024 1'024 1\u202f024", "1024 1024 1024 1024"),
        ("10.5 10,5", "10.5 10 5 10.5 10 5"),
        ("1,234.50", "1234.50 1234 50"),
        ("1,2,3", "1 2 3"),
        ("v1.2.3", "v1.2.3 v1 2 3"),
        ("The end.", "the end"),
    ],
)
def test_identifiers_and_numbers_are_terms_whole_and_in_parts(text, wanted):
    assert [term for run in runs(text) for term in terms(run)] == wanted.split()


def test_stop_words_are_left_out_but_within_identifiers():
    stop_words = frozenset({"the", "by", "of"})
    assert terms("The", stop_words) == []
    assert terms("state-of-the-art", stop_words) == ["state-of-the-art", "state", "art"]
    assert "by" in terms("getById", stop_words)
