import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.sentences import sentence_spans, sentences_around


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. Smith met J. R. Jones. They left.", ["Dr. Smith met J. R. Jones.", "They left."]),
        ("Use k=5, e.g. for BM25. It costs 3.5 s.", ["Use k=5, e.g. for BM25.", "It costs 3.5 s."]),
        ("Hu et al. (2021) did. So did we.", ["Hu et al. (2021) did.", "So did we."]),
        ("The U.S. Army came. It won.", ["The U.S. Army came.", "It won."]),
        ("See Fig. 2 and No. 5. Is it so? No. Yes.", ["See Fig. 2 and No. 5.", "Is it so?", "No.", "Yes."]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("A heading\n\nA sentence that\nwraps here.", ["A heading", "A sentence that\nwraps here."]),
        ("Things:\n- one\n- two\n1. three", ["Things:", "- one", "- two", "1. three"]),
        ("a | b\n1 | 2", ["a | b", "1 | 2"]),
        ("これは文です。次の文。", ["これは文です。", "次の文。"]),
        ("  \r\n \n", []),
        ("Wait... what? Yes.", ["Wait... what?", "Yes."]),
    ],
)
def test_sentences(text, sentences):
    assert split(text) == sentences


@given(st.text(st.sampled_from("aB1.!?\n \r\t|-é日。\"'e.g"), max_size=80))
def test_sentences_hold_every_visible_character_once_and_in_order(text):
    spans = sentence_spans(text)
    assert "".join("".join(text[s:e].split()) for s, e in spans) == "".join(text.split())
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    assert all(text[s:e] == text[s:e].strip() != "" for s, e in spans)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("run", ["word ", "X", ".", " ", "\t", "?!", "\n", " \n", "。", "a|b ", "\r\n- "])
def test_a_megabyte_of_anything_takes_linear_time(run):
    text = run * (1_000_000 // len(run)) + "x"
    spans = sentence_spans(text)
    assert spans[-1].end == len(text)


@given(st.text(st.sampled_from("aB1.!? \n-é日。"), max_size=60), st.data())
def test_the_sentences_around_a_span_are_those_that_it_touches_and_no_others(text, data):
    spans = sentence_spans(text)
    for span in spans:
        assert all(sentences_around(text, place, place + 1) == span for place in range(span.start, span.end))
    if spans:
        first = data.draw(st.integers(0, len(spans) - 1))
        last = data.draw(st.integers(first, len(spans) - 1))
        begin = spans[first].end - 1
        end = max(begin, spans[last].start) + 1
        assert sentences_around(text, begin, end) == (spans[first].start, spans[last].end)
    assert sentences_around(" " + text, 0, 1) == (0, 1)


def test_lines_of_comma_separated_values_are_sentences_of_their_own():
    rows = ["name,use,site,cores", "atlas,build server,Berlin,64", "cygnus,archive,Oslo,8"]
    text = "Our servers are these.\n\n" + "\n".join(rows)
    assert [text[one.start : one.end] for one in sentence_spans(text)] == ["Our servers are these.", *rows]
    prose = "It rained, it snowed, and\nthe wind, cold and wet, went\nround the house."
    assert len(sentence_spans(prose)) == 1
