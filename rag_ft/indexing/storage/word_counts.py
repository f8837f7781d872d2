"""Word counts of each text, from which BM25 is computed for a part of the texts as if there were no others.

The stored postings (bm25.py) hold finished scores, which depend on how rare a word is among all texts and on their mean
length: used for a part, they would reveal something about the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.storage.bm25 import K1, B, Bm25Index, Words
from rag_ft.text.normalising import NORMALISING_RULES


class WordCounts:
    """Word counts of numbered texts, computed once for all parts."""

    def __init__(self, texts: Iterable[str], rules: int = NORMALISING_RULES) -> None:
        words = Words(rules)
        self.rules = rules
        self.vocabulary: dict[str, int] = {}
        parts: list[NDArray[np.int32]] = []
        counts: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        distinct: list[int] = []
        for text in texts:
            numbered = [self.vocabulary.setdefault(word, len(self.vocabulary)) for word in words.of(text)]
            terms, times = np.unique(np.array(numbered, dtype=np.int32), return_counts=True)
            parts.append(terms)
            counts.append(times.astype(np.int32))
            lengths.append(len(numbered))
            distinct.append(len(terms))
        empty = np.zeros(0, dtype=np.int32)
        self.terms: NDArray[np.int32] = np.concatenate([empty, *parts])
        """Distinct words of each text, one text after another."""
        self.times: NDArray[np.int32] = np.concatenate([empty, *counts])
        self.lengths: NDArray[np.int64] = np.array(lengths, dtype=np.int64)
        """Number of words in each text."""
        self.firsts: NDArray[np.int64] = np.cumsum([0, *distinct], dtype=np.int64)


class PartBm25(Bm25Index):
    """BM25 over some of the texts, renumbered from 0; all statistics are of these texts alone."""

    def __init__(self, whole: WordCounts, rows: NDArray[np.int64]) -> None:
        super().__init__(
            None, len(rows), rules=whole.rules
        )  # with stems of its own: a word stemmed before would be faster
        lengths = whole.lengths[rows]
        distinct = whole.firsts[rows + 1] - whole.firsts[rows]
        # Positions of the rows' words, one row after another.
        starts = np.repeat(whole.firsts[rows] - np.cumsum(distinct) + distinct, distinct)
        positions = starts + np.arange(len(starts), dtype=np.int64)
        terms = whole.terms[positions]
        order = np.argsort(terms, kind="stable")
        self._vocabulary = whole.vocabulary
        self._texts_with = np.bincount(terms, minlength=len(whole.vocabulary))
        """Number of texts that contain each word."""
        self._ends: NDArray[np.int64] = np.cumsum(self._texts_with, dtype=np.int64)
        self._rows = np.repeat(np.arange(len(rows), dtype=np.int64), distinct)[order]
        times = whole.times[positions][order].astype(np.float64)
        mean = lengths.mean() if len(lengths) else 0.0
        norms = K1 * (1 - B + B * lengths / mean) if mean else np.zeros(len(lengths))
        rarity = np.log(1 + (len(rows) - self._texts_with + 0.5) / (self._texts_with + 0.5))
        # As bm25s computes it, Lucene's variant, in float32 at the end.
        self._parts = (rarity[terms[order]].astype(np.float32) * times / (times + norms[self._rows])).astype(np.float32)

    def _scores(self, query: str) -> NDArray[np.float32] | None:
        known = [self._vocabulary[word] for word in self._words.of(query) if word in self._vocabulary]
        known = [word for word in known if self._texts_with[word]]
        if not known:
            return None
        scores = np.zeros(len(self), dtype=np.float32)
        for word in known:
            span = slice(int(self._ends[word] - self._texts_with[word]), int(self._ends[word]))
            scores[self._rows[span]] += self._parts[span]  # a row occurs once per word
        return scores
