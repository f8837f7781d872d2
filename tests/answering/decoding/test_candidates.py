import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_reader import PASSAGES, QUESTIONS, tiny_reader

from rag_ft.answering.decoding.candidates import find_candidates
from rag_ft.answering.prompt import PromptBuilder
from rag_ft.environment import handbook_path
from rag_ft.models.loading import load_tokenizer
from rag_ft.schema import Passage
from rag_ft.text.sentences import sentence_spans
from rag_ft.text.spans import candidate_spans

WORDS = st.lists(st.sampled_from(["crane", "lifts", "42", "tonnes", "(", ")", "Oslo", "."]), min_size=1, max_size=14)


def by_characters(texts):
    return [tuple(map(ord, text)) for text in texts]


def passages(*texts: str) -> list[Passage]:
    return [Passage(id=str(n), document_id="d", text=text, start=0, end=len(text)) for n, text in enumerate(texts)]


@given(st.lists(WORDS, min_size=1, max_size=3), st.integers(1, 40))
def test_every_span_stands_where_it_is_said_to_and_none_is_longer_than_allowed(contents, most):
    given_passages = passages(*(" ".join(words) for words in contents))
    found = find_candidates(given_passages, by_characters, most)
    for number, passage in enumerate(given_passages):
        for span in candidate_spans(passage.text, sentence_spans(passage.text)):
            assert (number, span) in found.occurrences[passage.text[span.start : span.end]]
    for text, places in found.occurrences.items():
        assert all(given_passages[number].text[span.start : span.end] == text for number, span in places)
        assert found.first_occurrences(text).keys() == {number for number, _ in places}
        assert all(
            (number, span) == next(one for one in places if one[0] == number)
            for number, span in found.first_occurrences(text).items()
        )
    assert list(found.texts) == [text for text in found.occurrences if len(text) <= most]
    placed = found.placed
    listed = [
        (found.texts[one], number, placed.span(i)) for i, (one, number, _) in enumerate(zip(*placed, strict=True))
    ]
    assert listed == [(text, *place) for text in found.texts for place in found.occurrences[text]]
    assert list(found.bodies) == by_characters(found.texts)


@given(WORDS)
def test_the_trie_ends_at_each_text_once(words):
    found = find_candidates(passages(" ".join(words)), by_characters, 30)
    assert sorted(number for number in found.trie.ends if number >= 0) == list(range(len(found.texts)))


def test_no_passages_give_no_candidates():
    found = find_candidates([], by_characters, 10)
    assert not found.texts
    assert not found.occurrences
    assert len(found.trie.tokens) == 1


@pytest.mark.slow
def test_the_memory_it_says_is_the_memory_it_takes():
    prompts = PromptBuilder(load_tokenizer(), shots=False)
    text = next(handbook_path().rglob("*.md")).read_text(encoding="utf-8")
    cut = passages(*(text[start : start + 350] for start in range(0, 1400, 350)))
    find_candidates(cut[:1], prompts.body_ids, 48)
    tracemalloc.start()
    try:
        found = [find_candidates([passage], prompts.body_ids, 48) for passage in cut]
        said = sum(candidates.nbytes for candidates in found)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.5 * taken < said < 2 * taken


@pytest.mark.parametrize(("cache_mb", "times"), [(64, len(PASSAGES)), (0, 2 * len(PASSAGES))])
def test_candidates_of_a_passage_are_found_once_where_passages_are_kept(loaded, monkeypatch, cache_mb, times):
    calls = []
    monkeypatch.setattr(
        "rag_ft.answering.decoding.candidates.find_candidates",
        lambda *given: calls.append(given) or find_candidates(*given),
    )
    subject, other = tiny_reader(loaded, passage_cache_mb=cache_mb), tiny_reader(loaded)
    answers = [subject.read(question, PASSAGES).answer for question in QUESTIONS[:2]]
    assert len(calls) == times
    assert answers == [other.read(question, PASSAGES).answer for question in QUESTIONS[:2]]
