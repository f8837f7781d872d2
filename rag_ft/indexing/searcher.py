"""Searching one state of an index: rankings of its passages by meaning and by words, as row numbers and as hits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import UsageError
from rag_ft.indexing.chunking import embedder_input
from rag_ft.indexing.filters import Where, as_filter, matches
from rag_ft.indexing.query import check_question
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.vectors import Scored, check_k
from rag_ft.schema import Hit

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder


class Hits(list[Hit]):
    """What was found for one question, best first."""

    def __init__(self, hits: Iterable[Hit] = (), incomplete: tuple[str, ...] = ()) -> None:
        super().__init__(hits)
        self.incomplete = incomplete
        """What could not be searched: one sentence for each shard that did not answer."""


class Searcher:
    """Searches the state that an index had when the searcher was made, whatever is added or removed meanwhile.

    Rows are the index's passages, numbered from 0. Safe for concurrent use.
    """

    def __init__(self, generation: Generation, embedder: Callable[[], Embedder]) -> None:
        """Search a generation; `embedder` loads the index's embedder when a query is first embedded."""
        self._generation = generation
        self._embedder = embedder

    @property
    def incomplete(self) -> tuple[str, ...]:
        """What could not be searched so far, one sentence each: never anything in a single index."""
        return ()

    def encode_query(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Embed queries with the index's embedder; shape (n, dimension)."""
        rules = self._generation.manifest.rules
        return self._embedder().encode_query([embedder_input(query, rules) for query in queries])

    def rank_vectors(
        self, query_vectors: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> list[list[Scored]]:
        """The k rows nearest to each vector, shape (n, dimension), best first; the score is the cosine.

        Equal scores are in row order; a k beyond the index gives all rows. `allowed`: only these rows. Raises
        UsageError.
        """
        check_k(k)
        vectors = np.asarray(query_vectors, dtype=np.float32)
        dimension = self._generation.manifest.embedder.dimension
        if vectors.ndim != 2 or vectors.shape[1] != dimension:
            raise UsageError(f"query vectors must have the shape (n, {dimension}), these have {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise UsageError("a query vector holds values that are not finite")
        return self._rank_vectors(vectors, k, allowed)

    def rank_words(
        self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None = None
    ) -> list[list[Scored]]:
        """The k rows that share the weightiest words with each query, best first; none that share no word.

        Needs no model. `allowed`: only these rows. Raises UsageError.
        """
        check_k(k)
        for query in queries:
            check_question(query)
        return self._rank_words(queries, k, allowed)

    def _rank_vectors(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> list[list[Scored]]:
        return self._generation.vectors.search(vectors, k, allowed)

    def _rank_words(self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None) -> list[list[Scored]]:
        return self._generation.bm25.search(queries, k, allowed)

    def score_vectors(self, query_vector: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cosine of some rows with one query."""
        return self._generation.vectors.scores(query_vector, rows)

    def score_words(self, query: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """BM25 score of some rows for one query."""
        return self._generation.bm25.scores(query, rows)

    def fits(self, query: str) -> bool:
        """Whether the index's embedder reads a query whole."""
        embedder = self._embedder()
        return embedder.count_tokens(embedder_input(query, self._generation.manifest.rules)) <= embedder.max_tokens

    def rows_where(self, where: Where | None) -> NDArray[np.int64] | None:
        """Rows whose documents match a filter, ascending; None for no filter. Raises UsageError."""
        if where is None:
            return None
        where = as_filter(where)
        firsts = self._generation.firsts
        spans = [
            np.arange(firsts[position], firsts[position + 1], dtype=np.int64)
            for position, row in enumerate(self._generation.table)
            if matches(row, where)
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *spans])

    def distinct(self, ranking: Iterable[Scored], k: int) -> list[Scored]:
        """The k best of a ranking, without rows whose text, but for white space, is that of a better one."""
        keys = self._generation.text_keys
        if keys is None:  # an index made before they were kept
            return list(itertools.islice(ranking, k))
        best: dict[int, Scored] = {}
        for scored in ranking:
            best.setdefault(int(keys[scored.row]), scored)
            if len(best) == k:
                break
        return list(best.values())

    def hits(self, ranking: Iterable[Scored], allowed: NDArray[np.int64] | None = None) -> list[Hit]:
        """Rows and scores, best first, as hits. `allowed`: other passages with a hit's text are named only if here."""
        return [
            Hit(
                passage=self._generation.passage(scored.row),
                score=scored.score,
                rank=rank,
                also_in=self._also_in(scored.row, allowed),
            )
            for rank, scored in enumerate(ranking, start=1)
        ]

    def _also_in(self, row: int, allowed: NDArray[np.int64] | None) -> tuple[str, ...]:
        keys = self._generation.text_keys
        if keys is None:
            return ()
        rows = np.flatnonzero(keys == keys[row])
        if allowed is not None:
            rows = np.intersect1d(rows, allowed, assume_unique=True)
        return tuple(self._generation.passage(int(other)).id for other in rows if other != row)
