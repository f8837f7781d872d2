from __future__ import annotations

import faiss
import numpy as np
import pytest

from rag_ft.indexing.storage.graph import remove_from_graph
from rag_ft.indexing.storage.vectors import HNSW_BUILD_EFFORT, HNSW_NEIGHBOURS, stored_vectors

GROUPS = 40


def near_centres(rows: int, dimension: int = 24, seed: int = 0) -> np.ndarray:
    """Vectors near a few centres, those of one centre one after another."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(GROUPS, dimension))
    vectors = centres[np.sort(np.arange(rows) % GROUPS)] + 0.7 * chance.normal(size=(rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def graph_of(vectors: np.ndarray) -> faiss.IndexHNSWFlat:
    index = faiss.IndexHNSWFlat(vectors.shape[1], HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_BUILD_EFFORT
    index.add(vectors)
    return index


def recall(index: faiss.IndexHNSWFlat, vectors: np.ndarray, effort: int = 32) -> float:
    queries = near_centres(200, vectors.shape[1], seed=9)
    found = index.search(queries, 10, params=faiss.SearchParametersHNSW(efSearch=effort))[1]
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    return float(np.mean([len({*row} & {*best}) / 10 for row, best in zip(found, exact, strict=True)]))


def without(vectors: np.ndarray, chosen: np.ndarray) -> tuple[faiss.IndexHNSWFlat, np.ndarray]:
    index = graph_of(vectors)
    removed = np.zeros(len(vectors), dtype=np.bool_)
    removed[chosen] = True
    remove_from_graph(index, removed, stored_vectors(index))
    return index, vectors[~removed]


@pytest.fixture(scope="module")
def vectors():
    return near_centres(3000)


WHO = {
    "at random": lambda vectors: np.random.default_rng(1).choice(len(vectors), len(vectors) // 10, replace=False),
    "all near one place": lambda vectors: np.arange(150, 225),
    "all near some places": lambda vectors: np.arange(600, 900),
    "one": lambda vectors: np.array([17]),
    "the entry": lambda vectors: np.array([graph_of(vectors).hnsw.entry_point]),
}


@pytest.mark.parametrize("who", WHO.values(), ids=WHO.keys())
def test_without_some_vectors_the_others_are_found_as_in_a_new_graph(vectors, who):
    index, rest = without(vectors, who(vectors))
    assert index.ntotal == len(rest)
    assert np.array_equal(stored_vectors(index), rest)
    assert recall(index, rest) >= recall(graph_of(rest), rest) - 0.01
    assert np.array_equal(index.search(rest, 1)[1][:, 0], np.arange(len(rest)))


def test_no_byte_of_a_removed_vector_is_written(vectors, tmp_path):
    index, _ = without(vectors, np.arange(100, 140))
    data = faiss.serialize_index(index).tobytes()
    assert vectors[99].tobytes() in data
    for vector in vectors[100:140]:
        assert vector.tobytes() not in data and vector[:4].tobytes() not in data


def test_every_link_leads_to_a_node_of_its_level(vectors):
    index, rest = without(vectors, WHO["at random"](vectors))
    levels, offsets = faiss.vector_to_array(index.hnsw.levels), faiss.vector_to_array(index.hnsw.offsets)
    links, ends = faiss.vector_to_array(index.hnsw.neighbors), faiss.vector_to_array(index.hnsw.cum_nneighbor_per_level)
    assert len(links) == offsets[-1] and len(levels) == len(rest) == len(offsets) - 1
    assert levels[index.hnsw.entry_point] == levels.max() == index.hnsw.max_level + 1
    for node, (start, level_count) in enumerate(zip(offsets[:-1].tolist(), levels.tolist(), strict=True)):
        for level in range(level_count):
            found = links[start + ends[level] : start + ends[level + 1]]
            known = found[found >= 0]
            assert np.all(found[len(known) :] == -1) and len({*known.tolist()}) == len(known)
            assert np.all(levels[known] > level) and node not in known


def test_what_remains_can_be_added_to(vectors):
    index, rest = without(vectors, WHO["at random"](vectors))
    more = near_centres(500, seed=3)
    index.add(more)
    everything = np.concatenate([rest, more])
    assert recall(index, everything) >= recall(graph_of(everything), everything) - 0.01


def test_twenty_rounds_of_changes_cost_no_recall(vectors):
    chance = np.random.default_rng(5)
    index, present = graph_of(vectors), vectors
    for number in range(20):
        removed = np.zeros(len(present), dtype=np.bool_)
        removed[chance.choice(len(present), 150, replace=False)] = True
        remove_from_graph(index, removed, stored_vectors(index).copy())
        more = near_centres(150, seed=100 + number)
        index.add(more)
        present = np.concatenate([present[~removed], more])
    assert recall(index, present) >= recall(graph_of(present), present) - 0.01


def test_all_but_a_few_vectors_may_go(vectors):
    index, rest = without(vectors[:300], np.arange(297))
    assert sorted(index.search(rest[:1], 3)[1][0].tolist()) == [0, 1, 2]
