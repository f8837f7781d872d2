from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.answering.citation import Claim, verify
from rag_ft.answering.lists import enumerated_items, listed_answer
from rag_ft.errors import UsageError
from rag_ft.schema import Block, Document, Passage
from rag_ft.text.spans import Span

GUIDE = """\
The crane has three brakes.

Check these before you lift:

- the hook,
- the rope; look at it by daylight,
  from both sides,
- the brakes,
- the wind.

Then lift."""


class OneDocument(SimpleNamespace):
    def document(self, document_id: str) -> Document:
        if document_id != self.held.id:
            raise UsageError("it is not there")
        return self.held


def listed(text, passage_end, answer_start, answer_end, *, document_id="guide", blocks=()):
    """The answer from `answer_start` to `answer_end` (words of the text) of a passage that ends at `passage_end`."""
    index = OneDocument(held=Document(id="guide", text=text, blocks=blocks))
    end = len(text) if passage_end is None else text.index(passage_end) + len(passage_end)
    passage = Passage(id="p", document_id=document_id, text=text[:end], start=0, end=end)
    span = Span(text.index(answer_start), text.index(answer_end) + len(answer_end))
    answer = text[span.start : span.end]
    (citation,) = verify(answer, [Claim(passage, span)], [passage])
    return listed_answer(answer, citation, passage, index), citation


def test_the_items_of_a_list_are_without_their_marks_and_at_their_offsets():
    got, _ = listed(GUIDE, "lift.", "Check", "the brakes,")
    assert [item.text for item in got.items] == [
        "the hook,",
        "the rope; look at it by daylight,\n  from both sides,",
        "the brakes,",
    ]
    assert all(GUIDE[item.start : item.end] == item.text for item in got.items)
    assert got.answer == GUIDE[GUIDE.index("Check") : GUIDE.index("the brakes,") + len("the brakes,")]


def test_a_list_that_its_passage_cuts_goes_on_to_its_end():
    got, before = listed(GUIDE, "both sides,", "- the hook", "both sides,")
    assert [item.text for item in got.items][-2:] == ["the brakes,", "the wind."] and len(got.items) == 4
    assert got.answer.endswith("- the wind.")
    citation = got.citation
    assert citation.quote == GUIDE[citation.start : citation.end] and citation.quote.endswith("the wind.")
    assert GUIDE[citation.answer_start : citation.answer_end] == got.answer and citation.start == before.start


def test_a_list_of_200_items_is_given_whole():
    text = "Ports:\n\n" + "\n".join(f"{number}. port {number}" for number in range(1, 201)) + "\n\nNo others."
    got, _ = listed(text, "6. port 6", "Ports:", "5. port 5")
    assert [item.text for item in got.items] == [f"port {number}" for number in range(1, 201)]


def test_rows_of_a_table_are_items():
    text = "Name: oak | Age: 9\nName: elm | Age: 8\nName: fir | Age: 7"
    blocks = (Block(start=0, end=len(text), kind="table"),)
    got, _ = listed(text, "8", "Name: oak", "Age: 8", blocks=blocks)
    assert [item.text for item in got.items] == text.split("\n")


@pytest.mark.parametrize(
    ("start", "end"),
    [("The crane", "brakes."), ("- the hook", "the hook,"), ("The crane", "you lift:"), ("- the wind", "Then lift.")],
)
def test_other_parts_have_no_items(start, end):
    got, citation = listed(GUIDE, None, start, end)
    assert got == (GUIDE[GUIDE.index(start) : GUIDE.index(end) + len(end)], citation, ())


def test_a_document_that_is_gone_changes_nothing():
    got, citation = listed(GUIDE, None, "- the hook", "the brakes,", document_id="other")
    assert got.items == () and got.citation == citation


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["- one", "* two", "  more", "prose.", "", "1. three", "a | b"]), max_size=12), st.data()
)
def test_items_and_answer_are_text_of_the_document(lines, data):
    text = "\n".join(["Begin:", *lines, "End."])
    end = data.draw(st.integers(1, len(text)))
    start = data.draw(st.integers(0, end - 1))
    passage_end = data.draw(st.integers(end, len(text)))
    answer = text[start:end]
    passage = Passage(id="p", document_id="guide", text=text[:passage_end], start=0, end=passage_end)
    (citation,) = verify(answer, [Claim(passage, Span(start, end))], [passage])
    got = listed_answer(answer, citation, passage, OneDocument(held=Document(id="guide", text=text)))
    assert got.answer.startswith(answer)
    cited = got.citation
    assert text[cited.start : cited.end] == cited.quote
    if cited.answer_start is not None:
        assert text[cited.answer_start : cited.answer_end] == got.answer or got.items == ()
    assert all(text[item.start : item.end] == item.text and item.text.strip() for item in got.items)
    assert [item.start for item in got.items] == sorted(item.start for item in got.items)


SALT = "Before it ended, the court held a monopoly on salt, iron and (from 1271) tin."


def things(words, text=SALT, start=40):
    """The items of an answer that stands in a passage at `start` of its document."""
    passage = Passage(id="p", document_id="d", text=text, start=start, end=start + len(text))
    at = text.find(words)
    (citation,) = verify(words, [Claim(passage, Span(at, at + len(words)) if at >= 0 else None)], [passage])
    return [(item.text, item.start, item.end) for item in enumerated_items(words, citation, passage)]


def test_the_things_that_a_sentence_lists_are_items_at_their_offsets_in_the_document():
    got = things("salt, iron and (from 1271) tin")
    assert [text for text, _, _ in got] == ["salt", "iron", "(from 1271) tin"]
    document = " " * 40 + SALT
    assert all(document[start:end] == text for text, start, end in got)


@pytest.mark.parametrize("words", ["salt", "tin, iron", "SALT, IRON"])
def test_one_thing_and_words_that_the_passage_lacks_are_no_items(words):
    assert things(words) == []
