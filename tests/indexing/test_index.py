from __future__ import annotations

import pytest
from fakes import HashingEmbedder
from small_indexes import DOCUMENTS, build, rankings, same

from rag_ft.errors import IndexMismatchError, UsageError
from rag_ft.indexing.index import Index

# Building


def test_rows_and_ids_name_the_same_passages(path):
    index = build(DOCUMENTS, path)
    assert [index.passage(row) for row in range(len(index))] == [*index.passages()]
    with pytest.raises(IndexError):
        index.passage(len(index))


# Searching


def test_search_gives_hits_with_ranks_and_cosines(path):
    index = build(DOCUMENTS, path)
    passage = index.passage(5)
    hits = index.search(passage.title + "\n" + passage.text, 3, mode="dense")
    assert hits[0].passage == passage
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3]


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_a_k_that_is_not_a_positive_whole_number_is_a_usage_error(path, k):
    index = build(DOCUMENTS[:1], path)
    for mode in ("dense", "bm25"):
        with pytest.raises(UsageError, match="it must be a whole number from 1"):
            index.search("a", k, mode=mode)


def test_k_beyond_the_index_gives_every_passage(path):
    index = build(DOCUMENTS, path)
    assert len(index.search("billing", 10_000, mode="dense")) == len(index)


# Loading and saving


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_loaded_index_finds_what_the_built_one_found(path, kind, mmap):
    built = build(DOCUMENTS, path, kind=kind)
    same(built, Index.load(path, embedder=HashingEmbedder(), verify="full", mmap=mmap))
    assert built.manifest.kind == kind
    assert 0.5 <= built.manifest.recall_at_10 <= 1


def test_an_object_keeps_its_state_while_the_index_is_written_again(path):
    build(DOCUMENTS, path)
    reader = Index.load(path, embedder=HashingEmbedder())
    before = rankings(reader)
    build(DOCUMENTS[3:], path)
    assert rankings(reader) == before
    assert len(Index.load(path)) < len(reader)


def test_an_embedder_that_cannot_be_found_by_name_is_asked_for(path, monkeypatch):
    build(DOCUMENTS, path)
    index = Index.load(path)
    assert index.search("billing", 1, mode="bm25")
    with pytest.raises(IndexMismatchError, match=r"as Index\.load"):
        index.search("billing", 1, mode="dense")


@pytest.mark.parametrize("name", ["organisation/model", "embedder", "{folder}/embedder"])
def test_an_index_from_a_stranger_fetches_and_loads_no_embedder(path, tmp_path, monkeypatch, name):
    def never(*arguments, **options):
        raise AssertionError("looked up")

    (tmp_path / "embedder").mkdir()
    monkeypatch.chdir(tmp_path)
    embedder = HashingEmbedder()
    embedder.name = name.format(folder=tmp_path)
    build(DOCUMENTS, path, embedder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", never)
    monkeypatch.setattr("rag_ft.models.weights.resolve_embedder", never)
    index = Index.load(path)
    with pytest.raises(IndexMismatchError, match=r"if you trust it, give it once with --embedder"):
        _ = index.embedder


def test_search_finds_what_the_retriever_of_the_same_mode_finds(path):
    index = build(DOCUMENTS, path)
    for mode in (None, "dense", "bm25", "hybrid", "blend"):
        assert index.search("billing rule 2", 4, mode=mode) == index.as_retriever(4, mode).retrieve("billing rule 2")
    assert len(index.search("billing")) == 3


def test_only_the_object_of_a_build_has_a_build_report(path):
    index = build(DOCUMENTS, path)
    report = index.build_report
    assert report is not None and len(report.added) == len(DOCUMENTS)
    assert index.add([DOCUMENTS[0]], progress=False).unchanged == 1 and index.build_report is report
    assert Index.load(path).build_report is None
