"""Words to passages: BM25 postings (by bm25s), built, saved without pickle, memory-mapped and searched."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexCorruptError
from rag_ft.extras import import_without
from rag_ft.indexing.storage.folder import BM25, BM25_COUNTS, BM25_EMPTY, BM25_FILES
from rag_ft.indexing.storage.postings import K1, B, CountedPostings, bm25_scores, count_words
from rag_ft.indexing.storage.reading import REPAIR, load_array, load_json, reading, save_array
from rag_ft.indexing.storage.vectors import SCORE_DECIMALS, Scored
from rag_ft.indexing.storage.words import Words
from rag_ft.text.normalising import NORMALISING_RULES

_PARAMS = {
    "k1": K1,
    "b": B,
    "delta": 0.5,
    "method": "lucene",
    "idf_method": "lucene",
    "dtype": "float32",
    "int_dtype": "int32",
    "backend": "numpy",
}
_ARRAYS = ("data", "indices", "indptr")
"""In the order of their files in `BM25_FILES`; vocabulary and settings come after them."""
_VOCABULARY, _SETTINGS = BM25_FILES[-2:]
_TIMES, _LENGTHS = BM25_COUNTS


def _bm25s() -> ModuleType:
    """Import bm25s without JAX.

    bm25s imports JAX if it is installed, for a top-k function that is not used here; on a GPU, JAX then takes three
    quarters of the memory, which the reader needs.
    """
    return import_without("bm25s", "jax")


class Bm25Index:
    """BM25 over numbered texts (Lucene's variant, k1 1.5, b 0.75). Safe for concurrent searches."""

    def __init__(
        self,
        index: Any | None,
        size: int,
        folder: Path = Path(BM25),
        rules: int = NORMALISING_RULES,
        counts: CountedPostings | None = None,
    ) -> None:
        self._index = index
        self._size = size
        self._folder = folder
        self._words = Words(rules)
        self.counts = counts
        """What its scores were computed from; None in an index made before that was kept."""

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, texts: Iterable[str], rules: int = NORMALISING_RULES) -> Bm25Index:
        """Index texts, numbered from 0; the same texts always give the same bytes. `rules`: see `Words`."""
        return cls.of(count_words(texts, rules), rules)

    @classmethod
    def of(cls, counts: CountedPostings, rules: int = NORMALISING_RULES) -> Bm25Index:
        """Index texts whose words were counted."""
        size = len(counts.lengths)
        if not len(counts.rows):
            return cls(None, size, rules=rules, counts=counts)
        arrays = (bm25_scores(counts), counts.rows, counts.starts)
        return cls(
            _searchable(dict(zip(_ARRAYS, arrays, strict=True)), counts.vocabulary, size),
            size,
            rules=rules,
            counts=counts,
        )

    def save(self, folder: Path) -> None:
        """Write arrays as .npy and the vocabulary as JSON into a folder, which is created if missing.

        The files are those that bm25s writes, but a full disk is noticed, which numpy's own writer hides. Raises
        OSError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self._index is None:
            (folder / BM25_EMPTY).write_text(json.dumps({"num_docs": self._size}), encoding="utf-8")
            return
        assert self.counts is not None
        save_array(folder / _TIMES, self.counts.times)
        save_array(folder / _LENGTHS, self.counts.lengths)
        for name, path in zip(_ARRAYS, BM25_FILES, strict=False):
            save_array(folder / path, self._index.scores[name])
        vocabulary = json.dumps(dict(self._index.vocab_dict), ensure_ascii=False, separators=(",", ":"))
        (folder / _VOCABULARY).write_text(vocabulary, encoding="utf-8")
        params = {**_PARAMS, "num_docs": self._size, "version": importlib.metadata.version("bm25s")}
        (folder / _SETTINGS).write_text(json.dumps(params, indent=4), encoding="utf-8")

    @classmethod
    def load(
        cls, folder: Path, *, mmap: bool = True, rules: int = NORMALISING_RULES, counted: bool = True
    ) -> Bm25Index:
        """Read what `save` wrote, after the checksums of the files were compared. `rules`: see `Words`.

        Settings other than this program's own are refused. `counted`: whether counts were kept. Raises IndexStoreError.
        """
        with reading(folder):
            if (folder / BM25_EMPTY).exists():
                size = _size(load_json(folder / BM25_EMPTY), folder / BM25_EMPTY)
                return cls(None, size, folder, rules, count_words([""] * size, rules))
            params = load_json(folder / _SETTINGS)
            size = _size(params, folder / _SETTINGS)
            wrong = [name for name, value in _PARAMS.items() if name != "backend" and params.get(name) != value]
            if wrong:
                raise IndexCorruptError(f"{folder / _SETTINGS} has a {wrong[0]!r} that rag_ft never writes: {REPAIR}")
            vocabulary = load_json(folder / _VOCABULARY)
            paths = dict(zip(_ARRAYS, BM25_FILES, strict=False))
            arrays = {name: load_array(folder / path, mmap=mmap) for name, path in paths.items()}
            _check(folder, vocabulary, arrays)
            counts = None
            if counted:
                times, lengths = (load_array(folder / name, mmap=mmap) for name in BM25_COUNTS)
                _check_counts(folder, times, lengths, len(arrays["data"]), size)
                counts = CountedPostings(vocabulary, arrays["indptr"], arrays["indices"], times, lengths)
            return cls(_searchable(arrays, vocabulary, size), size, folder, rules, counts)

    def equals(self, other: Bm25Index) -> bool:
        """Whether both hold the same words, postings and scores, and the same counts if both have them."""
        if self._size != other._size or (self._index is None) != (other._index is None):
            return False
        if self._index is None or other._index is None:
            return True
        mine, theirs = _by_word(self._index, self.counts), _by_word(other._index, other.counts)
        return all(np.array_equal(mine[name], theirs[name]) for name in mine.keys() & theirs.keys())

    def search(self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None = None) -> list[list[Scored]]:
        """The k best texts for each query, among those that share a word with it; equal scores are in row order.

        `allowed`: only these rows. Word statistics are those of all texts.
        """
        return [self._search_one(query, k, allowed) for query in queries]

    def scores(self, query: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The scores of some rows for one query, as `search` gives them; 0 for a text that shares no word."""
        scores = self._scores(query)
        if scores is None:
            return np.zeros(len(rows), dtype=np.float64)
        return rounded_scores(scores[rows])

    def _scores(self, query: str) -> NDArray[np.float32] | None:
        """The scores of all rows; None if no word of the query is known."""
        if self._index is None:
            return None
        vocabulary = self._index.vocab_dict
        starts = self._index.scores["indptr"]
        known = [vocabulary[word] for word in self._words.of(query) if word in vocabulary]
        with reading(self._folder):
            # In a part of the texts, words of the others have no postings.
            known = [number for number in known if starts[number + 1] > starts[number]]
            if not known:
                return None
            scores: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        return scores

    def _search_one(self, query: str, k: int, allowed: NDArray[np.int64] | None) -> list[Scored]:
        scores = self._scores(query)
        if scores is None or k <= 0:
            return []
        return best_rows(scores, k, allowed)


def _by_word(index: Any, counts: CountedPostings | None) -> dict[str, NDArray[Any]]:
    """The arrays with their words in order: an index made before numbers words as they came."""
    words, arrays = index.vocab_dict, index.scores
    counted = {} if counts is None else {"times": counts.times, "lengths": counts.lengths}
    order = np.array([words[word] for word in sorted(words)], dtype=np.int64)
    sizes = np.diff(arrays["indptr"])[order]
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)])
    at = np.arange(starts[-1]) + np.repeat(arrays["indptr"][order] - starts[:-1], sizes)
    postings = {"data": arrays["data"], "indices": arrays["indices"], "times": counted.get("times")}
    return {
        "words": np.array(sorted(words)),
        "starts": starts,
        **{name: array[at] for name, array in postings.items() if array is not None},
        **({"lengths": counted["lengths"]} if counted else {}),
    }


def best_rows(scores: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None) -> list[Scored]:
    """The k best rows by the scores of all rows, without those of score 0; equal scores are in row order."""
    rows = np.flatnonzero(scores) if allowed is None else allowed[scores[allowed] > 0]
    rounded = rounded_scores(scores[rows])
    if len(rows) > 4 * k:
        best = rounded >= np.partition(rounded, -k)[-k]
        rows, rounded = rows[best], rounded[best]
    order = np.argsort(-rounded, kind="stable")[:k]
    return [Scored(int(rows[i]), float(rounded[i])) for i in order]


def _size(params: Any, path: Path) -> int:
    """The number of texts, from the settings."""
    size = params.get("num_docs") if isinstance(params, dict) else None
    if type(size) is not int or size < 0:
        raise IndexCorruptError(f"{path} does not give the number of texts: {REPAIR}")
    return size


def _searchable(arrays: Mapping[str, NDArray[Any]], vocabulary: Mapping[str, int], size: int) -> Any:
    """What bm25s searches in."""
    index = _bm25s().BM25(**_PARAMS, csc_backend="numpy")
    index.scores = {**arrays, "num_docs": size}
    index.nonoccurrence_array = None
    index.vocab_dict = vocabulary
    index.unique_token_ids_set = set(vocabulary.values())
    return index


def _check_counts(folder: Path, times: NDArray[Any], lengths: NDArray[Any], postings: int, size: int) -> None:
    """Raise IndexCorruptError unless there is a count for each posting and a length for each text."""
    for name, array, wanted in ((_TIMES, times, postings), (_LENGTHS, lengths, size)):
        if array.dtype.kind not in "iu" or array.shape != (wanted,):
            raise IndexCorruptError(f"{folder / name} does not hold counts: {REPAIR}")


def _check(folder: Path, vocabulary: Any, arrays: dict[str, NDArray[Any]]) -> None:
    """Raise IndexCorruptError unless each word of the vocabulary has postings."""
    for name, path in zip(_ARRAYS, BM25_FILES, strict=False):
        types = (np.float32,) if name == "data" else (np.int32, np.int64)
        if arrays[name].dtype not in types or arrays[name].ndim != 1:
            raise IndexCorruptError(f"{folder / path} does not hold postings: {REPAIR}")
    starts = arrays["indptr"]
    if (
        not isinstance(vocabulary, dict)
        or list(vocabulary.values()) != list(range(len(vocabulary)))
        or len(starts) != len(vocabulary) + 1
        or int(starts[0]) != 0
        or not bool(np.all(starts[1:] >= starts[:-1]))
        or not int(starts[-1]) == len(arrays["data"]) == len(arrays["indices"])
    ):
        raise IndexCorruptError(f"{folder} holds words and postings that do not belong together: {REPAIR}")


def rounded_scores(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores as they are compared and shown."""
    return np.asarray(scores.astype(np.float64).round(SCORE_DECIMALS), dtype=np.float64)
