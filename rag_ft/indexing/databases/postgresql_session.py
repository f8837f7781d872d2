"""Reading an index in PostgreSQL: one transaction that sees one state, and the words of its full-text search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexStoreError
from rag_ft.indexing.databases.store import (
    Keys,
    Nearest,
    Rows,
    Settings,
    StoredDocument,
    WordMatches,
    changed_meanwhile,
    missing_index,
    read_documents,
    read_settings,
)

if TYPE_CHECKING:
    import psycopg

    from rag_ft.indexing.databases.postgresql import PostgresStore

_LONGEST_WORD = 500
_MOST_POSITIONS = 16_383
"""PostgreSQL counts positions in a text up to here."""
_HNSW_EFFORT = 100
_HNSW_MOST = 1_000
"""pgvector's largest hnsw.ef_search."""


class PostgresSession:
    """A read-only transaction that sees one state of the database, begun at its first read."""

    def __init__(
        self, store: PostgresStore, connection: psycopg.Connection[Any], give_back: Any, *, fresh: bool
    ) -> None:
        self._store = store
        self._connection: psycopg.Connection[Any] | None = connection
        self._give_back = give_back
        self._fresh = fresh
        self._begun = give_back is None
        """A writer's session sees the writer's own transaction."""

    def all(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        if self._connection is None:
            raise IndexStoreError(f"the session with {self._store.address} has ended: search again")
        with self._store.errors():
            if not self._begun:
                self._begin()
            with self._connection.cursor(binary=True) as cursor:
                return cursor.execute(self._store.sql(statement), parameters or None).fetchall()

    def _begin(self) -> None:
        import psycopg

        assert self._connection is not None
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        try:
            self._connection.execute(begin)
        except psycopg.OperationalError:
            if self._fresh:
                raise
            self._connection = self._store.renewed(self._connection)  # the server was restarted meanwhile
            self._connection.execute(begin)
        self._begun = True

    def settings(self) -> Settings:
        """What the index is made of. Raises IndexMissingError, IndexFormatError, IndexCorruptError."""
        rows = self.all("SELECT settings FROM {index}")
        if not rows:
            raise missing_index(self._store.address)
        return read_settings(rows[0][0], self._store.address)

    def documents(self) -> list[StoredDocument]:
        """All documents without their texts, sorted by id."""
        return read_documents(self.all("SELECT number, entry FROM {documents}"), self._store.address)

    def nearest(self, vector: NDArray[np.float32], k: int, documents: NDArray[np.int64] | None, exact: bool) -> Nearest:
        """At least the k passages with the largest inner product."""
        approximate = not exact and k <= _HNSW_MOST // 2
        if approximate:
            effort = max(_HNSW_EFFORT, 2 * k)
            self.all("SELECT set_config('hnsw.ef_search', %s, true)", [str(effort)])
        # The sum keeps the approximate index out of an exact search; of equal passages, all come, to be ranked alike.
        order = "vector <#> %s LIMIT %s" if approximate else "(vector <#> %s) + 0 FETCH FIRST %s ROWS WITH TIES"
        where, parameters = _among(documents)
        rows = self.all(
            f"SELECT document, position, text_key, vector FROM {{passages}} {where} ORDER BY {order}",
            [*parameters, vector, k],
        )
        return Nearest(Rows.of(rows), _column(rows, 2), _vectors([row[3] for row in rows], len(vector)))

    def by_words(self, words: Sequence[str], k: int, documents: NDArray[np.int64] | None) -> WordMatches:
        """The k passages that share a word with a query and have the largest ts_rank."""
        query = _word_query(words)
        where, parameters = _among(documents, "AND")
        rows = self.all(
            "SELECT document, position, text_key, ts_rank(words, %s::tsquery)::float8 AS score FROM {passages}"
            f" WHERE words @@ %s::tsquery {where} ORDER BY score DESC, document, position LIMIT %s",
            [query, query, *parameters, k],
        )
        return WordMatches(Rows.of(rows), _column(rows, 2), np.array([row[3] for row in rows], dtype=np.float64))

    def word_scores(self, words: Sequence[str], rows: Rows) -> NDArray[np.float64]:
        """The ts_rank of some passages; 0 for one that shares no word."""
        query = _word_query(words)
        found = self._at(
            rows, "CASE WHEN words @@ %s::tsquery THEN ts_rank(words, %s::tsquery)::float8 ELSE 0 END", query, query
        )
        return np.array([row[0] for row in found], dtype=np.float64)

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """The vectors of some passages."""
        return np.array([row[0].to_numpy() for row in self._at(rows, "vector")], dtype=np.float32)

    def text_keys(self, rows: Rows) -> NDArray[np.int64]:
        """The text keys of some passages."""
        return _column(self._at(rows, "text_key"), 0)

    def passages(self, rows: Rows) -> list[dict[str, Any]]:
        """The contents of some passages."""
        return [row[0] for row in self._at(rows, "content")]

    def _at(self, rows: Rows, columns: str, *parameters: Any) -> list[Any]:
        """Columns of some passages, in their order. Raises IndexStoreError if one is gone."""
        found = self.all(
            f"SELECT {columns} FROM unnest(%s::bigint[], %s::int[]) WITH ORDINALITY AS wanted(d, p, i)"
            " JOIN {passages} ON document = d AND position = p ORDER BY i",
            [*parameters, rows.documents.tolist(), rows.positions.tolist()],
        )
        if len(found) != len(rows.documents):
            raise changed_meanwhile(self._store.address)
        return found

    def copies(self, text_keys: Sequence[int]) -> list[tuple[int, int, int]]:
        """Document, position and text key of all passages with one of these text keys."""
        query = "SELECT document, position, text_key FROM {passages} WHERE text_key = ANY(%s::bigint[])"
        return [(row[0], row[1], row[2]) for row in self.all(query, [list(text_keys)])]

    def document(self, number: int) -> dict[str, Any] | None:
        """The content of a document; None if it is gone."""
        rows = self.all("SELECT content FROM {documents} WHERE number = %s", [number])
        content: dict[str, Any] | None = rows[0][0] if rows else None
        return content

    def places(self, number: int) -> bytes:
        """Where a document's characters stand in its file."""
        rows = self.all("SELECT places FROM {documents} WHERE number = %s", [number])
        return bytes(rows[0][0]) if rows else b""

    def keys(self) -> Keys:
        """The keys of all passages."""
        rows = self.all("SELECT document, position, key FROM {passages}")
        return Keys(Rows.of(rows), [bytes(row[2]) for row in rows])

    def close(self) -> None:
        """End the transaction and give the connection back."""
        connection, self._connection = self._connection, None
        if connection is None or self._give_back is None:
            return
        try:
            if self._begun and not connection.closed:
                connection.execute("ROLLBACK")
        except Exception:
            connection.close()  # whatever state it is in, nobody else gets it
            return
        if not connection.closed:
            self._give_back(connection)


def _among(documents: NDArray[np.int64] | None, word: str = "WHERE") -> tuple[str, list[Any]]:
    """A condition on the documents, with its parameters."""
    return ("", []) if documents is None else (f"{word} document = ANY(%s::bigint[])", [documents.tolist()])


def _column(rows: Sequence[Any], position: int) -> NDArray[np.int64]:
    return np.array([row[position] for row in rows], dtype=np.int64)


def _vectors(vectors: Sequence[Any], dimension: int) -> NDArray[np.float32]:
    return np.array([vector.to_numpy() for vector in vectors], dtype=np.float32).reshape(-1, dimension)


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def word_vector(words: Sequence[str]) -> str:
    """A text's words as PostgreSQL's tsvector, with their positions."""
    positions: dict[str, list[int]] = {}
    for position, word in enumerate(words, start=1):
        if len(word) <= _LONGEST_WORD:
            positions.setdefault(word, []).append(min(position, _MOST_POSITIONS))
    return " ".join(f"{_quoted(word)}:{','.join(map(str, at[:255]))}" for word, at in positions.items())


def _word_query(words: Sequence[str]) -> str:
    """Any of these words, as PostgreSQL's tsquery."""
    return " | ".join(_quoted(word) for word in words if len(word) <= _LONGEST_WORD)
