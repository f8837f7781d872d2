"""Which passages hold a word, and how often: kept per shard, so that BM25 can count over all shards.

An index's own postings (`storage.bm25`) hold finished scores, which depend on how rare a word is in that index and on
the mean length of its passages. These here hold the counts, memory-mapped, and scores are computed for each question
with the rarity and the mean of all shards: they are those of one index of all passages.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_ft.checksums import sha256_of
from rag_ft.errors import IndexStoreError
from rag_ft.files import is_real_folder, remove_tree, sync_tree, write_atomic
from rag_ft.indexing.storage.folder import PASSAGES, is_generation
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.postings import K1, B, count_words
from rag_ft.indexing.storage.reading import load_array, load_json, save_array
from rag_ft.indexing.storage.table import words_of_passages

_VOCABULARY = "vocabulary.json"
_ARRAYS = ("starts.npy", "rows.npy", "times.npy", "lengths.npy")
_SEAL = "words.json"
"""Written last: of which state of the shard these are the words, and the checksums of the files."""

_UNFINISHED = ".tmp"


class Posting(NamedTuple):
    """The passages that hold a word."""

    rows: NDArray[np.int32]
    """Ascending."""
    times: NDArray[np.integer[Any]]
    """How often each holds it."""


class Corpus(NamedTuple):
    """What BM25 knows of all passages together."""

    mean: float
    """Mean number of words in a passage."""
    rarity: Mapping[str, np.float32]
    """Weight of each word of the question that some passage holds."""


_NOTHING = Posting(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32))


class Postings:
    """Word counts of one shard's passages. Safe for concurrent use."""

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        times: NDArray[np.integer[Any]],
        lengths: NDArray[np.int32],
    ) -> None:
        self._vocabulary = vocabulary
        self._starts = starts
        self._rows = rows
        self._times = times
        self.lengths = lengths
        """Number of words in each passage."""
        self.words = int(lengths.sum(dtype=np.int64))
        """Number of words in all passages."""

    def __len__(self) -> int:
        return len(self.lengths)

    def of(self, word: str) -> Posting:
        """The passages that hold a word."""
        number = self._vocabulary.get(word)
        if number is None:
            return _NOTHING
        span = slice(int(self._starts[number]), int(self._starts[number + 1]))
        return Posting(self._rows[span], self._times[span])

    counts_at_hand = True
    """Whether `counts` reads nothing from disk."""

    def counts(self, words: Sequence[str]) -> dict[str, int]:
        """Number of passages that hold each word."""
        counts = dict.fromkeys(words, 0)
        for word in words:
            number = self._vocabulary.get(word)
            if number is not None:
                counts[word] = int(self._starts[number + 1] - self._starts[number])
        return counts

    def scores(self, words: Sequence[str], corpus: Corpus) -> NDArray[np.float32]:
        """BM25 of every passage for the words of a question, in their order."""
        scores = np.zeros(len(self), dtype=np.float32)
        for word in words:
            if word in corpus.rarity:
                rows, times = self.of(word)
                scores[rows] += self._parts(word, rows, times, corpus)  # a row occurs once per word
        return scores

    def scores_of(self, words: Sequence[str], corpus: Corpus, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """BM25 of some passages, as `scores` gives it."""
        scores = np.zeros(len(rows), dtype=np.float32)
        for word in words:
            if word in corpus.rarity:
                holding, times = self.of(word)
                if len(holding):
                    at = np.minimum(np.searchsorted(holding, rows), len(holding) - 1)
                    has = holding[at] == rows
                    scores[has] += self._parts(word, holding[at[has]], times[at[has]], corpus)
        return scores

    def _parts(
        self, word: str, rows: NDArray[np.int32], times: NDArray[np.integer[Any]], corpus: Corpus
    ) -> NDArray[np.float32]:
        # Step by step as bm25s computes it, Lucene's variant, in float32 at the end: the last digit must agree.
        counts = times.astype(np.float64)
        norms = K1 * (1 - B + B * self.lengths[rows] / corpus.mean)
        return np.asarray(corpus.rarity[word] * counts / (counts + norms), dtype=np.float32)


class PartPostings(Postings):
    """The counts of some passages of a shard, renumbered from 0."""

    def __init__(self, whole: Postings, rows: NDArray[np.int64]) -> None:
        self._whole = whole
        self._visible = rows
        self.lengths = whole.lengths[rows]
        self.words = int(self.lengths.sum(dtype=np.int64))

    def of(self, word: str) -> Posting:
        """The passages of the part that hold a word."""
        rows, times = self._whole.of(word)
        if not len(rows) or not len(self._visible):
            return _NOTHING
        at = np.minimum(np.searchsorted(self._visible, rows), len(self._visible) - 1)
        seen = self._visible[at] == rows
        return Posting(at[seen].astype(np.int32), times[seen])

    counts_at_hand = False

    def counts(self, words: Sequence[str]) -> dict[str, int]:
        """Number of passages of the part that hold each word."""
        return {word: len(self.of(word).rows) for word in words}


def corpus_of(parts: Sequence[Mapping[str, int]], texts: int, words: int) -> Corpus:
    """The statistics of all passages, from the counts of each shard for the words of a question."""
    together: dict[str, int] = {}
    for part in parts:
        for word, count in part.items():
            together[word] = together.get(word, 0) + count
    held = {word: count for word, count in together.items() if count}
    if not held:
        return Corpus(0.0, {})
    counts = np.array(list(held.values()), dtype=np.int64)
    rarity = np.log(1 + (texts - counts + 0.5) / (counts + 0.5)).astype(np.float32)
    return Corpus(words / texts, dict(zip(held, rarity, strict=True)))


def shard_postings(generation: Generation) -> Postings:
    """The words of a shard's passages: as the shard keeps them, or counted now if it was made before that was kept."""
    rules = generation.manifest.rules
    counts = generation.bm25.counts or count_words(
        words_of_passages(generation.folder / PASSAGES, generation.table, rules), rules
    )
    return Postings(counts.vocabulary, counts.starts, counts.rows, counts.times, counts.lengths)


def postings_of(generation: Generation, folder: Path, *, mmap: bool = True) -> Postings:
    """The counts of a shard's state: those kept in `folder`, or counted now, and kept there if that can be written.

    Raises IndexStoreError if the shard cannot be read.
    """
    kept = folder / generation.manifest.generation
    postings = _load(kept, generation, mmap=mmap)
    if postings is None:
        postings = shard_postings(generation)
        with contextlib.suppress(OSError, IndexStoreError):  # read-only, or full: counted again next time
            _save(postings, kept, generation)
            postings = _load(kept, generation, mmap=mmap) or postings
    return postings


def _load(folder: Path, generation: Generation, *, mmap: bool) -> Postings | None:
    """What was kept of this state of the shard; None if there is nothing, or if it is damaged."""
    try:
        if not is_generation(folder):
            return None
        seal = load_json(folder / _SEAL)
        if seal["index"] != generation.manifest.fingerprint:
            return None
        if any(sha256_of(folder / name) != seal["files"][name] for name in (_VOCABULARY, *_ARRAYS)):
            return None
        vocabulary = load_json(folder / _VOCABULARY)
        starts = load_array(folder / _ARRAYS[0], mmap=False)
        rows, times, lengths = (load_array(folder / name, mmap=mmap) for name in _ARRAYS[1:])
        return Postings(vocabulary, starts, rows, times, lengths) if len(lengths) == len(generation) else None
    except (OSError, IndexStoreError, KeyError, TypeError):
        return None


def _save(postings: Postings, folder: Path, generation: Generation) -> None:
    """Keep the counts in a folder of their own, which appears whole. Raises OSError, IndexStoreError."""
    parent = folder.parent
    parent.mkdir(exist_ok=True)
    if not is_real_folder(parent):
        return
    work = parent / f"{folder.name}.{secrets.token_hex(4)}{_UNFINISHED}"
    work.mkdir()
    try:
        vocabulary = json.dumps(dict(postings._vocabulary), ensure_ascii=False, separators=(",", ":"))
        (work / _VOCABULARY).write_text(vocabulary, encoding="utf-8")
        arrays: tuple[NDArray[Any], ...] = (postings._starts, postings._rows, postings._times, postings.lengths)
        for name, array in zip(_ARRAYS, arrays, strict=True):
            save_array(work / name, array)
        files = {name: sha256_of(work / name, fresh=True) for name in (_VOCABULARY, *_ARRAYS)}
        write_atomic(work / _SEAL, json.dumps({"index": generation.manifest.fingerprint, "files": files}))
        sync_tree(work)
        if is_generation(folder):  # damaged, or of another index
            remove_tree(folder, inside=parent)
        os.rename(work, folder)
    finally:
        remove_tree(work, inside=parent, ignore_errors=True)


def sweep_postings(folder: Path, keep: set[str]) -> None:
    """Delete the counts of other states than `keep`, and what killed writers left. Raises OSError, UsageError."""
    for path in sorted(folder.iterdir()) if is_real_folder(folder) else ():
        ours = is_generation(path) or (path.name.endswith(_UNFINISHED) and is_real_folder(path))
        if ours and path.name not in keep:
            remove_tree(path, inside=folder, ignore_errors=True)
