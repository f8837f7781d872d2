"""The part of an index that an audience may read, in which nothing else exists.

Documents and passages are numbered anew, words are counted among the visible passages only, vectors are compared
exactly among the visible ones only, and the fingerprint is that of an index which holds no more than these. Whatever
searches, lists, counts or answers from it cannot differ by what is hidden, because it has no way to reach it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import UsageError
from rag_ft.indexing.access import Audience, label_of
from rag_ft.indexing.storage.bm25 import Bm25Index
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.manifest import Counts, index_fingerprint
from rag_ft.indexing.storage.vectors import Scored, VectorIndex, exact_top
from rag_ft.indexing.storage.word_counts import PartBm25, WordCounts
from rag_ft.schema import Document, Metadata, Passage

KEPT = 32
"""Audiences whose part is kept ready: each holds scores, 12 bytes for each word of each passage."""


class VisibleVectors(VectorIndex):
    """Some rows of an index's vectors, numbered from 0; always searched exactly, whatever the kind of index.

    An approximate search walks over hidden vectors, too, and what it finds depends on them.
    """

    def __init__(self, whole: VectorIndex, rows: NDArray[np.int64]) -> None:
        self._whole = whole
        self._rows = rows
        self.kind = whole.kind

    @property
    def vectors(self) -> NDArray[np.float32]:  # type: ignore[override]
        """A copy of the rows' vectors."""
        return self._whole.vectors[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> list[list[Scored]]:
        """As `VectorIndex.search`, exact."""
        numbers = np.arange(len(self._rows), dtype=np.int64) if allowed is None else allowed
        rankings = [exact_top(self._whole.vectors, query, k, self._rows[numbers]) for query in queries]
        # Both are ascending, so that the place of a row among the visible ones is found by bisection.
        return [
            [Scored(int(np.searchsorted(self._rows, scored.row)), scored.score) for scored in ranking]
            for ranking in rankings
        ]

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The exact scores of some rows for one query."""
        return self._whole.scores(query, self._rows[rows])


class VisibleGeneration(Generation):
    """What an audience may read of a committed state, with the same doors as the whole one."""

    def __init__(self, parts: VisibleParts, audience: Audience) -> None:
        whole = parts.whole
        self._whole = whole
        self._parts = parts
        self._numbers = [number for number, row in enumerate(whole.table) if audience.may_read(row.metadata)]
        self.folder = whole.folder
        self.table = [whole.table[number] for number in self._numbers]
        self.firsts = np.cumsum(np.array([0, *(row.passages for row in self.table)], dtype=np.int64))
        self.row_of = {row.id: number for number, row in enumerate(self.table)}
        spans = [np.arange(whole.firsts[number], whole.firsts[number + 1], dtype=np.int64) for number in self._numbers]
        self._rows: NDArray[np.int64] = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
        self.vectors = VisibleVectors(whole.vectors, self._rows)
        manifest = whole.manifest
        fingerprint = index_fingerprint(
            (row.fingerprint for row in self.table), manifest.embedder.fingerprint, manifest.chunking
        )
        counts = Counts(documents=len(self.table), passages=len(self._rows))
        self.manifest = manifest.model_copy(update={"fingerprint": fingerprint, "counts": counts, "files": {}})
        self._words: Bm25Index | None = None
        self._counting = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def bm25(self) -> Bm25Index:  # type: ignore[override]
        """The words of the visible passages, counted at first use."""
        with self._counting:
            if self._words is None:
                self._words = PartBm25(self._parts.counts(), self._rows)
            return self._words

    def passage(self, row: int) -> Passage:
        """The passage of a row."""
        return self._whole.passage(int(self._rows[row]))

    def passages_of(self, number: int) -> Iterator[Passage]:
        """The passages of a document, by its number in the table, in order."""
        return self._whole.passages_of(self._numbers[number])

    def document(self, number: int) -> Document:
        """A document, by its number in the table."""
        return self._whole.document(self._numbers[number])


class VisibleParts:
    """The parts of one committed state, made when first asked for. Safe for concurrent use."""

    def __init__(self, whole: Generation) -> None:
        self.whole = whole
        self._counts: WordCounts | None = None
        self._counting = threading.Lock()
        self._kept: OrderedDict[Audience, VisibleGeneration] = OrderedDict()
        self._lock = threading.Lock()
        self._named = {name for row in whole.table for name in _names(row.metadata)}

    def of(self, audience: Audience) -> VisibleGeneration:
        """What an audience may read."""
        # Groups that no document names make no difference, and no other part.
        default = None if audience.default is None else bool(audience.groups & audience.default)
        own = Audience(
            audience.groups & self._named | ({""} if default else frozenset()),
            None if default is None else frozenset({""}),
        )
        with self._lock:
            found = self._kept.get(own)
            if found is None:
                found = self._kept[own] = VisibleGeneration(self, own)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(own)
            return found

    def counts(self) -> WordCounts:
        """The words of all passages, counted once."""
        from rag_ft.indexing.chunking import passage_text

        with self._counting:
            if self._counts is None:
                numbers = range(len(self.whole.table))
                self._counts = WordCounts(
                    passage_text(passage) for number in numbers for passage in self.whole.passages_of(number)
                )
            return self._counts


def _names(metadata: Metadata) -> tuple[str, ...]:
    try:
        return label_of(metadata) or ()
    except UsageError:
        return ()
