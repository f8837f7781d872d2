import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.answering.decoding.span_search import SpanSearch, SpanTrie, search_spans

CLOSE = 9


class TableModel:
    """A model whose next-token distribution is a fixed function of the tokens so far."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.nodes = 0

    def logprobs(self, tokens: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng([self.seed, len(tokens), *tokens])
        logits = rng.normal(size=CLOSE + 1) * 2
        return logits - np.logaddexp.reduce(logits)

    def score_trees(self, trees, wanted):
        found = []
        for tree, rows in zip(trees, wanted, strict=True):
            paths: list[tuple[int, ...]] = []
            for token, parent in tree:
                paths.append((*(paths[parent] if parent >= 0 else ()), token))
            self.nodes += len(tree)
            found.append([self.logprobs(path)[tokens] for path, tokens in zip(paths, rows, strict=True)])
        return found

    def probability(self, body: tuple[int, ...]) -> float:
        tokens = (*body, CLOSE)
        return sum(self.logprobs(tokens[:i])[token] for i, token in enumerate(tokens))

    def search(self, bodies, **settings):
        trie = SpanTrie(bodies)
        first = dict(enumerate(self.logprobs(()).tolist()))
        return search_spans(self, [[SpanSearch(trie, 0.0, first, CLOSE)]], **settings)[0]


bodies_of = st.lists(
    st.lists(st.integers(0, 8), min_size=1, max_size=6).map(tuple), min_size=1, max_size=40, unique=True
)


@settings(deadline=None)
@given(bodies_of, st.integers(0, 1000), st.integers(1, 12))
def test_the_best_span_is_the_one_that_scoring_every_span_finds(bodies, seed, nodes_in_first_pass):
    model = TableModel(seed)
    exact = [model.probability(body) for body in bodies]
    result = model.search(bodies, nodes_in_first_pass=nodes_in_first_pass)
    assert result.best_logprob == pytest.approx(max(exact))
    assert exact[result.best] == pytest.approx(max(exact))
    for number, value in result.logprobs.items():
        assert value == pytest.approx(exact[number])


@settings(deadline=None)
@given(bodies_of, st.sets(st.integers(0, 39)), st.integers(0, 1000))
def test_an_excluded_candidate_is_never_the_answer_and_the_best_of_the_others_is(bodies, excluded, seed):
    model = TableModel(seed)
    first = dict(enumerate(model.logprobs(()).tolist()))
    search = SpanSearch(SpanTrie(bodies), 0.0, first, CLOSE, excluded=excluded)
    result = search_spans(model, [[search]])[0]
    left = {number: model.probability(body) for number, body in enumerate(bodies) if number not in excluded}
    assert result.best_logprob == pytest.approx(max(left.values(), default=-math.inf))
    assert (result.best in left) == bool(left) and not excluded & result.logprobs.keys()


@settings(deadline=None)
@given(st.lists(st.tuples(bodies_of, st.floats(-12, 0)), min_size=1, max_size=4), st.integers(0, 1000), st.data())
def test_what_is_added_to_candidates_decides_with_their_probability(prompts, seed, data):
    model = TableModel(seed)
    first = dict(enumerate(model.logprobs(()).tolist()))
    numbers = st.floats(-20, 20)
    added = [data.draw(st.lists(numbers, min_size=len(bodies), max_size=len(bodies))) for bodies, _ in prompts]
    contest = [
        SpanSearch(SpanTrie(bodies), 0.0, first, CLOSE, null, added=more)
        for (bodies, null), more in zip(prompts, added, strict=True)
    ]
    results = search_spans(model, [contest], nodes_in_first_pass=4)
    exact = [
        [model.probability(body) + plus - null for body, plus in zip(bodies, more, strict=True)]
        for (bodies, null), more in zip(prompts, added, strict=True)
    ]
    totals = [own[result.best] if result.best >= 0 else -math.inf for own, result in zip(exact, results, strict=True)]
    assert max(totals) == pytest.approx(max(map(max, exact)))
    for result, (bodies, _) in zip(results, prompts, strict=True):
        assert all(value == pytest.approx(model.probability(bodies[i])) for i, value in result.logprobs.items())
        assert result.best < 0 or result.best_logprob == result.logprobs[result.best]


def test_a_second_opinion_leaves_fewer_branches_to_score():
    model = TableModel(1)
    rng = random.Random(0)
    bodies = sorted({tuple(rng.randrange(9) for _ in range(6)) for _ in range(400)})
    model.search(bodies)
    without, model.nodes = model.nodes, 0
    added = [0.0 if body == bodies[7] else -30.0 for body in bodies]
    first = dict(enumerate(model.logprobs(()).tolist()))
    (result,) = search_spans(model, [[SpanSearch(SpanTrie(bodies), 0.0, first, CLOSE, added=added)]])
    assert result.best == 7 and model.nodes < without / 4


@given(bodies_of, st.data())
def test_the_most_below_a_node_is_that_of_its_best_candidate(bodies, data):
    trie = SpanTrie(bodies)
    values = data.draw(st.lists(st.floats(-9, 9), min_size=len(bodies), max_size=len(bodies)))
    most = trie.most_below(values)
    for candidate, body in enumerate(bodies):
        node = 0
        for token in body:
            assert most[node] >= values[candidate]
            node = trie.children[node][token]
        assert most[node] >= values[candidate]
    assert set(most) <= set(values) and most[0] == max(values)


def test_unlikely_branches_are_not_scored():
    model = TableModel(1)
    rng = random.Random(0)
    bodies = sorted({tuple(rng.randrange(9) for _ in range(6)) for _ in range(400)})
    model.search(bodies, nodes_in_first_pass=20)
    assert model.nodes < 0.6 * len(SpanTrie(bodies).tokens)


def test_searches_of_a_batch_do_not_touch_each_other():
    model = TableModel(5)
    sets = [[(1,), (1, 2), (3, 4, 5)], [(2, 2)], [(0, 1, 2, 3, 4)]]
    first = dict(enumerate(model.logprobs(()).tolist()))
    together = search_spans(model, [[SpanSearch(SpanTrie(b), 0.0, first, CLOSE)] for b in sets])
    assert [r.best_logprob for r in together] == [model.search(b).best_logprob for b in sets]


@settings(deadline=None)
@given(st.lists(st.tuples(bodies_of, st.floats(-12, 0)), min_size=1, max_size=5), st.integers(0, 1000))
def test_of_prompts_that_compete_the_one_with_the_best_odds_is_searched_to_the_end(prompts, seed):
    model = TableModel(seed)
    first = dict(enumerate(model.logprobs(()).tolist()))
    contest = [SpanSearch(SpanTrie(bodies), 0.0, first, CLOSE, null) for bodies, null in prompts]
    results = search_spans(model, [contest], nodes_in_first_pass=4)
    exact = [max(model.probability(body) for body in bodies) - null for bodies, null in prompts]
    found = [result.best_logprob - null for result, (_, null) in zip(results, prompts, strict=True)]
    assert max(found) == pytest.approx(max(exact))
    assert exact[found.index(max(found))] == pytest.approx(max(exact))
    assert all(one <= wanted + 1e-9 for one, wanted in zip(found, exact, strict=True))


def test_prompts_that_cannot_win_are_not_searched():
    model = TableModel(3)
    bodies = [(1, 2, 3), (4, 5), (6,), (7, 8)]
    first = dict(enumerate(model.logprobs(()).tolist()))

    def contest(*nulls: float) -> list[SpanSearch]:
        return [SpanSearch(SpanTrie(bodies), 0.0, first, CLOSE, null) for null in nulls]

    alone = search_spans(model, [contest(-9.0)])[0]
    before, model.nodes = model.nodes, 0
    won, *lost = search_spans(model, [contest(-9.0, 0.0, 0.0)])
    assert model.nodes == before
    assert won == alone
    assert [one.best for one in lost] == [-1, -1]


def test_no_candidate_means_no_answer():
    result = TableModel(0).search([])
    assert result.best == -1 and result.best_logprob == -math.inf
