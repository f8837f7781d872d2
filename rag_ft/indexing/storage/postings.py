"""Which texts hold a word, and how often: what BM25's scores are computed from, for all texts or for some of them.

Scores depend on how rare a word is among all texts and on their mean length, so they cannot be taken over when a text
is added or hidden. Counts can: only the words of new texts are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.storage.words import Words
from rag_ft.text.normalising import NORMALISING_RULES

K1 = 1.5
B = 0.75

_BLOCK = 4_000_000
"""Postings whose scores are computed at a time, in float64."""


class CountedPostings(NamedTuple):
    """Word counts of texts that are numbered from 0."""

    vocabulary: Mapping[str, int]
    """Number of each word. The empty string, which no text holds, is the first."""
    starts: NDArray[np.int64]
    """Where each word's postings start; one element more than there are words."""
    rows: NDArray[np.int32]
    """Texts that hold a word, ascending, one word after another."""
    times: NDArray[np.unsignedinteger[Any]]
    """How often each of them holds it."""
    lengths: NDArray[np.int32]
    """Number of words in each text."""

    def part(self, rows: NDArray[np.int64]) -> CountedPostings:
        """The counts of some texts, ascending, renumbered from 0; the words of the others stay, without postings."""
        number = _renumbering(rows, len(self.lengths))
        kept = number[self.rows] >= 0
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(kept, dtype=np.int64)])[self.starts]
        return CountedPostings(
            self.vocabulary, starts, number[self.rows[kept]], self.times[kept], np.asarray(self.lengths)[rows]
        )


def count_words(texts: Iterable[str], rules: int = NORMALISING_RULES) -> CountedPostings:
    """Count the words of texts; the same texts always give the same arrays. `rules`: see `Words`."""
    words = Words(rules)
    vocabulary: dict[str, int] = {}
    parts: list[NDArray[np.int32]] = []
    counts: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    for text in texts:
        numbered = [vocabulary.setdefault(word, len(vocabulary)) for word in words.of(text)]
        terms, times = np.unique(np.array(numbered, dtype=np.int32), return_counts=True)
        parts.append(terms)
        counts.append(times.astype(np.int32))
        lengths.append(len(numbered))
    empty = np.zeros(0, dtype=np.int32)
    rows = np.repeat(np.arange(len(lengths), dtype=np.int32), list(map(len, parts)))
    # Numbered in order, so that what stands on disk does not say in which order texts came.
    ordered = ["", *sorted(vocabulary)]
    number = np.zeros(len(vocabulary), dtype=np.int32)
    number[[vocabulary[word] for word in ordered[1:]]] = np.arange(1, len(ordered), dtype=np.int32)
    terms = number[np.concatenate([empty, *parts])]
    order = np.argsort(terms, kind="stable")
    return CountedPostings(
        {word: position for position, word in enumerate(ordered)},
        _starts(terms, len(ordered)),
        rows[order],
        _narrow(np.concatenate([empty, *counts])[order]),
        np.array(lengths, dtype=np.int32),
    )


def merged(former: CountedPostings, former_rows: NDArray[np.int64], added: CountedPostings) -> CountedPostings:
    """The counts of texts of which some were counted before.

    `former_rows`: for each text its number in `former`, ascending, or -1 for the next one of `added`. Equal to what
    `count_words` gives for all texts: a word that no text holds any more is gone.
    """
    size = len(former_rows)
    old = np.flatnonzero(former_rows >= 0)
    new = np.flatnonzero(former_rows < 0)
    number = np.full(len(former.lengths), -1, dtype=np.int32)
    number[former_rows[old]] = old
    kept = number[former.rows] >= 0
    still = np.diff(np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(kept)])[former.starts]) > 0
    words = ["", *sorted({*_held(former.vocabulary, still), *_held(added.vocabulary, np.diff(added.starts) > 0)})]
    vocabulary = {word: position for position, word in enumerate(words)}
    keys = _keys(former, vocabulary, number, size)[kept]
    new_keys = _keys(added, vocabulary, new.astype(np.int32), size)
    at = np.searchsorted(keys, new_keys)
    keys = np.insert(keys, at, new_keys)
    times = np.insert(np.asarray(former.times)[kept].astype(np.int32), at, added.times)
    lengths = np.zeros(size, dtype=np.int32)
    lengths[old], lengths[new] = np.asarray(former.lengths)[former_rows[old]], added.lengths
    starts = np.searchsorted(keys, np.arange(len(words) + 1, dtype=np.int64) * max(1, size))
    return CountedPostings(vocabulary, starts, (keys % max(1, size)).astype(np.int32), _narrow(times), lengths)


def bm25_scores(postings: CountedPostings) -> NDArray[np.float32]:
    """The BM25 score of each posting: Lucene's variant, step by step as bm25s computes it, for equal last digits."""
    texts_with = np.diff(postings.starts)
    texts = len(postings.lengths)
    # The logarithm of Python, not numpy's, whose last digit may differ.
    rarity = np.array([math.log(1 + (texts - n + 0.5) / (n + 0.5)) for n in texts_with.tolist()], dtype=np.float32)
    mean = np.asarray(postings.lengths).mean() if texts else 0.0
    norms = K1 * ((1 - B) + B * postings.lengths / mean) if mean else np.zeros(texts)
    scores = np.empty(len(postings.rows), dtype=np.float32)
    terms = np.repeat(np.arange(len(texts_with), dtype=np.int32), texts_with)
    for start in range(0, len(scores), _BLOCK):
        part = slice(start, start + _BLOCK)
        times = postings.times[part].astype(np.float64)
        scores[part] = rarity[terms[part]] * (times / (norms[postings.rows[part]] + times))
    return scores


def _held(vocabulary: Mapping[str, int], held: Sequence[bool] | NDArray[np.bool_]) -> Iterator[str]:
    return (word for word, number in vocabulary.items() if held[number])


def _keys(
    postings: CountedPostings, vocabulary: Mapping[str, int], number: NDArray[np.int32], size: int
) -> NDArray[np.int64]:
    """A number for each posting, ascending by word and text. `number`: the new one of each text."""
    words = np.array([vocabulary.get(word, -1) for word in postings.vocabulary], dtype=np.int64)
    keys = np.repeat(words, np.diff(postings.starts))
    keys *= size
    keys += number[postings.rows]
    return keys


def _renumbering(rows: NDArray[np.int64], size: int) -> NDArray[np.int32]:
    """The position in `rows` of each number below `size`; -1 for one that is not there."""
    number = np.full(size, -1, dtype=np.int32)
    number[rows] = np.arange(len(rows), dtype=np.int32)
    return number


def _starts(terms: NDArray[np.int32], words: int) -> NDArray[np.int64]:
    counts = np.bincount(terms, minlength=words)
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


def _narrow(times: NDArray[np.int32]) -> NDArray[np.unsignedinteger[Any]]:
    """Counts in the smallest type that holds them: a word is seldom 256 times in a passage."""
    most = int(times.max(initial=0))
    return times.astype(np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.uint32)
