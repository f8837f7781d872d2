"""Words to passages: BM25 postings (by bm25s), built, saved without pickle, memory-mapped and searched."""

from __future__ import annotations

import importlib.metadata
import json
import re
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexCorruptError
from rag_ft.extras import import_without
from rag_ft.indexing.storage.folder import BM25, BM25_EMPTY, BM25_FILES
from rag_ft.indexing.storage.reading import REPAIR, load_array, load_json, reading, save_array
from rag_ft.indexing.storage.vectors import SCORE_DECIMALS, Scored
from rag_ft.text.normalising import NORMALISING_RULES, runs, terms

_WORD = re.compile(r"\w+")
K1 = 1.5
B = 0.75

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

STOPWORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with".split()
)
"""Lucene's English list. It has no question words: they are too rare in passages to mislead."""


def _bm25s() -> ModuleType:
    """Import bm25s without JAX.

    bm25s imports JAX if it is installed, for a top-k function that is not used here; on a GPU, JAX then takes three
    quarters of the memory, which the reader needs.
    """
    return import_without("bm25s", "jax")


class Words:
    """Text to index terms: normalised, identifiers whole and in parts, no English stop words, Porter 2 stems.

    Single characters are kept ("rank 8"). `rules`: those of the index that is searched (`ChunkingConfig.rules`); by
    the former ones a term is a run of letters and digits in lower case. Threads may share it: stemming holds a lock.
    """

    def __init__(self, rules: int = NORMALISING_RULES) -> None:
        import Stemmer

        self._normalising = rules >= NORMALISING_RULES
        self._stemmer = Stemmer.Stemmer("english")
        self._stems: dict[str, list[str]] = {}
        """The stemmed terms of each run that was met."""
        self._lock = threading.Lock()

    def of(self, text: str) -> list[str]:
        """The terms of a text in order, with repeats."""
        words = runs(text) if self._normalising else _WORD.findall(text.lower())
        with self._lock:
            stems = self._stems
            new = [word for word in set(words) if word not in stems]
            if new:
                if len(stems) > 500_000:
                    stems.clear()
                    new = list(set(words))
                for word in new:
                    stems[word] = self._stemmer.stemWords(self._terms(word))
            return [stem for word in words for stem in stems[word]]

    def _terms(self, word: str) -> list[str]:
        if self._normalising:
            return terms(word, STOPWORDS)
        return [] if word in STOPWORDS else [word]


class Bm25Index:
    """BM25 over numbered texts (Lucene's variant, k1 1.5, b 0.75). Safe for concurrent searches."""

    def __init__(self, index: Any | None, size: int, folder: Path = Path(BM25), rules: int = NORMALISING_RULES) -> None:
        self._index = index
        self._size = size
        self._folder = folder
        self._words = Words(rules)

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, texts: Iterable[str], rules: int = NORMALISING_RULES) -> Bm25Index:
        """Index texts, numbered from 0; the same texts always give the same bytes. `rules`: see `Words`."""
        bm25s = _bm25s()
        words = Words(rules)
        vocabulary: dict[str, int] = {"": 0}  # never empty, which bm25s could not store
        numbered: list[list[int]] = [
            [vocabulary.setdefault(word, len(vocabulary)) for word in words.of(text)] for text in texts
        ]
        if not any(numbered):
            return cls(None, len(numbered), rules=rules)
        index = bm25s.BM25(**_PARAMS, csc_backend="numpy")
        index.scores = index.build_index_from_ids(
            unique_token_ids=list(range(len(vocabulary))), corpus_token_ids=numbered, show_progress=False
        )
        index.vocab_dict = vocabulary
        index.unique_token_ids_set = set(vocabulary.values())
        return cls(index, len(numbered), rules=rules)

    def save(self, folder: Path) -> None:
        """Write arrays as .npy and the vocabulary as JSON into a folder, which is created if missing.

        The files are those that bm25s writes, but a full disk is noticed, which numpy's own writer hides. Raises
        OSError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self._index is None:
            (folder / BM25_EMPTY).write_text(json.dumps({"num_docs": self._size}), encoding="utf-8")
            return
        for name, path in zip(_ARRAYS, BM25_FILES, strict=False):
            save_array(folder / path, self._index.scores[name])
        vocabulary = json.dumps(self._index.vocab_dict, ensure_ascii=False, separators=(",", ":"))
        (folder / _VOCABULARY).write_text(vocabulary, encoding="utf-8")
        params = {**_PARAMS, "num_docs": self._size, "version": importlib.metadata.version("bm25s")}
        (folder / _SETTINGS).write_text(json.dumps(params, indent=4), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, mmap: bool = True, rules: int = NORMALISING_RULES) -> Bm25Index:
        """Read what `save` wrote, after the checksums of the files were compared. `rules`: see `Words`.

        Settings other than this program's own are refused. Raises IndexStoreError.
        """
        bm25s = _bm25s()
        with reading(folder):
            if (folder / BM25_EMPTY).exists():
                return cls(None, _size(load_json(folder / BM25_EMPTY), folder / BM25_EMPTY), folder, rules)
            params = load_json(folder / _SETTINGS)
            size = _size(params, folder / _SETTINGS)
            wrong = [name for name, value in _PARAMS.items() if name != "backend" and params.get(name) != value]
            if wrong:
                raise IndexCorruptError(f"{folder / _SETTINGS} has a {wrong[0]!r} that rag_ft never writes: {REPAIR}")
            vocabulary = load_json(folder / _VOCABULARY)
            paths = dict(zip(_ARRAYS, BM25_FILES, strict=False))
            arrays = {name: load_array(folder / path, mmap=mmap) for name, path in paths.items()}
            _check(folder, vocabulary, arrays)
            index = bm25s.BM25(**_PARAMS, csc_backend="numpy")
            index.scores = {**arrays, "num_docs": size}
            index.nonoccurrence_array = None
            index.vocab_dict = vocabulary
            index.unique_token_ids_set = set(vocabulary.values())
            return cls(index, size, folder, rules)

    def equals(self, other: Bm25Index) -> bool:
        """Whether both hold the same words, postings and scores."""
        if self._size != other._size or (self._index is None) != (other._index is None):
            return False
        if self._index is None or other._index is None:
            return True
        return self._index.vocab_dict == other._index.vocab_dict and all(
            np.array_equal(self._index.scores[name], other._index.scores[name])
            for name in ("data", "indices", "indptr")
        )

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
        known = [vocabulary[word] for word in self._words.of(query) if word in vocabulary]
        if not known:
            return None
        with reading(self._folder):
            scores: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        return scores

    def _search_one(self, query: str, k: int, allowed: NDArray[np.int64] | None) -> list[Scored]:
        scores = self._scores(query)
        if scores is None or k <= 0:
            return []
        return best_rows(scores, k, allowed)


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
