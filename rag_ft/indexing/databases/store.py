"""What a database must do to hold an index: records and protocols. No driver is imported here.

A document and its passages are written once under a number that is never used again: a document that changed gets
another number. So whatever a reader still knows by number is either unchanged or gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from rag_ft.errors import (
    IndexCorruptError,
    IndexFormatError,
    IndexLockedError,
    IndexMissingError,
    IndexStoreError,
    first_problem,
)
from rag_ft.indexing.storage.manifest import EmbedderEntry
from rag_ft.indexing.storage.table import TableRow
from rag_ft.schema import Record

FORMAT = 2
"""Format of the tables; a newer one is refused. Format 1, without `EmbedderEntry.arithmetic`, is read."""

DatabaseKind: TypeAlias = Literal["flat", "hnsw"]
"""flat: every vector is compared, the result is exact. hnsw: the database's own approximate index."""


class Settings(Record):
    """What the index is made of: one record in the database."""

    format: int = Field(default=FORMAT, ge=1)
    embedder: EmbedderEntry
    chunking: dict[str, JsonValue]
    kind: DatabaseKind = "flat"
    recall_at_10: float = Field(default=1.0, ge=0, le=1)
    """Share of the exact ten nearest that a search finds, measured at the last build; 1 where it is exact."""
    version: str
    """Name of the state: another one after each change."""
    next_document: int = Field(default=1, ge=1)
    """Number of the next document that is written."""
    created: str
    """UTC, ISO 8601."""
    versions: dict[str, str]
    """Versions of the libraries that wrote it."""


class StoredDocument(NamedTuple):
    """A document in the list of all documents: without its text."""

    number: int
    row: TableRow


class Rows(NamedTuple):
    """Passages by the number of their document and their position in it, one array for each."""

    documents: NDArray[np.int64]
    positions: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Iterable[Sequence[Any]]) -> Rows:
        """Rows from pairs of numbers."""
        array = np.array([(pair[0], pair[1]) for pair in pairs], dtype=np.int64).reshape(-1, 2)
        return cls(array[:, 0], array[:, 1])


class Nearest(NamedTuple):
    """Candidates of a search by vectors, with what is needed to order them exactly."""

    rows: Rows
    text_keys: NDArray[np.int64]
    vectors: NDArray[np.float32]


class WordMatches(NamedTuple):
    """Passages that share a word with a query, best first."""

    rows: Rows
    text_keys: NDArray[np.int64]
    scores: NDArray[np.float64]


class Keys(NamedTuple):
    """The key of each passage's vector (`storage.journal.passage_key`)."""

    rows: Rows
    keys: list[bytes]


class NewPassage(NamedTuple):
    """A passage to be written."""

    content: dict[str, Any]
    """As the passage file of an index folder holds it (`storage.table.passage_row`)."""
    key: bytes
    """Key of the text that was embedded (`storage.journal.passage_key`)."""
    text_key: int
    """Equal for passages whose texts differ in white space alone."""
    words: list[str]
    """The terms that it is searched by, in order, with repeats."""
    vector: NDArray[np.float32]


class NewDocument(NamedTuple):
    """A document to be written, with its passages."""

    number: int
    row: TableRow
    content: str
    """JSON of the document, text included."""
    places: bytes
    passages: list[NewPassage]


class UpdatedDocument(NamedTuple):
    """A document whose passages stay as they are."""

    number: int
    row: TableRow
    places: bytes | None
    """None: as before."""


class Change(NamedTuple):
    """One change of an index; a database makes all of it visible at once, or nothing."""

    settings: Settings
    removed: Sequence[int]
    """Numbers of documents that go, because they were removed or are replaced by new ones."""
    added: Iterable[NewDocument]
    """Read once."""
    updated: Sequence[UpdatedDocument]


class StoreSession(Protocol):
    """One state of the database, whatever is written meanwhile. Not for several threads at once."""

    def settings(self) -> Settings:
        """What the index is made of. Raises IndexMissingError where there is none."""

    def documents(self) -> list[StoredDocument]:
        """All documents without their texts, sorted by id."""

    def nearest(self, vector: NDArray[np.float32], k: int, documents: NDArray[np.int64] | None, exact: bool) -> Nearest:
        """At least the k passages with the largest inner product, in any order. `documents`: only of these."""

    def by_words(self, words: Sequence[str], k: int, documents: NDArray[np.int64] | None) -> WordMatches:
        """The k passages that the database's own full-text search ranks first for any of these words."""

    def word_scores(self, words: Sequence[str], rows: Rows) -> NDArray[np.float64]:
        """The score of some passages, as `by_words` gives it; 0 for one that shares no word."""

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """The vectors of some passages."""

    def text_keys(self, rows: Rows) -> NDArray[np.int64]:
        """The text keys of some passages."""

    def copies(self, text_keys: Sequence[int]) -> list[tuple[int, int, int]]:
        """Document, position and text key of all passages with one of these text keys."""

    def passages(self, rows: Rows) -> list[dict[str, Any]]:
        """The contents of some passages."""

    def document(self, number: int) -> dict[str, Any] | None:
        """The content of a document; None if it is gone."""

    def places(self, number: int) -> bytes:
        """Where a document's characters stand in its file; empty if that is not known."""

    def keys(self) -> Keys:
        """The keys of all passages."""

    def close(self) -> None:
        """End the session."""


class StoreWriter(Protocol):
    """The one writer of a database, under its lock."""

    def session(self) -> StoreSession:
        """The state that the change is made to."""

    def write(self, change: Change) -> None:
        """Make a change: all of it, or nothing if it fails or the connection ends."""

    def erase(self) -> None:
        """Make the database drop what removed rows left in its files, as far as it can."""


class LeftText(NamedTuple):
    """A place in the database that still holds something of a document."""

    where: str
    what: str


class DatabaseStore(Protocol):
    """A database with room for one index."""

    address: str
    """Where it is, to show: without a password."""
    kinds: tuple[DatabaseKind, ...]
    """Kinds of index that it has; the first is the default."""
    words_of_whole: bool
    """Whether scores of words depend on all passages of the index, as BM25's do."""
    word_score: str
    """What scores of words are, in a few words."""

    def session(self) -> StoreSession:
        """A session over the present state. Raises IndexStoreError."""

    def writing(self, timeout_s: float) -> AbstractContextManager[StoreWriter]:
        """Hold the index as its only writer, also among other machines if they can reach the database.

        Raises IndexLockedError, IndexStoreError.
        """

    def search_text(self, ids: Sequence[str], texts: Sequence[str]) -> tuple[int, LeftText | None]:
        """Search everything that is stored for ids of documents and for texts, row by row.

        Returns the number of rows that were read, and the first place found.
        """

    def unsearched(self) -> str:
        """What of the database's files `search_text` does not see, in words."""

    def close(self) -> None:
        """Close all connections."""


def read_settings(content: Any, address: str) -> Settings:
    """Settings from their JSON. Raises IndexFormatError, IndexCorruptError."""
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise IndexFormatError(
            f"the index at {address} is in format {version} of a newer rag_ft, and this one reads up to {FORMAT}:"
            " upgrade rag_ft, or use another name"
        )
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise IndexCorruptError(
            f"the settings of the index at {address} are not what rag_ft writes ({first_problem(error)}): build it"
            " again under another name"
        ) from error


_TABLE_ROWS = TypeAdapter(TableRow)


def read_documents(entries: Iterable[tuple[int, Any]], address: str) -> list[StoredDocument]:
    """The list of documents from their numbers and JSON, sorted by id. Raises IndexCorruptError."""
    try:
        documents = [StoredDocument(number, _TABLE_ROWS.validate_python(entry)) for number, entry in entries]
    except ValidationError as error:
        raise IndexCorruptError(
            f"the list of documents at {address} holds what rag_ft never writes ({first_problem(error)}): build the"
            " index again under another name"
        ) from error
    return sorted(documents, key=lambda document: document.row.id)


def missing_index(address: str) -> IndexMissingError:
    """The error for a database that holds no index of this name."""
    return IndexMissingError(
        f"there is no index at {address}: build one with 'rag-ft index build' or give another name"
    )


def changed_meanwhile(address: str) -> IndexStoreError:
    """The error for a search in which a document went away."""
    return IndexStoreError(f"the index at {address} was changed while it was searched: search again")


def locked(address: str) -> IndexLockedError:
    """The error for an index that another process is writing."""
    return IndexLockedError(
        f"another process is writing the index at {address}: wait until it ends or stop it, then try again"
    )


def json_text(content: Any) -> str:
    """JSON as it is stored and searched for: letters as they are."""
    return json.dumps(content, ensure_ascii=False)


def needles(ids: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Ids of documents and texts as they stand in stored JSON."""
    return [*(json_text(name) for name in ids), *(json_text(text)[1:-1] for text in texts)]
