"""Searching one state of many shards at once: each ranks its own passages, and the rankings are merged exactly.

A row is among the best of all shards only if it is among the best of its own, and equal scores keep the order of rows,
so the k best of each shard hold the k best of all. Scores are those of one index: cosines depend on a passage alone,
and BM25 gets its statistics from all shards (`postings`).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexStoreError
from rag_ft.indexing.searcher import Searcher
from rag_ft.indexing.shards.crew import Crew
from rag_ft.indexing.shards.generation import Shard, ShardedGeneration
from rag_ft.indexing.shards.postings import Corpus, corpus_of
from rag_ft.indexing.storage.bm25 import best_rows, rounded_scores
from rag_ft.indexing.storage.vectors import Scored
from rag_ft.indexing.storage.words import Words
from rag_ft.schema import Hit, Passage

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

T = TypeVar("T")


_Keys: TypeAlias = list[int | None]
"""Numbers of the texts of some rows; None in an index made before they were kept."""


class _Ranked(NamedTuple):
    """A shard's rows for each query, with their texts' numbers: who has these need not ask the shard again."""

    rankings: list[list[Scored]]
    keys: list[_Keys]


class _Copy(NamedTuple):
    """A passage with the same text as one that was found."""

    row: int
    key: int
    id: str


class _Seen(NamedTuple):
    """What a shard has of the passages that were found: its own, and those with the same text."""

    passages: list[Passage]
    copies: list[_Copy]


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
        describe: Callable[[Shard, Exception], str],
    ) -> None:
        """`incomplete`: what was missing before. `describe`: the failure of a shard as one sentence."""
        super().__init__(generation, embedder)
        self._sharded = generation
        self._crew = crew
        self._words = words
        self._limit_s = limit_s
        self._missing = incomplete
        self._describe = describe
        self._failed: dict[int, str] = {}
        """What became of the shards that failed, by their numbers."""
        self._keys: dict[int, int | None] = {}
        """Number of the text of each row that was ranked."""
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
        calls: Mapping[Path, Callable[[], T]] = {
            shards[number].path: partial(call, number, shards[number]) for number in asked
        }
        outcome = self._crew.call(calls, self._limit_s)
        results: dict[int, T] = {}
        for number in asked:
            path = shards[number].path
            if path in outcome.errors:
                self._failed[number] = self._describe(shards[number], outcome.errors[path])
            else:
                results[number] = outcome.results[path]
        if len(self._failed) == len(shards):
            raise IndexStoreError(f"no shard of the index at {self._sharded.folder} answers: {self.incomplete[-1]}")
        return results

    def _allowed_in(self, allowed: NDArray[np.int64] | None) -> dict[int, NDArray[np.int64]] | None:
        if allowed is None:
            return None
        return {number: part.rows for number, part in self._sharded.split(allowed).items()}

    def _merged(self, ranked: Mapping[int, _Ranked], queries: int, k: int) -> list[list[Scored]]:
        """The k best rows of all shards for each query, from the rankings of each."""
        numbered = [
            [self._numbered(number, *pair) for pair in zip(found.rankings, found.keys, strict=True)]
            for number, found in ranked.items()
        ]
        return [
            heapq.nsmallest(
                k, (scored for found in numbered for scored in found[query]), key=lambda s: (-s.score, s.row)
            )
            for query in range(queries)
        ]

    def _numbered(self, number: int, ranking: Sequence[Scored], keys: _Keys) -> list[Scored]:
        rows = self._sharded.rows_of(number, _rows(ranking)).tolist()
        self._keys.update(zip(rows, keys, strict=True))
        return [Scored(row, scored.score) for row, scored in zip(rows, ranking, strict=True)]

    def _rank_vectors(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> list[list[Scored]]:
        within = self._allowed_in(allowed)

        def rank(number: int, shard: Shard) -> _Ranked:
            rows = None if within is None else within[number]
            return _ranked(shard, shard.generation.vectors.search(vectors, k, rows))

        return self._merged(self._each(rank, within), len(vectors), k)

    def _rank_words(self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None) -> list[list[Scored]]:
        within = self._allowed_in(allowed)
        self._count(queries)

        def rank(number: int, shard: Shard) -> _Ranked:
            rows = None if within is None else within[number]
            rankings = [
                best_rows(shard.postings.scores(self._terms[query], self._corpora[query]), k, rows)
                if self._corpora[query].rarity
                else []
                for query in queries
            ]
            return _ranked(shard, rankings)

        return self._merged(self._each(rank, within), len(queries), k)

    def _count(self, queries: Sequence[str]) -> None:
        """Find out how rare the words of some queries are among all passages."""
        new = [query for query in dict.fromkeys(queries) if query not in self._corpora]
        if not new:
            return
        terms = {query: self._words.of(query) for query in new}
        words = sorted({word for query in new for word in terms[query]})
        if all(shard.postings.counts_at_hand for shard in self._sharded.shards):
            present = [number for number in range(len(self._sharded.shards)) if number not in self._failed]
            counts = {number: self._sharded.shards[number].postings.counts(words) for number in present}
        else:
            counts = self._each(lambda number, shard: shard.postings.counts(words))
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
        lost = self._lost(_rows(ranked))
        best: dict[int | tuple[int], Scored] = {}
        for scored in ranked:
            if scored.row not in lost:
                key = self._keys[scored.row]
                best.setdefault((scored.row,) if key is None else key, scored)
                if len(best) == k:
                    break
        return list(best.values())

    def _lost(self, rows: NDArray[np.int64]) -> set[int]:
        """Those of some rows whose shard has failed since they were ranked."""
        if not self._failed:
            return set()
        parts = self._sharded.split(rows)
        return {int(row) for number, part in parts.items() if number in self._failed for row in rows[part.at]}

    def hits(self, ranking: Iterable[Scored], allowed: NDArray[np.int64] | None = None) -> list[Hit]:
        """Rows and scores, best first, as hits, without those of shards that fail."""
        ranked = list(ranking)
        if not ranked:
            return []
        rows = _rows(ranked)
        parts = self._sharded.split(rows)
        within = self._allowed_in(allowed)
        keys = {self._keys[scored.row] for scored in ranked} - {None}

        def see(number: int, shard: Shard) -> _Seen:
            own = parts[number].rows if number in parts else ()
            visible = None if within is None else within[number]
            return _Seen(
                [shard.generation.passage(int(row)) for row in own], self._copies(number, shard, keys, visible)
            )

        seen = self._each(see, within)
        copies: defaultdict[int | None, list[str]] = defaultdict(list)
        for copy in sorted(copy for part in seen.values() for copy in part.copies):
            copies[copy.key].append(copy.id)
        passages = {
            int(i): passage
            for number, found in seen.items()
            if number in parts
            for i, passage in zip(parts[number].at, found.passages, strict=True)
        }
        return [
            Hit(
                passage=passages[i],
                score=ranked[i].score,
                rank=rank,
                also_in=tuple(name for name in copies[self._keys[ranked[i].row]] if name != passages[i].id),
            )
            for rank, i in enumerate(sorted(passages), start=1)
        ]

    def _copies(
        self, number: int, shard: Shard, keys: set[int | None], visible: NDArray[np.int64] | None
    ) -> list[_Copy]:
        """The passages of a shard that have some texts."""
        stored = shard.generation.text_keys
        if stored is None:
            return []
        copies: list[_Copy] = []
        for key in keys:
            rows = np.flatnonzero(stored == key)
            if visible is not None:
                rows = np.intersect1d(rows, visible, assume_unique=True)
            for place, row in zip(self._sharded.rows_of(number, rows), rows, strict=True):
                copies.append(_Copy(int(place), int(stored[row]), shard.generation.passage(int(row)).id))
        return copies


def _rows(ranking: Sequence[Scored]) -> NDArray[np.int64]:
    return np.array([scored.row for scored in ranking], dtype=np.int64)


def _ranked(shard: Shard, rankings: list[list[Scored]]) -> _Ranked:
    stored = shard.generation.text_keys
    if stored is None:
        return _Ranked(rankings, [[None] * len(ranking) for ranking in rankings])
    return _Ranked(rankings, [stored[_rows(ranking)].tolist() for ranking in rankings])
