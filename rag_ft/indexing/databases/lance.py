"""An index in a LanceDB folder: one table, in which each change is one version."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from rag_ft.errors import IndexMissingError, IndexStoreError, UsageError, first_line
from rag_ft.extras import require_extra
from rag_ft.files import disk_full, is_disk_full
from rag_ft.indexing.databases.address import DEFAULT_NAME
from rag_ft.indexing.databases.store import (
    Change,
    DatabaseKind,
    Keys,
    LeftText,
    Nearest,
    NewDocument,
    Rows,
    Settings,
    StoredDocument,
    WordMatches,
    changed_meanwhile,
    json_text,
    locked,
    missing_index,
    needles,
    read_documents,
    read_settings,
)

if TYPE_CHECKING:
    import pyarrow as pa

_POSITIONS = 2**20
"""Rows of a document: its passages, then itself."""
_DOCUMENT = _POSITIONS - 1
_SETTINGS_ROW = -1
_KEPT_VERSIONS = timedelta(minutes=10)
"""How long readers may go on reading a state that was replaced."""
_BLOCK = 1_024


class LanceStore:
    """One index in a LanceDB folder on this machine; writers take turns by a lock file beside its table."""

    kinds: tuple[DatabaseKind, ...] = ("flat",)
    words_of_whole = True
    word_score = "BM25 of LanceDB, with other constants (k1 1.2, b 0.75) than an index folder's"

    def __init__(self, folder: Path, name: str) -> None:
        require_extra("lancedb", "an index in LanceDB")
        self.folder = folder
        self.name = name
        self.known_settings: tuple[int, Settings] | None = None
        """Settings of the version of the table that was read last."""
        self.address = f"lancedb:{folder}#{name}" if name != DEFAULT_NAME else f"lancedb:{folder}"

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn LanceDB's errors into one sentence each."""
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:
            if is_disk_full(error):
                raise IndexStoreError(disk_full(self.folder, "the index is unchanged")) from error
            if "Not found" in str(error):
                raise changed_meanwhile(self.address) from error
            raise IndexStoreError(
                f"the index at {self.address} cannot be used ({first_line(error)}): check the folder, or build the"
                " index again in another one"
            ) from error

    def _open(self) -> Any:
        """The table, at its newest version. Raises IndexMissingError."""
        import lancedb

        table = self.folder / f"{self.name}.lance"
        if not (table / "_versions").is_dir():
            raise missing_index(self.address)
        with self.errors():
            return lancedb.connect(self.folder).open_table(self.name)

    def session(self) -> LanceSession:
        """A session over the present state. Raises IndexStoreError."""
        table = self._open()
        with self.errors():
            table.checkout(table.version)
        return LanceSession(self, table)

    @contextlib.contextmanager
    def writing(self, timeout_s: float) -> Iterator[LanceWriter]:
        """Hold the index as its only writer."""
        with self.errors():
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f".{self.name}.lock")
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout as error:
            raise locked(self.address) from error
        except OSError as error:
            raise IndexStoreError(f"the folder {self.folder} cannot be written to ({error.strerror})") from error
        try:
            yield LanceWriter(self)
        finally:
            lock.release()

    def search_text(self, ids: Sequence[str], texts: Sequence[str]) -> tuple[int, LeftText | None]:
        """Search every row of every version that the folder keeps. Raises IndexStoreError."""
        table = self._open()
        wanted = needles(ids, texts)
        rows = 0
        with self.errors():
            for version in table.list_versions():
                table.checkout(version["version"])
                for batch in table.search().select(["entry", "content"]).to_batches(_BLOCK):
                    rows += batch.num_rows
                    for record in batch.to_pylist():
                        for needle in wanted:
                            if any(needle in (record[name] or "") for name in ("entry", "content")):
                                return rows, LeftText(f"version {version['version']} of the table", needle)
        return rows, None

    def unsearched(self) -> str:
        """What of the folder's files `search_text` does not see."""
        return "files that no version of the table lists, and copies of the folder, are not searched"

    def close(self) -> None:
        """Nothing is held open."""


class LanceSession:
    """One version of the table."""

    def __init__(self, store: LanceStore, table: Any) -> None:
        self._store = store
        self._table = table

    def _rows(self, where: str, columns: Sequence[str]) -> list[dict[str, Any]]:
        with self._store.errors():
            found: list[dict[str, Any]] = self._table.search().where(where).select(list(columns)).to_list()
        return found

    def settings(self) -> Settings:
        """What the index is made of. Raises IndexMissingError, IndexFormatError, IndexCorruptError."""
        known, version = self._store.known_settings, self._table.version
        if known is not None and known[0] == version:
            return known[1]
        rows = self._rows(f"row = {_SETTINGS_ROW}", ["content"])
        if not rows:
            raise missing_index(self._store.address)
        settings = read_settings(json.loads(rows[0]["content"]), self._store.address)
        self._store.known_settings = (version, settings)
        return settings

    def documents(self) -> list[StoredDocument]:
        """All documents without their texts, sorted by id."""
        rows = self._rows(f"position = {_DOCUMENT}", ["document", "entry"])
        return read_documents(((row["document"], json.loads(row["entry"])) for row in rows), self._store.address)

    def nearest(self, vector: NDArray[np.float32], k: int, documents: NDArray[np.int64] | None, exact: bool) -> Nearest:
        """The k passages with the largest inner product; every vector is compared."""
        with self._store.errors():
            query = self._table.search(vector, vector_column_name="vector").distance_type("dot")
            query = query.where(_passages(documents), prefilter=True).limit(k)
            found = query.select(["document", "position", "text_key", "vector", "_distance"]).to_arrow()
        vectors = np.array(found["vector"].combine_chunks().flatten(), dtype=np.float32).reshape(-1, len(vector))
        return Nearest(_places(found), _column(found, "text_key"), vectors)

    def by_words(self, words: Sequence[str], k: int, documents: NDArray[np.int64] | None) -> WordMatches:
        """The k passages with the largest BM25 score, by LanceDB."""
        found = self._match(words, _passages(documents), k, ["document", "position", "text_key"])
        return WordMatches(_places(found), _column(found, "text_key"), np.array(found["_score"], dtype=np.float64))

    def _match(self, words: Sequence[str], where: str, k: int, columns: list[str]) -> Any:
        from lancedb import query as queries

        match: Any = queries.MatchQuery  # its defaults are not typed
        with self._store.errors():
            query = self._table.search(match(" ".join(words), "words"), query_type="fts")
            return query.where(where, prefilter=True).limit(k).select([*columns, "_score"]).to_arrow()

    def word_scores(self, words: Sequence[str], rows: Rows) -> NDArray[np.float64]:
        """LanceDB's BM25 score of some passages; 0 for one that shares no word."""
        keys = _row_keys(rows)
        found = self._match(words, f"row IN ({','.join(map(str, keys))})", len(keys), ["row"])
        scores = dict(zip(found["row"].to_pylist(), found["_score"].to_pylist(), strict=True))
        return np.array([scores.get(key, 0.0) for key in keys], dtype=np.float64)

    def _at(self, rows: Rows, column: str) -> list[Any]:
        """A column of some passages, in their order. Raises IndexStoreError if one is gone."""
        keys = _row_keys(rows)
        found = self._rows(f"row IN ({','.join(map(str, keys))})", ["row", column]) if keys else []
        values = {row["row"]: row[column] for row in found}
        if len(values) != len({*keys}):
            raise changed_meanwhile(self._store.address)
        return [values[key] for key in keys]

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """The vectors of some passages."""
        return np.array(self._at(rows, "vector"), dtype=np.float32)

    def text_keys(self, rows: Rows) -> NDArray[np.int64]:
        """The text keys of some passages."""
        return np.array(self._at(rows, "text_key"), dtype=np.int64)

    def passages(self, rows: Rows) -> list[dict[str, Any]]:
        """The contents of some passages."""
        return [json.loads(content) for content in self._at(rows, "content")]

    def copies(self, text_keys: Sequence[int]) -> list[tuple[int, int, int]]:
        """Document, position and text key of all passages with one of these text keys."""
        where = f"{_passages(None)} AND text_key IN ({','.join(map(str, text_keys))})"
        rows = self._rows(where, ["document", "position", "text_key"]) if text_keys else []
        return [(row["document"], row["position"], row["text_key"]) for row in rows]

    def document(self, number: int) -> dict[str, Any] | None:
        """The content of a document; None if it is gone."""
        rows = self._rows(f"row = {number * _POSITIONS + _DOCUMENT}", ["content"])
        content: dict[str, Any] | None = json.loads(rows[0]["content"]) if rows else None
        return content

    def places(self, number: int) -> bytes:
        """Where a document's characters stand in its file."""
        rows = self._rows(f"row = {number * _POSITIONS + _DOCUMENT}", ["places"])
        return bytes(rows[0]["places"]) if rows else b""

    def keys(self) -> Keys:
        """The keys of all passages."""
        rows = self._rows(_passages(None), ["document", "position", "key"])
        return Keys(Rows.of([(row["document"], row["position"]) for row in rows]), [row["key"] for row in rows])

    def close(self) -> None:
        """Nothing is held open."""


class LanceWriter:
    """The one writer of a table, under its lock."""

    def __init__(self, store: LanceStore) -> None:
        self._store = store

    def session(self) -> LanceSession:
        """The state that the change is made to."""
        return self._store.session()

    def write(self, change: Change) -> None:
        """Make a change as one version of the table."""
        import pyarrow as pa

        dimension = change.settings.embedder.dimension
        table = self._table(dimension)
        schema = _schema(dimension)
        with self._store.errors():
            batches = self._batches(table, change, schema)
            merge = table.merge_insert("row").when_matched_update_all().when_not_matched_insert_all()
            if change.removed:
                removed = ",".join(map(str, change.removed))
                merge = merge.when_not_matched_by_source_delete(f"document IN ({removed})")
            merge.execute(pa.RecordBatchReader.from_batches(schema, batches))
            if table.list_indices():
                table.optimize(cleanup_older_than=_KEPT_VERSIONS)
            else:
                self._index_words(table)

    def _table(self, dimension: int) -> Any:
        import lancedb

        try:
            return self._store._open()
        except IndexMissingError:
            with self._store.errors():
                return lancedb.connect(self._store.folder).create_table(
                    self._store.name, schema=_schema(dimension), exist_ok=True
                )

    def _index_words(self, table: Any) -> None:
        """Index the words, which are cut and stemmed already."""
        from lancedb.index import FTS

        table.create_index(
            "words",
            config=FTS(
                base_tokenizer="whitespace",
                lower_case=False,
                stem=False,
                remove_stop_words=False,
                ascii_folding=False,
                with_position=False,
                max_token_length=None,
            ),
            replace=True,
        )

    def _batches(self, table: Any, change: Change, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        def batch(records: Iterable[dict[str, Any]]) -> pa.RecordBatch:
            return pa.RecordBatch.from_pylist(list(records), schema=schema)

        dimension = change.settings.embedder.dimension
        blank = _blank(dimension)
        settings = {
            **blank,
            "row": _SETTINGS_ROW,
            "document": _SETTINGS_ROW,
            "content": change.settings.model_dump_json(),
        }
        yield batch([settings])
        session = self._store.session() if change.updated else None
        for document in change.updated:
            assert session is not None
            places = session.places(document.number) if document.places is None else document.places
            record = _document(
                blank, document.number, document.row, json_text(session.document(document.number)), places
            )
            yield batch([record])
        for new in change.added:
            if len(new.passages) >= _DOCUMENT:
                raise UsageError(f"document {new.row.id!r} has more than {_DOCUMENT - 1:,} passages: split it")
            yield batch([_document(blank, new.number, new.row, new.content, new.places)])
            for start in range(0, len(new.passages), _BLOCK):
                yield batch(_passage_records(new, start, blank))

    def erase(self) -> None:
        """Write what is left into new files, and delete every former version."""
        with self._store.errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that readers of a former version will fail
            table = self._store._open()
            self._index_words(table)
            for _ in range(2):  # the first makes another version
                table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


def _schema(dimension: int) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("row", pa.int64()),
            ("document", pa.int64()),
            ("position", pa.int32()),
            ("entry", pa.string()),
            ("content", pa.string()),
            ("places", pa.binary()),
            ("key", pa.binary()),
            ("text_key", pa.int64()),
            ("words", pa.string()),
            ("vector", pa.list_(pa.float32(), dimension)),
        ]
    )


def _blank(dimension: int) -> dict[str, Any]:
    return {
        "row": 0,
        "document": 0,
        "position": -1,
        "entry": "",
        "content": "",
        "places": b"",
        "key": b"",
        "text_key": 0,
        "words": "",
        "vector": np.zeros(dimension, dtype=np.float32),
    }


def _document(blank: dict[str, Any], number: int, row: Any, content: str, places: bytes) -> dict[str, Any]:
    return {
        **blank,
        "row": number * _POSITIONS + _DOCUMENT,
        "document": number,
        "position": _DOCUMENT,
        "entry": json_text(row.to_json()),
        "content": content,
        "places": places,
    }


def _passage_records(document: NewDocument, start: int, blank: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for position, passage in enumerate(document.passages[start : start + _BLOCK], start=start):
        yield {
            **blank,
            "row": document.number * _POSITIONS + position,
            "document": document.number,
            "position": position,
            "content": json_text(passage.content),
            "key": passage.key,
            "text_key": passage.text_key,
            "words": " ".join(passage.words),
            "vector": passage.vector,
        }


def _passages(documents: NDArray[np.int64] | None) -> str:
    """A condition for passages, of some documents."""
    where = f"position >= 0 AND position < {_DOCUMENT}"
    return where if documents is None else f"{where} AND document IN ({','.join(map(str, documents.tolist()))})"


def _row_keys(rows: Rows) -> list[int]:
    keys: list[int] = (rows.documents * _POSITIONS + rows.positions).tolist()
    return keys


def _column(found: Any, name: str) -> NDArray[np.int64]:
    return np.array(found[name], dtype=np.int64)


def _places(found: Any) -> Rows:
    return Rows(_column(found, "document"), _column(found, "position"))
