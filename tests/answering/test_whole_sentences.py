import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.answering.reading import Cited
from rag_ft.answering.whole_sentences import whole_sentences
from rag_ft.schema import Passage
from rag_ft.text.spans import Span

TEXT = """\
Deadlines

By default there is none. To avoid this, set one:

    call(timeout=5)

It counts from the call. Is it exact? Nearly."""


def passage(text, headings=("Deadlines",)):
    return Passage(id="p", document_id="d", text=text, start=0, end=len(text), headings=headings)


@pytest.mark.parametrize(
    ("span", "sentences"),
    [
        ("none", "By default there is none."),
        ("counts from", "It counts from the call."),
        ("is none. To avoid", "By default there is none. To avoid this, set one:\n\n    call(timeout=5)"),
        ("To avoid this", "To avoid this, set one:\n\n    call(timeout=5)"),
    ],
)
def test_a_span_becomes_the_sentences_that_hold_it_with_what_they_introduce(span, sentences):
    start = TEXT.index(span)
    cited = whole_sentences(Cited(passage(TEXT), Span(start, start + len(span))))
    assert cited is not None and cited.text == sentences


STEPS = """\
Save it so:

- Open the file.
- Choose a name.
- Press save.

That is all."""


@pytest.mark.parametrize(
    ("span", "steps", "first", "last"),
    [
        ("Save", False, "Save it", "Press save."),
        ("Open", False, "- Open", "the file."),
        ("Open", True, "- Open", "Press save."),
        ("Choose", True, "- Choose", "a name."),
        ("That", True, "That", "all."),
    ],
)
def test_a_list_is_given_where_it_is_introduced_or_begins(span, steps, first, last):
    start = STEPS.index(span)
    cited = whole_sentences(Cited(passage(STEPS), Span(start, start + len(span))), steps=steps)
    assert cited is not None
    assert cited.text == STEPS[STEPS.index(first) : STEPS.index(last) + len(last)]


@pytest.mark.parametrize("span", ["Deadlines", "exact"])
def test_headings_and_questions_have_no_sentence(span):
    start = TEXT.index(span)
    assert whole_sentences(Cited(passage(TEXT), Span(start, start + len(span)))) is None


def test_an_unknown_span_stays_unknown():
    assert whole_sentences(Cited(passage(TEXT), None)) is None


@given(st.text(alphabet="ab. \n-:?#", min_size=1, max_size=60), st.data())
@settings(max_examples=200, deadline=None)
def test_the_sentences_hold_the_span_unless_there_are_too_many(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    cited = whole_sentences(Cited(passage(text, ()), Span(start, end)))
    if cited is not None:
        assert cited.span.start < end and start < cited.span.end
        assert cited.text == text[cited.span.start : cited.span.end] and cited.text.strip()
