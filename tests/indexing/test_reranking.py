import pytest

from rag_ft.indexing.query import Query
from rag_ft.indexing.reranking import rerank
from rag_ft.schema import Hit, Passage


def hit(text, score, rank):
    return Hit(passage=Passage(id=text, document_id="d", text=text, start=0, end=len(text)), score=score, rank=rank)


class RerankerThatCountsLetters:
    """Gives a passage as many log-odds as the question's last letter occurs in it."""

    def __init__(self):
        self.calls = 0

    def relevance_batch(self, pairs):
        self.calls += 1
        return [float(passage.text.count(question[-1])) for question, passage in pairs]


HITS = [hit("b", 0.8, 1), hit("aa", 0.8, 2), hit("aaab", 0.4, 3)]


def order(hits):
    return [given.passage.text for given in hits]


def test_log_odds_and_first_scores_are_added():
    reranker = RerankerThatCountsLetters()
    by_reading, mixed, by_first = (
        rerank([Query("for a")], [HITS], reranker, weight, 0.4)[0] for weight in (0.0, 4.0, 100.0)
    )
    assert order(by_reading) == ["aaab", "aa", "b"]
    assert order(mixed) == ["aa", "aaab", "b"]
    assert order(by_first) == ["aa", "b", "aaab"]
    assert [given.rank for given in mixed] == [1, 2, 3]
    assert mixed[0].score == pytest.approx(0.88, abs=0.01)  # log-odds 2, and the best first score takes nothing away


def test_a_margin_is_what_separates_a_hit_from_the_next():
    reranker = RerankerThatCountsLetters()
    by_reading, mixed = (rerank([Query("for a")], [HITS], reranker, weight, 0.4)[0] for weight in (0.0, 4.0))
    assert [given.margin for given in by_reading] == [1.0, 2.0, None]
    # Sums: aa 2, aaab 3 - 4 / 2, b 0.
    assert [given.margin for given in mixed] == [1.0, 1.0, None]
    assert all(given.margin is None for given in HITS)


def test_a_margin_is_exact_where_scores_round_to_one_and_never_negative():
    class Sure(RerankerThatCountsLetters):
        def relevance_batch(self, pairs):
            return [{"b": 31.0, "aa": 33.0, "aaab": 25.0}[passage.text] for _, passage in pairs]

    hits = rerank([Query("a")], [HITS], Sure(), 0.0, 0.4)[0]
    assert [given.score for given in hits] == [1.0, 1.0, 1.0] and order(hits) == ["b", "aa", "aaab"]
    assert [given.margin for given in hits] == [0.0, 8.0, None]


def test_all_questions_are_read_in_one_call_and_equal_ones_keep_their_order():
    reranker = RerankerThatCountsLetters()
    hits = rerank([Query("for z"), Query("for b"), Query("x")], [HITS[:2], HITS, []], reranker, 0.0, 0.4)
    assert [order(given) for given in hits] == [["b", "aa"], ["b", "aaab", "aa"], []]
    assert reranker.calls == 1


@pytest.mark.parametrize(("own_weight", "best"), [(1.0, "b"), (0.0, "aaab")])
def test_a_follow_up_is_read_alone_and_joined(own_weight, best):
    query = Query("b", history=("a",))

    class ByLength(RerankerThatCountsLetters):
        def relevance_batch(self, pairs):
            return [len(passage.text) * (1.0 if len(question) > 1 else -1.0) for question, passage in pairs]

    assert order(rerank([query], [HITS], ByLength(), 0.0, own_weight)[0])[0] == best


def test_hits_without_a_positive_score_are_ordered_by_reading():
    hits = [hit("b", 0.0, 1), hit("a", -1.0, 2)]
    assert order(rerank([Query("for a")], [hits], RerankerThatCountsLetters(), 8.0, 0.4)[0]) == ["a", "b"]
