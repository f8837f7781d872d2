"""Searching one state of many shards at once: each ranks its own passages, and the rankings are merged exactly.

A row is among the best of all shards only if it is among the best of its own, and equal scores keep the order of rows,
so the k best of each shard hold the k best of all. Scores are those of one index: cosines depend on a passage alone,
and BM25 gets its statistics from all shards (`postings`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexStoreError
from rag_ft.indexing.searcher import Hits, Searcher
from rag_ft.indexing.shards.crew import Crew
from rag_ft.indexing.shards.generation import Shard, ShardedGeneration
from rag_ft.indexing.shards.postings import Corpus, corpus_of
from rag_ft.indexing.storage.bm25 import Words, best_rows, rounded_scores
from rag_ft.indexing.storage.vectors import Scored
from rag_ft.schema import Hit, Passage

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

T = TypeVar("T")


class _Found(NamedTuple):
    """A passage that was found, with the number of its text."""

    passage: Passage
    key: int | None


class ShardedSearcher(Searcher):
    """Searches the states that some shards had when it was made. Safe for concurrent use.

    A shard that fails, or takes longer than the limit, is left out from then on, and `incomplete` says so; if all fail,
    that is an IndexStoreError.
    """

    def __init__(
        self,
        generation: ShardedGeneration,
        embedder: Callable[[], Embedder],
        *,
        crew: Crew,
        words: Words,
        limit_s: float,
        incomplete: tuple[str, ...] = (),
        told: Callable[[Shard, Exception], str],
    ) -> None:
        """`incomplete`: what was missing before. `told`: words the failure of a shard as one sentence."""
        super().__init__(generation, embedder)
        self._sharded = generation
        self._crew = crew
        self._words = words
        self._limit_s = limit_s
        self._missing = incomplete
        self._told = told
        self._failed: dict[int, str] = {}
        """What became of the shards that failed, by their numbers."""
        self._terms: dict[str, list[str]] = {}
        self._corpora: dict[str, Corpus] = {}

    @property
    def incomplete(self) -> tuple[str, ...]:
        """What could not be searched so far, one sentence for each shard."""
        return tuple(dict.fromkeys([*self._missing, *(self._failed[number] for number in sorted(self._failed))]))

    def _each(self, call: Callable[[int, Shard], T], numbers: Iterable[int] | None = None) -> dict[int, T]:
        """What a call gives for each shard, or for some, by number; shards that fail are left out from now on."""
        shards = self._sharded.shards
        asked = [
            number for number in (range(len(shards)) if numbers is None else numbers) if number not in self._failed
        ]
        calls: Mapping[str, Callable[[], T]] = {
            str(shards[number].path): lambda number=number: call(number, shards[number])  # type: ignore[misc]
            for number in asked
        }
        outcome = self._crew.call(calls, self._limit_s)
        results: dict[int, T] = {}
        for number in asked:
            path = str(shards[number].path)
            if path in outcome.errors:
                self._failed[number] = self._told(shards[number], outcome.errors[path])
            else:
                results[number] = outcome.results[path]
        if len(self._failed) == len(shards):
            raise IndexStoreError(f"no shard of the index at {self._sharded.folder} answers: {self.incomplete[-1]}")
        return results

    def _allowed_in(self, allowed: NDArray[np.int64] | None) -> dict[int, NDArray[np.int64]] | None:
        if allowed is None:
            return None
        return {number: part.rows for number, part in self._sharded.split(allowed).items()}

    def _merged(self, rankings: Mapping[int, Sequence[Sequence[Scored]]], queries: int, k: int) -> list[list[Scored]]:
        """The k best rows of all shards for each query, from the rankings of each."""
        numbered = [[self._numbered(number, ranking) for ranking in found] for number, found in rankings.items()]
        return [
            heapq.nsmallest(
                k, (scored for found in numbered for scored in found[query]), key=lambda s: (-s.score, s.row)
            )
            for query in range(queries)
        ]

    def _numbered(self, number: int, ranking: Sequence[Scored]) -> list[Scored]:
        rows = self._sharded.rows_of(number, np.array([scored.row for scored in ranking], dtype=np.int64))
        return [Scored(int(row), scored.score) for row, scored in zip(rows, ranking, strict=True)]

    def _rank_vectors(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> list[list[Scored]]:
        within = self._allowed_in(allowed)

        def rank(number: int, shard: Shard) -> list[list[Scored]]:
            rows = None if within is None else within[number]
            return shard.generation.vectors.search(vectors, k, rows)

        return self._merged(self._each(rank, within), len(vectors), k)

    def _rank_words(self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None) -> list[list[Scored]]:
        within = self._allowed_in(allowed)
        self._count(queries)

        def rank(number: int, shard: Shard) -> list[list[Scored]]:
            rows = None if within is None else within[number]
            return [
                best_rows(shard.postings.scores(self._terms[query], self._corpora[query]), k, rows)
                if self._corpora[query].rarity
                else []
                for query in queries
            ]

        return self._merged(self._each(rank, within), len(queries), k)

    def _count(self, queries: Sequence[str]) -> None:
        """Find out how rare the words of some queries are among all passages."""
        new = [query for query in dict.fromkeys(queries) if query not in self._corpora]
        if not new:
            return
        terms = {query: self._words.of(query) for query in new}
        words = sorted({word for query in new for word in terms[query]})
        counts = self._each(lambda number, shard: {word: shard.postings.count(word) for word in words})
        texts = sum(len(self._sharded.shards[number].postings) for number in counts)
        length = sum(self._sharded.shards[number].postings.words for number in counts)
        for query in new:
            self._terms[query] = terms[query]
            asked = [{word: count[word] for word in terms[query]} for count in counts.values()]
            self._corpora[query] = corpus_of(asked, texts, length)

    def score_vectors(self, query_vector: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cosine of some rows with one query; 0 for those of a shard that fails."""
        parts = self._sharded.split(rows)
        scores = np.zeros(len(rows), dtype=np.float64)
        found = self._each(
            lambda number, shard: shard.generation.vectors.scores(query_vector, parts[number].rows), parts
        )
        for number, part in found.items():
            scores[parts[number].at] = part
        return scores

    def score_words(self, query: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """BM25 score of some rows for one query; 0 for those of a shard that fails."""
        self._count([query])
        terms, corpus = self._terms[query], self._corpora[query]
        parts = self._sharded.split(rows)
        scores = np.zeros(len(rows), dtype=np.float32)
        if corpus.rarity:
            found = self._each(lambda number, shard: shard.postings.scores_of(terms, corpus, parts[number].rows), parts)
            for number, part in found.items():
                scores[parts[number].at] = part
        return rounded_scores(scores)

    def distinct(self, ranking: Iterable[Scored], k: int) -> list[Scored]:
        """The k best of a ranking, without rows whose text is that of a better one, and without shards that failed."""
        ranked = list(ranking)
        parts = self._sharded.split(np.array([scored.row for scored in ranked], dtype=np.int64))
        keys: dict[int, int | None] = {}
        for number, found in self._each(lambda number, shard: _keys(shard, parts[number].rows), parts).items():
            keys |= zip(parts[number].at.tolist(), found, strict=True)
        best: dict[int | tuple[int], Scored] = {}
        for i, scored in enumerate(ranked):
            if i in keys:
                key = keys[i]
                best.setdefault((i,) if key is None else key, scored)
                if len(best) == k:
                    break
        return list(best.values())

    def hits(self, ranking: Iterable[Scored], allowed: NDArray[np.int64] | None = None) -> list[Hit]:
        """Rows and scores, best first, as hits, without those of shards that fail."""
        ranked = list(ranking)
        if not ranked:
            return Hits()
        parts = self._sharded.split(np.array([scored.row for scored in ranked], dtype=np.int64))
        found = self._each(
            lambda number, shard: [
                _Found(shard.generation.passage(int(row)), key)
                for row, key in zip(parts[number].rows, _keys(shard, parts[number].rows), strict=True)
            ],
            parts,
        )
        passages = {
            int(i): passage for number, part in found.items() for i, passage in zip(parts[number].at, part, strict=True)
        }
        copies = self._copies({passage.key for passage in passages.values()} - {None}, allowed)
        numbers = {int(i): number for number, part in parts.items() for i in part.at}
        kept = [i for i in range(len(ranked)) if i in passages and numbers[i] not in self._failed]
        return Hits(
            Hit(
                passage=passages[i].passage,
                score=ranked[i].score,
                rank=rank,
                also_in=tuple(name for name in copies.get(passages[i].key, ()) if name != passages[i].passage.id),
            )
            for rank, i in enumerate(kept, start=1)
        )

    def _copies(self, keys: set[int | None], allowed: NDArray[np.int64] | None) -> dict[int | None, list[str]]:
        """Ids of all passages with some texts, in order of rows, by the number of the text."""
        if not keys:
            return {}
        within = self._allowed_in(allowed)

        def copies(number: int, shard: Shard) -> list[tuple[int, int, str]]:
            stored = shard.generation.text_keys
            if stored is None:
                return []
            found = []
            for key in keys:
                rows = np.flatnonzero(stored == key)
                if within is not None:
                    rows = np.intersect1d(rows, within[number], assume_unique=True)
                places = self._sharded.rows_of(number, rows)
                found += [
                    (int(place), int(stored[row]), shard.generation.passage(int(row)).id)
                    for place, row in zip(places, rows, strict=True)
                ]
            return found

        together: dict[int | None, list[str]] = {}
        for _, key, name in sorted(found for part in self._each(copies, within).values() for found in part):
            together.setdefault(key, []).append(name)
        return together


def _keys(shard: Shard, rows: NDArray[np.int64]) -> list[int | None]:
    """Numbers of the texts of some rows; None in an index made before they were kept."""
    keys = shard.generation.text_keys
    return [None] * len(rows) if keys is None else keys[rows].tolist()
