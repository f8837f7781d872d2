from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from rag_ft.errors import IndexCorruptError, UsageError
from rag_ft.indexing.storage.vectors import (
    FLAT_UP_TO,
    HNSW_UP_TO,
    VectorIndex,
    build_vectors,
    choose_kind,
    read_vectors,
    stored_vectors,
    write_vectors,
)


def unit(rows: int, dimension: int = 32, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def searchable(vectors: np.ndarray, kind: str) -> VectorIndex:
    index, effort = build_vectors(vectors, kind, lambda: unit(50, seed=77))
    return VectorIndex(index, kind, effort.search, vectors)


def test_kind_follows_size_when_automatic():
    assert choose_kind("auto", FLAT_UP_TO) == "flat"
    assert choose_kind("auto", FLAT_UP_TO + 1) == "hnsw"
    assert choose_kind("auto", HNSW_UP_TO + 1) == "ivf-pq"
    assert choose_kind("ivf-pq", 10) == "ivf-pq"


def test_unknown_kind_is_a_usage_error():
    with pytest.raises(UsageError, match="no index kind 'lsh': use auto, flat, hnsw or ivf-pq"):
        choose_kind("lsh", 10)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
def test_search_equals_numpy_where_exact_and_reaches_recall_elsewhere(kind):
    vectors, queries = unit(3000), unit(40, seed=1)
    index, effort = build_vectors(vectors, kind, lambda: unit(50, seed=77))
    found = VectorIndex(index, kind, effort.search, vectors).search(queries, 10)
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    recall = np.mean([len({hit.row for hit in row} & set(best)) / 10 for row, best in zip(found, truth, strict=True)])
    assert recall == 1.0 if kind == "flat" else recall >= 0.8
    assert effort.recall_at_10 == pytest.approx(recall, abs=0.05)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
def test_scores_are_cosines_in_falling_order(kind):
    vectors, queries = unit(500), unit(3, seed=2)
    for query, ranking in zip(queries, searchable(vectors, kind).search(queries, 7), strict=True):
        assert [hit.score for hit in ranking] == sorted((hit.score for hit in ranking), reverse=True)
        for hit in ranking:
            assert hit.score == pytest.approx(float(vectors[hit.row] @ query), abs=2e-6)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
def test_equal_vectors_come_in_row_order(kind):
    vectors = np.repeat(unit(1), 9, axis=0)
    assert [hit.row for hit in searchable(vectors, kind).search(vectors[:1], 5)[0]] == [0, 1, 2, 3, 4]


def test_many_queries_at_once_rank_as_one_by_one():
    vectors, queries = unit(800), unit(50, seed=3)
    index = searchable(vectors, "flat")
    assert index.search(queries, 10) == [index.search(query[None], 10)[0] for query in queries]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
@pytest.mark.parametrize("share", [0.003, 0.5])
def test_filter_gives_the_true_best_of_the_allowed_rows(kind, share):
    vectors, queries = unit(2000), unit(10, seed=4)
    allowed = np.flatnonzero(np.random.default_rng(5).random(2000) < share)
    found = searchable(vectors, kind).search(queries, 5, allowed)
    for query, ranking in zip(queries, found, strict=True):
        best = allowed[np.argsort(-(vectors[allowed] @ query), kind="stable")[:5]]
        assert [hit.row for hit in ranking] == list(best)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_k_beyond_the_index_gives_every_row(kind, rows):
    vectors = unit(rows)
    found = searchable(vectors, kind).search(unit(1, seed=9), 100)[0]
    assert sorted(hit.row for hit in found) == list(range(rows))


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
@pytest.mark.parametrize("mmap", [True, False])
def test_written_and_read_again_it_finds_the_same(kind, mmap, tmp_path: Path):
    vectors, queries = unit(600), unit(5, seed=6)
    index, effort = build_vectors(vectors, kind, lambda: unit(50, seed=77))
    write_vectors(index, tmp_path / "v.faiss")
    again = read_vectors(tmp_path / "v.faiss", mmap=mmap)
    stored = stored_vectors(again)
    assert (stored is None) == (kind == "ivf-pq")
    if stored is not None:
        assert np.array_equal(stored, vectors)
        assert not stored.flags.writeable
    before = VectorIndex(index, kind, effort.search, vectors).search(queries, 5)
    assert VectorIndex(again, kind, effort.search, vectors).search(queries, 5) == before


def test_a_faiss_kind_that_is_never_written_is_refused(tmp_path: Path):
    faiss.write_index(faiss.index_factory(16, "IDMap,LSH"), str(tmp_path / "v.faiss"))
    with pytest.raises(IndexCorruptError, match="IndexIDMap, which rag_ft never writes"):
        read_vectors(tmp_path / "v.faiss", mmap=False)


def test_garbage_is_an_error_and_not_a_crash(tmp_path: Path):
    (tmp_path / "v.faiss").write_bytes(b"IxFI" + b"\xff" * 400)
    with pytest.raises(IndexCorruptError, match="cannot be read by FAISS"):
        read_vectors(tmp_path / "v.faiss", mmap=False)


def test_small_product_quantisation_prints_no_warning(capfd):
    build_vectors(unit(40), "ivf-pq", lambda: unit(5, seed=1))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mmap", [True, False])
def test_lists_that_hold_a_row_twice_are_noticed(mmap, tmp_path):
    vectors = unit(300)
    index, _ = build_vectors(vectors, "ivf-pq", lambda: unit(5, seed=1))
    write_vectors(index, tmp_path / "sound")
    index.remove_ids(np.array([7]))
    index.add_with_ids(vectors[7:8], np.array([8]))
    write_vectors(index, tmp_path / "other")
    for name, sound in (("sound", True), ("other", False)):
        read = read_vectors(tmp_path / name, mmap=mmap)
        assert VectorIndex(read, "ivf-pq", 32, vectors).lists_each_row_once() == sound
    assert VectorIndex(
        build_vectors(vectors, "hnsw", lambda: vectors[:5])[0], "hnsw", 32, vectors
    ).lists_each_row_once()
