from __future__ import annotations

import shutil

import numpy as np
import pytest
from small_indexes import DOCUMENTS, build

from rag_ft.indexing.shards.postings import Corpus, PartPostings, corpus_of, postings_of, shard_postings, sweep_postings
from rag_ft.indexing.storage.store import IndexStore, open_generation
from rag_ft.indexing.storage.words import Words


@pytest.fixture
def generation(path):
    build(DOCUMENTS, path)
    return open_generation(IndexStore(path), verify="none")


def statistics(postings, words) -> Corpus:
    return corpus_of([postings.counts(words)], len(postings), postings.words)


def test_with_the_statistics_of_one_index_scores_are_its_own(generation):
    postings = shard_postings(generation)
    for query in ("rule 2 for billing", "coffee coffee version 0 of c.md", "nothing like it zebra"):
        words = Words().of(query)
        own = generation.bm25._scores(query)
        scores = postings.scores(words, statistics(postings, words))
        assert np.array_equal(scores, np.zeros(len(postings)) if own is None else own)
        rows = np.array([7, 0, 3, 3], dtype=np.int64)
        assert np.array_equal(postings.scores_of(words, statistics(postings, words), rows), scores[rows])


def test_a_part_counts_only_its_own_passages(generation):
    postings = shard_postings(generation)
    rows = np.array([0, 3, 4, 9], dtype=np.int64)
    part = PartPostings(postings, rows)
    assert len(part) == 4 and part.words == int(postings.lengths[rows].sum())
    for word in Words().of("paragraph 2 of a.md speaks of billing zebra"):
        whole, seen = postings.of(word), part.of(word)
        assert rows[seen.rows].tolist() == [row for row in whole.rows.tolist() if row in rows]
        assert part.counts([word]) == {word: len(seen.rows)}
    empty = PartPostings(postings, np.zeros(0, dtype=np.int64))
    assert empty.counts(["paragraph"]) == {"paragraph": 0} and len(empty) == 0


def same(one, other) -> bool:
    return (
        all(
            np.array_equal(getattr(one, name), getattr(other, name))
            for name in ("_starts", "_rows", "_times", "lengths")
        )
        and one._vocabulary == other._vocabulary
    )


def test_counts_are_kept_mapped_and_used_again(generation, tmp_path, monkeypatch):
    postings = postings_of(generation, tmp_path / "words")
    assert same(postings, shard_postings(generation))
    assert isinstance(postings._rows.base, np.memmap)
    monkeypatch.setattr("rag_ft.indexing.shards.postings.shard_postings", None)
    assert same(postings_of(generation, tmp_path / "words"), postings)


@pytest.mark.parametrize("name", ["rows.npy", "vocabulary.json", "words.json", "lengths.npy"])
@pytest.mark.parametrize("damage", ["gone", "other", "empty"])
def test_damaged_counts_are_counted_again(generation, tmp_path, name, damage):
    wanted = shard_postings(generation)
    postings_of(generation, tmp_path / "words")
    path = tmp_path / "words" / generation.manifest.generation / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink() if damage == "gone" else path.write_bytes(b"" if damage == "empty" else data)
    assert same(postings_of(generation, tmp_path / "words"), wanted)
    assert same(postings_of(generation, tmp_path / "words"), wanted) and path.stat().st_size > 1


def test_counts_of_another_index_are_not_taken_for_its_own(generation, tmp_path):
    other = build(DOCUMENTS[:2], tmp_path / "other")
    foreign = open_generation(IndexStore(other.path), verify="none")
    postings_of(foreign, tmp_path / "words")
    (tmp_path / "words" / foreign.manifest.generation).rename(tmp_path / "words" / generation.manifest.generation)
    assert same(postings_of(generation, tmp_path / "words"), shard_postings(generation))


def test_where_nothing_can_be_written_words_are_counted_each_time(generation, tmp_path):
    (tmp_path / "words").write_text("a file")
    assert same(postings_of(generation, tmp_path / "words"), shard_postings(generation))
    assert (tmp_path / "words").read_text() == "a file"


def test_a_sweep_removes_only_what_it_made(generation, tmp_path):
    folder = tmp_path / "words"
    postings_of(generation, folder)
    kept = generation.manifest.generation
    for name in ("0123456789abcdef", f"{kept}.12345678.tmp", "mine"):
        shutil.copytree(folder / kept, folder / name)
    (tmp_path / "outside").mkdir()
    (folder / "fedcba9876543210").symlink_to(tmp_path / "outside")
    sweep_postings(folder, {kept})
    assert {path.name for path in folder.iterdir()} == {kept, "mine", "fedcba9876543210"}
    assert (tmp_path / "outside").is_dir()
