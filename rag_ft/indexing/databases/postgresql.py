"""An index in PostgreSQL with pgvector: three tables, changed in one transaction under an advisory lock."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from rag_ft.errors import IndexMismatchError, IndexStoreError, UsageError, first_line
from rag_ft.extras import require_extra
from rag_ft.indexing.databases.address import PostgresAddress
from rag_ft.indexing.databases.postgresql_session import PostgresSession, word_vector
from rag_ft.indexing.databases.store import (
    Change,
    DatabaseKind,
    LeftText,
    NewDocument,
    Settings,
    json_text,
    locked,
    missing_index,
    needles,
)

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

_CONNECT_S = 10

_GIVE_UP = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""When a network that has gone silent counts as cut (s, s, probes, ms); the system's own limit is hours."""
_BATCH = 256
"""Documents written together."""
_PLAIN_UP_TO = 1_500
"""Dimensions up to which a vector stays within its row of 8 kB: reading it from elsewhere makes a search slow."""
_HNSW_DIMENSIONS = 2_000


class PostgresStore:
    """One index in a PostgreSQL database. Safe for several threads: each session has a connection of its own."""

    kinds: tuple[DatabaseKind, ...] = ("flat", "hnsw")
    words_of_whole = False
    word_score = "ts_rank of PostgreSQL's full-text search, which is not BM25: it does not know how rare a word is"

    def __init__(self, address: PostgresAddress) -> None:
        require_extra("pgvector", "an index in PostgreSQL")
        self._address = address
        self.address = address.shown
        self.name = address.name
        self._idle: list[psycopg.Connection[Any]] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    # Connections

    def _connect(self, *, writing: bool = False) -> psycopg.Connection[Any]:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        with self.errors():
            given = conninfo_to_dict(self._address.connection)
            limits: dict[str, Any] = {name: value for name, value in _GIVE_UP.items() if name not in given}
            connection = psycopg.connect(
                make_conninfo(self._address.connection, **limits),
                connect_timeout=_CONNECT_S,
                autocommit=True,
                application_name="rag-ft",
            )
            try:
                self._prepare(connection, writing)
            except BaseException:
                connection.close()
                raise
        return connection

    def _prepare(self, connection: psycopg.Connection[Any], writing: bool) -> None:
        import psycopg
        from pgvector.psycopg import register_vector

        version = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        if version is None:
            if not writing:  # reading creates nothing
                raise missing_index(self.address)
            self._create_extension(connection)
        try:
            register_vector(connection)
        except psycopg.ProgrammingError:
            raise IndexStoreError(
                f"the extension 'vector' of the database at {self.address} is in a schema where this user does not look"
                " for types: add that schema to the user's search_path"
            ) from None

    def _create_extension(self, connection: psycopg.Connection[Any]) -> None:
        import psycopg

        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.UniqueViolation):
                return  # another process was faster
            raise IndexStoreError(
                f"the database at {self.address} does not have the extension 'vector' (pgvector), and it cannot be"
                f" created now ({self._clean(error)}): install pgvector on its server and run CREATE EXTENSION vector"
            ) from None

    def _clean(self, error: BaseException) -> str:
        """The first line of a driver's error, without any password."""
        line = first_line(error)
        for secret in self._address.secrets:
            line = line.replace(secret, "***")
        return line

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors into one sentence each, which never holds a password."""
        import psycopg

        try:
            yield
        except psycopg.errors.UndefinedTable:
            raise missing_index(self.address) from None
        except psycopg.errors.InsufficientPrivilege as error:
            raise IndexStoreError(
                f"the user of {self.address} may not do this ({self._clean(error)}): give it the right, or use another"
                " user"
            ) from None
        except psycopg.errors.DiskFull as error:
            raise IndexStoreError(
                f"the database at {self.address} has no room left ({self._clean(error)}): the index is unchanged"
            ) from None
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise IndexStoreError(
                f"the database at {self.address} cannot be used ({self._clean(error)}): check the address, user and"
                " password and whether it runs; an unfinished change has left the index as it was"
            ) from None
        except psycopg.ProgrammingError as error:
            # An address that cannot be understood is repeated in the message, perhaps with its password.
            reason = "its address cannot be understood" if not getattr(error, "sqlstate", None) else self._clean(error)
            raise IndexStoreError(
                f"the database at {self.address} refused this ({reason}): check the address"
            ) from None
        except psycopg.Error as error:
            raise IndexStoreError(
                f"the database at {self.address} refused this ({self._clean(error)}): the index is as it was"
            ) from None

    def session(self) -> PostgresSession:
        """A session over the present state. Raises IndexStoreError."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return PostgresSession(self, self._connect(), self._give_back, fresh=True)
            if not connection.closed:
                return PostgresSession(self, connection, self._give_back, fresh=False)

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            if len(self._idle) < 4:
                self._idle.append(connection)
                return
        connection.close()

    def renewed(self, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        """A new connection for one that the server has ended while it was idle."""
        connection.close()
        return self._connect()

    def close(self) -> None:
        """Close all connections that are idle."""
        with self._lock:
            _close_all(self._idle)

    # Writing

    @contextlib.contextmanager
    def writing(self, timeout_s: float) -> Iterator[PostgresWriter]:
        """Hold the index as its only writer, by an advisory lock that ends with the connection."""
        connection = self._connect(writing=True)
        try:
            with self.errors():
                self._take_lock(connection, timeout_s)
                self._create_tables(connection)
            yield PostgresWriter(self, connection)
        finally:
            connection.close()

    def _take_lock(self, connection: psycopg.Connection[Any], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        key = f"rag_ft {self.name}"
        query = "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '.' || %s, 0))"
        while True:
            taken = connection.execute(query, [key]).fetchone()
            if taken is not None and taken[0]:
                return
            if time.monotonic() >= deadline:
                raise locked(self.address)
            time.sleep(0.1)

    def _create_tables(self, connection: psycopg.Connection[Any]) -> None:
        """Create what does not depend on the dimension; the passages' table comes with the first change."""
        for statement in (
            "CREATE TABLE IF NOT EXISTS {index} (one boolean PRIMARY KEY DEFAULT true CHECK (one), settings"
            " json NOT NULL)",
            'CREATE TABLE IF NOT EXISTS {documents} (number bigint PRIMARY KEY, id text COLLATE "C" NOT NULL UNIQUE'
            " DEFERRABLE INITIALLY DEFERRED, entry json NOT NULL, content json NOT NULL, places bytea NOT NULL)",
        ):
            connection.execute(self.sql(statement))

    def sql(self, statement: str, **parts: Any) -> Any:
        """A statement with the names of this index's tables."""
        from psycopg import sql

        names = {
            "index": sql.Identifier(self.name),
            "documents": sql.Identifier(f"{self.name}_documents"),
            "passages": sql.Identifier(f"{self.name}_passages"),
            "hnsw": sql.Identifier(f"{self.name}_hnsw"),
            "words": sql.Identifier(f"{self.name}_words"),
            "text_keys": sql.Identifier(f"{self.name}_text_keys"),
        }
        return sql.SQL(statement).format(**names, **parts)

    # Proof

    def search_text(self, ids: Sequence[str], texts: Sequence[str]) -> tuple[int, LeftText | None]:
        """Search every row of every table, as text, for ids and texts. Raises IndexStoreError."""
        session = self.session()
        rows = 0
        try:
            for table, columns in (("documents", "entry::text || content::text"), ("passages", "content::text")):
                rows += session.all(f"SELECT count(*) FROM {{{table}}}")[0][0]
                for needle in needles(ids, texts):
                    query = f"SELECT 1 FROM {{{table}}} WHERE position(%s in {columns}) > 0 LIMIT 1"
                    if session.all(query, [needle]):
                        return rows, LeftText(f"the table of {table}", needle)
        finally:
            session.close()
        return rows, None

    def unsearched(self) -> str:
        """What of the database's files `search_text` does not see."""
        return "free space within pages, the write-ahead log, backups and replicas of the server are not searched"


def _close_all(connections: list[psycopg.Connection[Any]]) -> None:
    while connections:
        connections.pop().close()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Some items at a time."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


class PostgresWriter:
    """The one writer of an index: a connection that holds its lock."""

    def __init__(self, store: PostgresStore, connection: psycopg.Connection[Any]) -> None:
        self._store = store
        self._connection = connection

    def session(self) -> PostgresSession:
        """The state that the change is made to: nobody else changes it while the lock is held."""
        return PostgresSession(self._store, self._connection, None, fresh=True)

    def write(self, change: Change) -> None:
        """Make a change in one transaction."""
        with self._store.errors(), self._connection.transaction(), self._connection.cursor() as cursor:
            sql = self._store.sql
            self._check_settings(cursor)
            self._prepare_passages(cursor, change.settings)
            for document in change.updated:
                cursor.execute(
                    sql("UPDATE {documents} SET entry = %s, places = coalesce(%s, places) WHERE number = %s"),
                    [json_text(document.row.to_json()), document.places, document.number],
                )
            for batch in batches(change.added, _BATCH):
                self._copy(cursor, batch)
            # After the new ones, which may take vectors from those that go.
            if change.removed:
                numbers = [list(change.removed)]
                cursor.execute(sql("DELETE FROM {passages} WHERE document = ANY(%s::bigint[])"), numbers)
                cursor.execute(sql("DELETE FROM {documents} WHERE number = ANY(%s::bigint[])"), numbers)
            self._index_vectors(cursor, change.settings)
            cursor.execute(
                sql(
                    "INSERT INTO {index} (settings) VALUES (%s) ON CONFLICT (one) DO UPDATE SET settings ="
                    " excluded.settings"
                ),
                [change.settings.model_dump_json()],
            )

    def _check_settings(self, cursor: psycopg.Cursor[Any]) -> None:
        """Raise IndexStoreError for documents without settings: nobody can say what made their vectors."""
        sql, name = self._store.sql, self._store.name
        settings = cursor.execute(sql("SELECT 1 FROM {index}")).fetchone()
        if settings is None and cursor.execute(sql("SELECT 1 FROM {documents} LIMIT 1")).fetchone() is not None:
            raise IndexStoreError(
                f"the index at {self._store.address} holds documents, but its settings are gone: drop the tables"
                f" {name}, {name}_documents and {name}_passages, or give another name after '#'"
            )

    def _check_dimension(self, cursor: psycopg.Cursor[Any], dimension: int) -> None:
        """Raise IndexMismatchError for a table of passages that was made for another embedder."""
        query = "SELECT atttypmod FROM pg_attribute WHERE attrelid = {table}::regclass AND attname = 'vector'"
        from psycopg import sql

        name = sql.Identifier(f"{self._store.name}_passages").as_string(self._connection)
        found = cursor.execute(sql.SQL(query).format(table=sql.Literal(name))).fetchone()
        if found is None or found[0] != dimension:
            held = "no vectors" if found is None else f"vectors of {found[0]} dimensions"
            raise IndexMismatchError(
                f"the table {self._store.name}_passages at {self._store.address} holds {held}, and the embedder gives"
                f" {dimension}: give another name after '#', or drop the table"
            )

    def _prepare_passages(self, cursor: psycopg.Cursor[Any], settings: Settings) -> None:
        """Create the table of passages. Raises IndexStoreError."""
        from psycopg import sql

        dimension = settings.embedder.dimension
        if settings.kind == "hnsw" and dimension > _HNSW_DIMENSIONS:
            raise IndexStoreError(
                f"pgvector's HNSW index takes vectors of up to {_HNSW_DIMENSIONS} dimensions, and the embedder"
                f" {settings.embedder.name} gives {dimension}: use the kind 'flat'"
            )
        cursor.execute(
            self._store.sql(
                "CREATE TABLE IF NOT EXISTS {passages} (document bigint NOT NULL REFERENCES {documents}, position int"
                " NOT NULL, content json NOT NULL, key bytea NOT NULL, text_key bigint NOT NULL, words tsvector NOT"
                " NULL, vector vector({dimension}) NOT NULL, PRIMARY KEY (document, position))",
                dimension=sql.Literal(dimension),
            )
        )
        self._check_dimension(cursor, dimension)
        if dimension <= _PLAIN_UP_TO:
            cursor.execute(self._store.sql("ALTER TABLE {passages} ALTER COLUMN vector SET STORAGE PLAIN"))
        cursor.execute(self._store.sql("CREATE INDEX IF NOT EXISTS {words} ON {passages} USING gin (words)"))
        cursor.execute(self._store.sql("CREATE INDEX IF NOT EXISTS {text_keys} ON {passages} (text_key)"))

    def _index_vectors(self, cursor: psycopg.Cursor[Any], settings: Settings) -> None:
        if settings.kind == "flat":
            cursor.execute(self._store.sql("DROP INDEX IF EXISTS {hnsw}"))
            return
        cursor.execute(
            self._store.sql(
                "CREATE INDEX IF NOT EXISTS {hnsw} ON {passages} USING hnsw (vector vector_ip_ops) WITH (m = 32,"
                " ef_construction = 200)"
            )
        )

    def _copy(self, cursor: psycopg.Cursor[Any], documents: list[NewDocument]) -> None:
        sql = self._store.sql
        for document in documents:
            if "\0" in document.row.id:
                raise UsageError(
                    f"the document {document.row.id!r} cannot be kept in PostgreSQL, whose text has no NUL: give it"
                    " another id"
                )
        with cursor.copy(sql("COPY {documents} (number, id, entry, content, places) FROM STDIN")) as copy:
            for document in documents:
                entry = json_text(document.row.to_json())
                copy.write_row((document.number, document.row.id, entry, document.content, document.places))
        names = "(document, position, content, key, text_key, words, vector)"
        with cursor.copy(sql(f"COPY {{passages}} {names} FROM STDIN")) as copy:
            for document in documents:
                for position, passage in enumerate(document.passages):
                    copy.write_row(
                        (
                            document.number,
                            position,
                            json_text(passage.content),
                            passage.key,
                            passage.text_key,
                            word_vector(passage.words),
                            passage.vector,
                        )
                    )

    def erase(self) -> None:
        """Let VACUUM take removed rows out of the tables' pages."""
        with self._store.errors():
            for table in ("{documents}", "{passages}"):
                self._connection.execute(self._store.sql(f"VACUUM {table}"))
