from __future__ import annotations

import numpy as np
import pytest
from bm25s import BM25
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.indexing.storage.postings import K1, B, CountedPostings, bm25_scores, count_words, merged
from rag_ft.indexing.storage.words import Words

TEXTS = st.lists(
    st.lists(st.sampled_from("cranes load rope winch 7 hook".split()), max_size=9).map(" ".join), max_size=8
)


def same(one: CountedPostings, other: CountedPostings) -> None:
    assert one.vocabulary == other.vocabulary
    for name in ("starts", "rows", "times", "lengths"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_each_word_has_the_texts_that_hold_it_and_how_often():
    counts = count_words(["rope hook rope", "", "a hook"])
    assert counts.vocabulary == {"": 0, "hook": 1, "rope": 2}
    assert counts.starts.tolist() == [0, 0, 2, 3]
    assert counts.rows.tolist() == [0, 2, 0] and counts.times.tolist() == [1, 1, 2]
    assert counts.lengths.tolist() == [3, 0, 1]


def test_a_word_may_come_more_than_255_times():
    assert count_words(["hook " * 300]).times.tolist() == [300]


@given(TEXTS)
@settings(max_examples=50, deadline=None)
def test_scores_are_those_of_bm25s_to_the_last_digit(texts):
    words = Words()
    counts = count_words(texts)
    numbered = [[counts.vocabulary[word] for word in words.of(text)] for text in texts]
    if not any(numbered):
        assert not len(bm25_scores(counts))
        return
    peer = BM25(k1=K1, b=B, method="lucene", idf_method="lucene", csc_backend="numpy", backend="numpy")
    wanted = peer.build_index_from_ids(list(range(len(counts.vocabulary))), numbered, show_progress=False)
    assert np.array_equal(bm25_scores(counts), wanted["data"])
    assert np.array_equal(counts.rows, wanted["indices"]) and np.array_equal(counts.starts, wanted["indptr"])


@given(TEXTS, TEXTS, st.data())
@settings(max_examples=100, deadline=None)
def test_after_any_change_counts_are_those_of_the_texts_that_are_there(before, new, data):
    kept = [row for row in range(len(before)) if data.draw(st.booleans())]
    places = sorted(data.draw(st.permutations(range(len(kept) + len(new))))[: len(new)])
    former_rows = np.full(len(kept) + len(new), -1, dtype=np.int64)
    former_rows[[row for row in range(len(former_rows)) if row not in places]] = kept
    added = iter(new)
    texts = [before[row] if row >= 0 else next(added) for row in former_rows.tolist()]
    same(merged(count_words(before), former_rows, count_words(new)), count_words(texts))


@pytest.mark.parametrize("rows", [[], [1], [0, 2, 3]])
def test_a_part_counts_as_if_there_were_no_others(rows):
    texts = ["rope hook rope", "winch", "a hook", "load rope"]
    part = count_words(texts).part(np.array(rows, dtype=np.int64))
    alone = count_words([texts[row] for row in rows])
    assert part.lengths.tolist() == alone.lengths.tolist()
    for word, number in part.vocabulary.items():
        own = alone.vocabulary.get(word)
        held = slice(*part.starts[number : number + 2])
        expected = slice(0, 0) if own is None else slice(*alone.starts[own : own + 2])
        assert part.rows[held].tolist() == alone.rows[expected].tolist()
        assert part.times[held].tolist() == alone.times[expected].tolist()
