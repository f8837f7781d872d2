"""Words to passages: BM25 postings (bm25s), built, saved without pickle, mapped and searched."""

from __future__ import annotations

import importlib
import json
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexCorruptError
from rag_ft.vectors import SCORE_DECIMALS, Scored

_WORD = re.compile(r"\w+")
_EMPTY_PARAMS = "empty.json"
K1 = 1.5
B = 0.75

STOPWORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with".split()
)
"""Lucene's English list: question words stay out of it, since passages hold them too seldom to mislead."""


_IMPORTING = threading.Lock()


def _bm25s() -> ModuleType:
    """bm25s without JAX: where JAX is installed it would be started by the import, for a choice of the best that is not
    used here, and started on a GPU it takes three quarters of the memory, which the reader then lacks.
    """
    with _IMPORTING:
        if "bm25s" in sys.modules or "jax" in sys.modules:
            return importlib.import_module("bm25s")
        sys.modules["jax"] = None  # type: ignore[assignment]  # its import then fails as if it were not installed
        try:
            return importlib.import_module("bm25s")
        finally:
            del sys.modules["jax"]


class Words:
    """Text to index terms: lower case, runs of letters and digits, English stop words out, Porter 2 stems.

    Single characters are kept ("rank 8"). Not safe to share between threads while one call runs: it locks.
    """

    def __init__(self) -> None:
        import Stemmer

        self._stemmer = Stemmer.Stemmer("english")
        self._stems: dict[str, str] = {}
        self._lock = threading.Lock()

    def of(self, text: str) -> list[str]:
        """Terms of a text in order, repeats kept."""
        words = [word for word in _WORD.findall(text.lower()) if word not in STOPWORDS]
        with self._lock:
            stems = self._stems
            fresh = [word for word in set(words) if word not in stems]
            if fresh:
                if len(stems) > 500_000:
                    stems.clear()
                    fresh = list(set(words))
                stems.update(zip(fresh, self._stemmer.stemWords(fresh), strict=True))
            return [stems[word] for word in words]


class Bm25Index:
    """BM25 over numbered texts (Lucene's variant, k1 1.5, b 0.75). Safe for concurrent searches."""

    def __init__(self, index: Any | None, size: int) -> None:
        self._index = index
        self._size = size
        self._words = Words()

    def __len__(self) -> int:
        return self._size

    @classmethod
    def build(cls, texts: Iterable[str]) -> Bm25Index:
        """Postings of the texts, numbered from 0; the same texts always give the same bytes."""
        bm25s = _bm25s()
        words = Words()
        vocabulary: dict[str, int] = {"": 0}  # never empty, which bm25s could not store
        numbered: list[list[int]] = [
            [vocabulary.setdefault(word, len(vocabulary)) for word in words.of(text)] for text in texts
        ]
        if not any(numbered):
            return cls(None, len(numbered))
        index = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy", csc_backend="numpy")
        index.scores = index.build_index_from_ids(
            unique_token_ids=list(range(len(vocabulary))), corpus_token_ids=numbered, show_progress=False
        )
        index.vocab_dict = vocabulary
        index.unique_token_ids_set = set(vocabulary.values())
        return cls(index, len(numbered))

    def save(self, folder: Path) -> None:
        """Write arrays as .npy and the vocabulary as JSON into a folder, created if missing.

        Raises OSError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self._index is None:
            (folder / _EMPTY_PARAMS).write_text(json.dumps({"num_docs": self._size}), encoding="utf-8")
        else:
            self._index.save(folder, show_progress=False, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, *, mmap: bool = True) -> Bm25Index:
        """Read what `save` wrote; files are expected to have had their checksums compared.

        Raises IndexCorruptError.
        """
        bm25s = _bm25s()
        try:
            if (folder / _EMPTY_PARAMS).exists():
                return cls(None, int(json.loads((folder / _EMPTY_PARAMS).read_text(encoding="utf-8"))["num_docs"]))
            index = bm25s.BM25.load(folder, mmap=mmap, allow_pickle=False, load_corpus=False, show_progress=False)
            return cls(index, int(index.scores["num_docs"]))
        except FileNotFoundError:
            raise
        except (ValueError, KeyError, TypeError, EOFError) as error:
            raise IndexCorruptError(f"{folder} cannot be read ({error}): build the index again") from error

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
        """The k best texts for each query that share a word with it; equal scores in row order.

        `allowed`: only these rows. Word statistics are those of all texts.
        """
        return [self._search_one(query, k, allowed) for query in queries]

    def scores(self, query: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The scores of some rows for one query, as `search` gives them; 0 for a text that shares no word."""
        found = self._scores(query)
        if found is None:
            return np.zeros(len(rows), dtype=np.float64)
        return _rounded(found[rows])

    def _scores(self, query: str) -> NDArray[np.float32] | None:
        """The scores of all rows, or None where no word of the query is known."""
        if self._index is None:
            return None
        vocabulary = self._index.vocab_dict
        known = [vocabulary[word] for word in self._words.of(query) if word in vocabulary]
        if not known:
            return None
        scores: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        return scores

    def _search_one(self, query: str, k: int, allowed: NDArray[np.int64] | None) -> list[Scored]:
        scores = self._scores(query)
        if scores is None or k <= 0:
            return []
        rows = np.flatnonzero(scores) if allowed is None else allowed[scores[allowed] > 0]
        found = _rounded(scores[rows])
        if len(rows) > 4 * k:
            threshold = np.partition(found, -k)[-k]
            rows, found = rows[found >= threshold], found[found >= threshold]
        order = np.argsort(-found, kind="stable")[:k]
        return [Scored(int(rows[place]), float(found[place])) for place in order]


def _rounded(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(scores.astype(np.float64).round(SCORE_DECIMALS), dtype=np.float64)
