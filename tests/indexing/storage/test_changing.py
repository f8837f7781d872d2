from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rag_ft.indexing.storage.changing import REMOVED_MOST, FormerVectors, changed_vectors, index_vectors
from rag_ft.indexing.storage.vectors import (
    Effort,
    VectorIndex,
    build_vectors,
    kind_of,
    read_vectors,
    stored_vectors,
    write_vectors,
)


def near_centres(rows: int, seed: int = 0, dimension: int = 32) -> np.ndarray:
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(8).normal(size=(30, dimension))
    vectors = centres[chance.integers(30, size=rows)] + 0.7 * chance.normal(size=(rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


BEFORE = near_centres(2000)
QUERIES = near_centres(60, seed=4)


def no_queries() -> np.ndarray:
    return QUERIES[:0]


@pytest.fixture(scope="module")
def former(tmp_path_factory):
    """Paths of an index of `BEFORE`, of each approximate kind."""
    folder = tmp_path_factory.mktemp("former")
    for kind in ("hnsw", "ivf-pq"):
        write_vectors(build_vectors(BEFORE, kind, lambda: QUERIES)[0], folder / kind)
    return folder


def changed(former: Path, kind: str, kept: np.ndarray, new: int, *, seed: int = 1):
    """The index of some former vectors with new ones in between, and all its vectors."""
    chance = np.random.default_rng(seed)
    rows = np.full(len(kept) + new, -1, dtype=np.int64)
    rows[np.sort(chance.choice(len(rows), len(kept), replace=False))] = kept
    vectors = np.empty((len(rows), BEFORE.shape[1]), dtype=np.float32)
    vectors[rows >= 0], vectors[rows < 0] = BEFORE[kept], near_centres(new, seed)
    return changed_vectors(FormerVectors(former / kind, BEFORE, rows), vectors, kind), vectors


def exact(vectors: np.ndarray, query: np.ndarray) -> set[int]:
    return {*np.argsort(-(vectors @ query), kind="stable")[:10].tolist()}


CHANGES = {
    "added": (np.arange(2000), 100),
    "removed": (np.setdiff1d(np.arange(2000), np.arange(40, 160)), 0),
    "both": (np.setdiff1d(np.arange(2000), np.arange(0, 2000, 20)), 300),
    "nothing": (np.arange(2000), 0),
}


@pytest.mark.parametrize("kind", ["hnsw", "ivf-pq"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_after_a_change_rows_are_those_of_the_new_state_and_recall_is_that_of_a_new_index(former, kind, change):
    index, vectors = changed(former, kind, *change)
    fresh, effort = build_vectors(vectors, kind, lambda: QUERIES)
    assert index.ntotal == len(vectors) and kind_of(index) == kind
    if kind == "hnsw":
        assert np.array_equal(stored_vectors(index), vectors)

    def recall(searched) -> float:
        found = VectorIndex(searched, kind, effort.search, vectors).search(QUERIES, 10)
        pairs = zip(found, QUERIES, strict=True)
        return float(np.mean([len({hit.row for hit in row} & exact(vectors, query)) / 10 for row, query in pairs]))

    assert recall(index) >= recall(fresh) - 0.02


@pytest.mark.parametrize("kind", ["hnsw", "ivf-pq"])
def test_a_removed_vector_is_in_no_byte_that_is_written(former, kind, tmp_path):
    index, _ = changed(former, kind, np.arange(100, 2000), 10)
    write_vectors(index, tmp_path / "vectors")
    data = (tmp_path / "vectors").read_bytes()
    assert all(vector.tobytes() not in data for vector in BEFORE[:100])
    found = VectorIndex(index, kind, 64, np.zeros((index.ntotal, 32), dtype=np.float32)).search(BEFORE[:100], 10)
    assert {hit.row for row in found for hit in row} <= {*range(index.ntotal)}


def test_lists_with_a_removed_vector_as_a_centre_are_built_anew(former, tmp_path):
    index = read_vectors(former / "ivf-pq", mmap=False)
    centres = index.quantizer.reconstruct_n(0, index.nlist)
    centres[0] = BEFORE[7]
    index.quantizer.reset()
    index.quantizer.add(centres)
    write_vectors(index, tmp_path / "vectors")
    for gone, anew in ((7, True), (8, False)):
        rows = np.delete(np.arange(2000), gone)
        result = changed_vectors(FormerVectors(tmp_path / "vectors", BEFORE, rows), BEFORE[rows], "ivf-pq")
        assert (result is None) == anew


def test_additions_one_by_one_reach_the_higher_levels_of_a_graph_as_a_new_graph_does(former, tmp_path):
    import faiss

    rows, vectors, path = np.arange(2000), BEFORE, former / "hnsw"
    levels = set()
    for number in range(60):
        vectors = np.concatenate([vectors, near_centres(1, seed=100 + number)])
        index = changed_vectors(FormerVectors(path, vectors[:-1], np.append(rows, -1)), vectors, "hnsw")
        levels.add(int(faiss.vector_to_array(index.hnsw.levels)[-1]))
        rows, path = np.arange(len(vectors)), tmp_path / "vectors"
        write_vectors(index, path)
    assert levels == {1, 2}  # one in 32 is above level 0


def test_a_change_that_is_not_worth_it_is_none(former):
    few = np.arange(int(len(BEFORE) * REMOVED_MOST) + 1, len(BEFORE))
    assert changed(former, "hnsw", few, 0)[0] is None
    assert changed(former, "hnsw", np.append(few[0] - 1, few), 0)[0] is not None
    assert changed(former, "ivf-pq", np.arange(2000), 4000)[0] is None, "too few lists"
    assert changed(former, "ivf-pq", np.arange(500), 0)[0] is None, "too many lists"
    assert changed(former, "hnsw", np.arange(0), 50)[0] is None, "nothing is left"


def test_another_kind_or_dimension_is_built_anew(former):
    rows = np.arange(2000)
    assert changed_vectors(FormerVectors(former / "ivf-pq", BEFORE, rows), BEFORE, "hnsw") is None
    assert changed_vectors(FormerVectors(former / "hnsw", BEFORE, rows), BEFORE, "flat") is None
    assert changed_vectors(FormerVectors(former / "hnsw", BEFORE, rows), BEFORE[:, :16].copy(), "hnsw") is None


def test_a_changed_index_that_misses_its_recall_is_built_anew(former, monkeypatch):
    rows = np.arange(2000)
    unusable, _ = build_vectors(near_centres(2000, seed=6), "hnsw", lambda: QUERIES)
    monkeypatch.setattr("rag_ft.indexing.storage.changing.changed_vectors", lambda *_: unusable)
    before = FormerVectors(former / "hnsw", BEFORE, rows)
    index, effort = index_vectors(BEFORE, "hnsw", lambda: QUERIES, before)
    assert index is not unusable and effort.recall_at_10 >= 0.95
    assert effort.recall_when_built is None, "this state's"
    assert index_vectors(BEFORE, "hnsw", no_queries, before)[0] is unusable, "nothing to measure with"


def test_a_collection_on_which_new_graphs_miss_the_recall_too_is_not_built_anew_for_it(former, monkeypatch):
    measured = [0.9, 0.89, 0.87]
    monkeypatch.setattr("rag_ft.indexing.storage.changing.measure_effort", lambda *_: Effort(2048, measured.pop(0)))
    monkeypatch.setattr("rag_ft.indexing.storage.changing.build_vectors", lambda *_: ("new", Effort(2048, 0.9)))
    before = FormerVectors(former / "hnsw", BEFORE, np.arange(2000), recall_when_built=0.9)
    kept = [index_vectors(BEFORE, "hnsw", lambda: QUERIES, before) for _ in range(3)]
    assert [index == "new" for index, _ in kept] == [False, False, True]
    assert [effort.recall_when_built for _, effort in kept] == [0.9, 0.9, None]
