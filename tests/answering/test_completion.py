import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.answering import completion
from rag_ft.errors import AnswerParseError


@given(st.text(min_size=1).filter(str.strip), st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True))
def test_what_is_rendered_parses_back(answer, numbers):
    text = completion.render(answer, tuple(numbers))
    assert json.loads(text) == {"answer": answer, "citations": numbers}
    parsed = completion.parse(text, passage_count=5)
    assert (parsed.answer, list(parsed.citations)) == (answer, numbers)


def test_null_renders_without_citations():
    assert completion.render(None) == '{"answer": null, "citations": []}'
    assert completion.parse(completion.render(None), 3).answer is None


def test_a_passage_cited_twice_counts_once():
    assert completion.parse('{"answer": "x", "citations": [2, 2]}', 2).citations == (2,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rank 16",
        '{"answer": "x"}',
        '{"answer": "x", "citations": []}',
        '{"answer": null, "citations": [1]}',
        '{"answer": "", "citations": [1]}',
        '{"answer": "x", "citations": [0]}',
        '{"answer": "x", "citations": [4]}',
        '{"answer": "x", "citations": ["1"]}',
        '{"answer": 3, "citations": [1]}',
        '{"answer": "x", "citations": [1], "note": ""}',
        '{"answer": "x", "citations": [1]} and more',
        '{"answer": "x", "citations": [1]',
    ],
)
def test_anything_else_is_refused_in_one_sentence(text):
    with pytest.raises(AnswerParseError) as caught:
        completion.parse(text, passage_count=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("yes", [None, True, False])
def test_a_part_is_named_by_the_words_of_its_first_and_last_unit(yes):
    text = completion.render_part(('Say "no"', "Then go"), (2,), yes)
    content = json.loads(text)
    assert content.pop("yes", None) is yes
    assert content == {"answer": ['Say "no"', "Then go"], "citations": [2]}
    assert completion.parse_part(text).yes is yes
    with pytest.raises(AnswerParseError):
        completion.parse(text, 3)


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": [], "citations": [1]}',
        '{"answer": ["a", "b", "c"], "citations": [1]}',
        '{"answer": ["a"], "citations": []}',
        '{"answer": [""], "citations": [1]}',
        '{"answer": ["a"], "yes": "no", "citations": [1]}',
    ],
)
def test_what_names_no_part_is_refused(text):
    with pytest.raises(AnswerParseError, match="does not name a part"):
        completion.parse_part(text)
