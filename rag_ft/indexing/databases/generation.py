"""A database's state with the interface of an index folder's generation, so that everything above it stays the same.

The list of documents, without texts, is held in memory; passages, vectors and words stay in the database. Rows are
numbered as in a folder: from 0, in order of document ids.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import UsageError
from rag_ft.indexing.access import Audience
from rag_ft.indexing.building.sentinels import SENTINELS_KEPT, evenly_spread
from rag_ft.indexing.chunking import passage_text, passage_words
from rag_ft.indexing.databases.store import DatabaseStore, Rows, Settings, StoredDocument, StoreSession
from rag_ft.indexing.places import Places
from rag_ft.indexing.storage.bm25 import Bm25Index
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.journal import KEY_BYTES
from rag_ft.indexing.storage.manifest import METRIC, Counts, Manifest, index_fingerprint
from rag_ft.indexing.storage.table import stored_passage
from rag_ft.indexing.storage.vectors import SCORE_DECIMALS, Scored, VectorIndex, exact_scores
from rag_ft.indexing.storage.words import Words
from rag_ft.schema import Document, Passage

_SPARE = 16
"""Candidates beyond k, among which the exact order is found."""

_FETCHED_TOGETHER = 8192
"""Vectors of a part of an index that are fetched and scored at once."""


class DatabaseGeneration(Generation):
    """One state of an index in a database.

    `session`: a session in which every read sees this very state; None for reads of single documents, which fail if
    that document is gone. `audience`: only what these readers may read.
    """

    def __init__(
        self,
        store: DatabaseStore,
        version: str,
        settings: Settings,
        documents: Sequence[StoredDocument],
        audience: Audience | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.version = version
        self.audience = audience
        self.folder = Path(store.address)
        listed = [entry for entry in documents if audience is None or audience.may_read(entry.row.metadata)]
        self.table = [entry.row for entry in listed]
        self.numbers: NDArray[np.int64] = np.array([entry.number for entry in listed], dtype=np.int64)
        """Number of each document in the database, by its position in the table."""
        self._by_number = np.argsort(self.numbers, kind="stable")
        self.firsts = np.cumsum(np.array([0, *(row.passages for row in self.table)], dtype=np.int64))
        self.position_of = {row.id: position for position, row in enumerate(self.table)}
        self.text_keys = None  # too many to hold: the searcher fetches those that it needs
        self.manifest = self._manifest()
        self._session: StoreSession | None = None
        self._part_words: _PartWords | None = None
        if audience is not None and store.words_of_whole:
            self._part_words = _PartWords(self)
        self._bind(None)

    def _manifest(self) -> Manifest:
        settings = self.settings
        fingerprints = (row.fingerprint for row in self.table)
        exact = settings.kind == "flat" or self.audience is not None
        return Manifest.model_construct(
            format=settings.format,
            generation=self.version,
            created=settings.created,
            fingerprint=index_fingerprint(fingerprints, settings.embedder.fingerprint, settings.chunking),
            embedder=settings.embedder,
            metric=METRIC,
            chunking=settings.chunking,
            kind=settings.kind,
            kind_choice=settings.kind,
            search_effort=0,
            recall_at_10=1.0 if exact else settings.recall_at_10,
            counts=Counts(documents=len(self.table), passages=int(self.firsts[-1])),
            versions=settings.versions,
            files={},
        )

    def part(self, audience: Audience) -> DatabaseGeneration:
        """The part of this state that an audience may read."""
        documents = list(map(StoredDocument, self.numbers.tolist(), self.table))
        return DatabaseGeneration(self.store, self.version, self.settings, documents, audience)

    def within(self, session: StoreSession) -> DatabaseGeneration:
        """The same state, read in a session over it; vectors that were fetched are kept as long as the result."""
        bound = copy.copy(self)
        bound._bind(session)
        return bound

    def _bind(self, session: StoreSession | None) -> None:
        self._session = session
        self.fetched = FetchedVectors(self, keep=session is not None)
        self.vectors = StoreVectors(self)
        self.known_text_keys: dict[int, int] = {}
        """Text key by row, of rows that a search has met."""

    # Reading

    def reading(self) -> _Reading:
        """A session for one read: the bound one, or a new one that ends with the block."""
        return _Reading(self.store, self._session)

    def rows_of(self, rows: Rows) -> NDArray[np.int64]:
        """Row numbers of passages; -1 for those of documents that are not in this state."""
        if not len(self.numbers):
            return np.full(len(rows.documents), -1, dtype=np.int64)
        ascending = self.numbers[self._by_number]
        at = np.minimum(np.searchsorted(ascending, rows.documents), len(ascending) - 1)
        positions = self._by_number[at]
        numbers = self.firsts[positions] + rows.positions
        known = (ascending[at] == rows.documents) & (numbers < self.firsts[positions + 1])
        return np.where(known, numbers, -1)

    def stored_rows(self, rows: NDArray[np.int64]) -> Rows:
        """Where some rows are in the database."""
        rows = np.asarray(rows, dtype=np.int64)
        positions = np.searchsorted(self.firsts, rows, side="right") - 1
        return Rows(self.numbers[positions], rows - self.firsts[positions])

    def whole_documents(self, allowed: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        """Numbers of the documents whose rows these are; None for no restriction.

        Raises ValueError if a document is there in part: `allowed` then has to be searched row by row.
        """
        if allowed is None:
            return self.numbers if self.audience is not None else None
        positions = np.unique(np.searchsorted(self.firsts, allowed, side="right") - 1)
        if int((self.firsts[positions + 1] - self.firsts[positions]).sum()) != len(allowed):
            raise ValueError("some rows of a document")
        return self.numbers[positions]

    @property
    def bm25(self) -> Bm25Index:  # type: ignore[override]
        """The words of the passages: the database's full-text search, or counted here for a part of an index."""
        return self._part_words.index if self._part_words is not None else StoreWords(self)

    @property
    def keys(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """The key of each passage's vector, fetched at each use."""
        with self.reading() as session:
            stored = session.keys()
        rows = self.rows_of(stored.rows)
        keys = np.zeros((len(self), KEY_BYTES), dtype=np.uint8)
        for row, key in zip(rows.tolist(), stored.keys, strict=True):
            if row >= 0:
                keys[row] = np.frombuffer(key, dtype=np.uint8)
        return keys

    @property
    def places_file(self) -> _Places:  # type: ignore[override]
        """Where characters stand in their files, by position in the table."""
        return _Places(self)

    def _sentinel_rows(self) -> NDArray[np.int64]:
        return np.array(evenly_spread(len(self), SENTINELS_KEPT), dtype=np.int64)

    @property
    def sentinel_texts(self) -> list[str]:  # type: ignore[override]
        """A few passages as they were embedded."""
        rules = self.manifest.rules
        return [passage_text(passage, rules) for passage in self.passages_at(self._sentinel_rows())]

    @property
    def sentinel_vectors(self) -> NDArray[np.float32]:  # type: ignore[override]
        """Their vectors."""
        return self.fetched[self._sentinel_rows()]

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def passages_at(self, rows: NDArray[np.int64]) -> list[Passage]:
        """The passages of some rows, in their order."""
        if not len(rows):
            return []
        positions = np.searchsorted(self.firsts, rows, side="right") - 1
        with self.reading() as session:
            contents = session.passages(self.stored_rows(rows))
        return [
            stored_passage(self.table[int(position)], content)
            for position, content in zip(positions, contents, strict=True)
        ]

    def passage(self, row: int) -> Passage:
        """The passage of a row."""
        return self.passages_at(np.array([row], dtype=np.int64))[0]

    def passages_of(self, position: int) -> Iterator[Passage]:
        """The passages of a document, by its position in the table, in order."""
        rows = np.arange(self.firsts[position], self.firsts[position + 1], dtype=np.int64)
        yield from self.passages_at(rows)

    def document(self, position: int) -> Document:
        """A document, by its position in the table. Raises UsageError if it was removed or replaced meanwhile."""
        with self.reading() as session:
            content = session.document(int(self.numbers[position]))
        if content is None:
            raise self.gone(position)
        return Document.model_validate(content)

    def gone(self, position: int) -> UsageError:
        """The error for a document that another writer has removed or replaced."""
        return UsageError(
            f"the document {self.table[position].id!r} was removed from {self.store.address} or replaced meanwhile: ask"
            " again"
        )

    def places(self, position: int) -> Places | None:
        """Where a document's characters stand in its file, by its position in the table; None if not known."""
        return self.places_file[position]


class _Reading:
    """A session for the time of one read."""

    def __init__(self, store: DatabaseStore, bound: StoreSession | None) -> None:
        self._store = store
        self._bound = bound
        self._session: StoreSession | None = None

    def __enter__(self) -> StoreSession:
        if self._bound is not None:
            return self._bound
        self._session = self._store.session()
        return self._session

    def __exit__(self, *raised: object) -> None:
        if self._session is not None:
            self._session.close()


class _Places:
    """The places of a generation's documents."""

    def __init__(self, generation: DatabaseGeneration) -> None:
        self._generation = generation

    def raw(self, position: int) -> bytes:
        """The bytes of a document's places; empty if it has none."""
        if not self._generation.table[position].places:
            return b""
        with self._generation.reading() as session:
            return session.places(int(self._generation.numbers[position]))

    def __getitem__(self, position: int) -> Places | None:
        data = self.raw(position)
        return Places.decode(data) if data else None


class FetchedVectors:
    """Vectors by row, fetched when they are needed."""

    def __init__(self, generation: DatabaseGeneration, *, keep: bool) -> None:
        self._generation = generation
        self._kept: dict[int, NDArray[np.float32]] | None = {} if keep else None

    def take(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Keep vectors that came with a search."""
        if self._kept is not None:
            self._kept.update(zip(rows.tolist(), vectors, strict=True))

    def __getitem__(self, rows: NDArray[np.int64] | int) -> NDArray[np.float32]:
        if isinstance(rows, int | np.integer):
            vector: NDArray[np.float32] = self[np.array([rows], dtype=np.int64)][0]
            return vector
        kept = self._kept if self._kept is not None else {}
        missing = np.array([row for row in rows.tolist() if row not in kept], dtype=np.int64)
        if len(missing):
            with self._generation.reading() as session:
                vectors = session.vectors(self._generation.stored_rows(missing))
            kept.update(zip(missing.tolist(), vectors, strict=True))
        dimension = self._generation.manifest.embedder.dimension
        return np.array([kept[row] for row in rows.tolist()], dtype=np.float32).reshape(-1, dimension)


class StoreVectors(VectorIndex):
    """The vectors of a generation, searched by the database and put in order here by their exact scores."""

    def __init__(self, generation: DatabaseGeneration) -> None:
        self._generation = generation
        self.kind = "flat" if generation.settings.kind == "flat" else "hnsw"

    @property
    def vectors(self) -> FetchedVectors:  # type: ignore[override]
        """The vectors by row."""
        return self._generation.fetched

    def __len__(self) -> int:
        return len(self._generation)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> list[list[Scored]]:
        """Search as `VectorIndex.search` does; a part of an index is always searched exactly."""
        generation = self._generation
        k = min(k, len(self) if allowed is None else len(allowed))
        if k == 0:
            return [[] for _ in queries]
        try:
            documents = generation.whole_documents(allowed)
        except ValueError:
            assert allowed is not None
            return [self._scan(query, k, allowed) for query in queries]
        exact = self.kind == "flat" or documents is not None
        rankings: list[list[Scored]] = []
        with generation.reading() as session:
            for query in np.ascontiguousarray(queries, dtype=np.float32):
                found = session.nearest(query, k + _SPARE, documents, exact)
                rows = generation.rows_of(found.rows)
                known = rows >= 0
                # Not the whole state if the session is not bound to it.
                rows, vectors = rows[known], found.vectors[known]
                generation.known_text_keys.update(zip(rows.tolist(), found.text_keys[known].tolist(), strict=True))
                order = np.argsort(rows, kind="stable")
                generation.fetched.take(rows, vectors)
                rankings.append(_ranked(exact_scores(vectors[order], query), rows[order], k))
        return rankings

    def _scan(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.int64]) -> list[Scored]:
        """The k best of some rows, whose vectors are fetched once."""
        parts = (allowed[start : start + _FETCHED_TOGETHER] for start in range(0, len(allowed), _FETCHED_TOGETHER))
        return _ranked(np.concatenate([exact_scores(self.vectors[rows], query) for rows in parts]), allowed, k)


class StoreWords(Bm25Index):
    """The words of a generation, searched by the database's own full-text search."""

    def __init__(self, generation: DatabaseGeneration) -> None:
        self._generation = generation
        self._words = Words(generation.manifest.rules)

    def __len__(self) -> int:
        return len(self._generation)

    def search(self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None = None) -> list[list[Scored]]:
        """The k best passages for each query, among those that share a word with it; equal scores are in row order."""
        return [self._search_one(query, k, allowed) for query in queries]

    def scores(self, query: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The database's scores of some rows; 0 for a text that shares no word."""
        words = self._of(query)
        if not words or not len(rows):
            return np.zeros(len(rows), dtype=np.float64)
        with self._generation.reading() as session:
            scores = session.word_scores(words, self._generation.stored_rows(rows))
        return np.asarray(scores.round(SCORE_DECIMALS), dtype=np.float64)

    def _of(self, query: str) -> list[str]:
        return list(dict.fromkeys(self._words.of(query)))

    def _search_one(self, query: str, k: int, allowed: NDArray[np.int64] | None) -> list[Scored]:
        generation = self._generation
        words = self._of(query)
        if not words or k <= 0 or not len(generation) or (allowed is not None and not len(allowed)):
            return []
        try:
            documents = generation.whole_documents(allowed)
        except ValueError:
            assert allowed is not None
            scores = self.scores(query, allowed)
            return _ranked(scores[scores > 0], allowed[scores > 0], k)
        with generation.reading() as session:
            matches = session.by_words(words, k + _SPARE, documents)
        rows = generation.rows_of(matches.rows)
        known = rows >= 0
        rows, scores = rows[known], matches.scores[known].round(SCORE_DECIMALS)
        generation.known_text_keys.update(zip(rows.tolist(), matches.text_keys[known].tolist(), strict=True))
        order = np.argsort(rows, kind="stable")
        return _ranked(scores[order], rows[order], k)


class _PartWords:
    """The words of a part of an index, counted at first use among its passages alone."""

    def __init__(self, part: DatabaseGeneration) -> None:
        self._part = part
        self._lock = threading.Lock()
        self._index: Bm25Index | None = None

    @property
    def index(self) -> Bm25Index:
        """BM25 over the part's passages."""
        with self._lock:
            if self._index is None:
                part = self._part
                rules = part.manifest.rules
                passages = part.passages_at(np.arange(len(part), dtype=np.int64))
                self._index = Bm25Index.build((passage_words(passage, rules) for passage in passages), rules)
            return self._index


def _ranked(scores: NDArray[np.float64], rows: NDArray[np.int64], k: int) -> list[Scored]:
    """The k best of some rows, ascending; equal scores stay in row order."""
    order = np.argsort(-scores, kind="stable")[:k]
    return [Scored(int(rows[i]), float(scores[i])) for i in order]
