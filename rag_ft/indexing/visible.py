"""The part of an index that an audience may read, in which nothing else exists.

Documents and passages are renumbered, words are counted among visible passages only, vectors are compared exactly and
among visible ones only, and the fingerprint is that of an index with only these documents. Searches, lists, counts and
answers cannot depend on hidden documents, because they cannot reach them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import UsageError
from rag_ft.indexing.access import Audience, label_of
from rag_ft.indexing.places import Places
from rag_ft.indexing.storage.bm25 import Bm25Index
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.manifest import Counts, index_fingerprint
from rag_ft.indexing.storage.postings import CountedPostings, count_words
from rag_ft.indexing.storage.vectors import Scored, VectorIndex, exact_top
from rag_ft.schema import Document, Metadata, Passage

KEPT = 32
"""Number of audiences whose parts stay in memory; each takes 12 bytes per word and passage."""


class VisibleVectors(VectorIndex):
    """Some rows of an index's vectors, numbered from 0; always searched exactly, whatever the kind of index.

    An approximate search would also visit hidden vectors, and its results would depend on them.
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
        """Search as `VectorIndex.search` does, but always exactly."""
        visible = np.arange(len(self._rows), dtype=np.int64) if allowed is None else allowed
        rankings = [exact_top(self._whole.vectors, query, k, self._rows[visible]) for query in queries]
        # Rows are ascending, so bisection finds the position of one among the visible ones.
        return [
            [Scored(int(np.searchsorted(self._rows, scored.row)), scored.score) for scored in ranking]
            for ranking in rankings
        ]

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The exact scores of some rows for one query."""
        return self._whole.scores(query, self._rows[rows])


class VisibleGeneration(Generation):
    """The part of a generation that an audience may read, with the interface of the whole one."""

    def __init__(self, parts: VisibleParts, audience: Audience) -> None:
        whole = parts.whole
        self._whole = whole
        self._parts = parts
        self._positions = [position for position, row in enumerate(whole.table) if audience.may_read(row.metadata)]
        self.folder = whole.folder
        self.table = [whole.table[position] for position in self._positions]
        self.firsts = np.cumsum(np.array([0, *(row.passages for row in self.table)], dtype=np.int64))
        self.position_of = {row.id: position for position, row in enumerate(self.table)}
        spans = [
            np.arange(whole.firsts[position], whole.firsts[position + 1], dtype=np.int64)
            for position in self._positions
        ]
        self.rows: NDArray[np.int64] = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
        """Row in the whole generation of each passage, ascending."""
        self.vectors = VisibleVectors(whole.vectors, self.rows)
        self.text_keys = None if whole.text_keys is None else whole.text_keys[self.rows]
        manifest = whole.manifest
        fingerprint = index_fingerprint(
            (row.fingerprint for row in self.table), manifest.embedder.fingerprint, manifest.chunking
        )
        counts = Counts(documents=len(self.table), passages=len(self.rows))
        self.manifest = manifest.model_copy(update={"fingerprint": fingerprint, "counts": counts, "files": {}})
        self._words: Bm25Index | None = None
        self._counting = threading.Lock()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bm25(self) -> Bm25Index:  # type: ignore[override]
        """The words of the visible passages, counted at first use."""
        with self._counting:
            if self._words is None:
                self._words = Bm25Index.of(self._parts.counts().part(self.rows), self.manifest.rules)
            return self._words

    def passage(self, row: int) -> Passage:
        """The passage of a row."""
        return self._whole.passage(int(self.rows[row]))

    def passages_of(self, position: int) -> Iterator[Passage]:
        """The passages of a document, by its position in the table, in order."""
        return self._whole.passages_of(self._positions[position])

    def document(self, position: int) -> Document:
        """A document, by its position in the table."""
        return self._whole.document(self._positions[position])

    def places(self, position: int) -> Places | None:
        """Where a document's characters stand in its file, by its position in the table."""
        return self._whole.places(self._positions[position])


class VisibleParts:
    """The parts of one generation, each made at first use. Safe for concurrent use."""

    def __init__(self, whole: Generation) -> None:
        self.whole = whole
        self._counts: CountedPostings | None = None
        self._counting = threading.Lock()
        self._kept: OrderedDict[Audience, VisibleGeneration] = OrderedDict()
        self._lock = threading.Lock()
        self._named = {name for row in whole.table for name in _names(row.metadata)}

    def of(self, audience: Audience) -> VisibleGeneration:
        """The part that an audience may read."""
        # Groups that no document names do not matter: audiences that differ only in these share a part.
        default = None if audience.default is None else bool(audience.groups & audience.default)
        key = Audience(
            audience.groups & self._named | ({""} if default else frozenset()),
            None if default is None else frozenset({""}),
        )
        with self._lock:
            part = self._kept.get(key)
            if part is None:
                part = self._kept[key] = VisibleGeneration(self, key)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return part

    def counts(self) -> CountedPostings:
        """Word counts of all passages: those of the index, or counted once in an index made before they were kept."""
        from rag_ft.indexing.chunking import passage_words

        with self._counting:
            if self._counts is None:
                whole, rules = self.whole, self.whole.manifest.rules
                passages = (passage for row in range(len(whole.table)) for passage in whole.passages_of(row))
                self._counts = whole.bm25.counts or count_words(
                    (passage_words(passage, rules) for passage in passages), rules
                )
            return self._counts


def _names(metadata: Metadata) -> tuple[str, ...]:
    try:
        return label_of(metadata) or ()
    except UsageError:
        return ()
