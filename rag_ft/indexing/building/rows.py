"""A document's rows in the next generation: copied from the former one, or staged after cutting it in this run."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.storage.folder import STAGED_DOCUMENTS, STAGED_PASSAGES, STAGED_PLACES
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.journal import KEY_BYTES, Journal
from rag_ft.indexing.storage.table import TableRow


class DocumentLines(NamedTuple):
    """Whole lines of a JSON Lines file."""

    data: bytes
    lengths: Sequence[int] | NDArray[np.int64]
    """Bytes of each line, its end included."""


class DocumentRows(Protocol):
    """One document's share of a generation's files."""

    @property
    def row(self) -> TableRow:
        """Its row in the table."""

    @property
    def line_bytes(self) -> int:
        """Bytes of its lines, in the files of documents and of passages together."""

    @property
    def former_rows(self) -> range:
        """Rows of its passages in the former generation; empty if it was cut in this run."""

    def document_line(self) -> DocumentLines:
        """Its line in the file of documents."""

    def passage_lines(self) -> DocumentLines:
        """Its lines in the file of passages."""

    def places(self) -> bytes:
        """Its share of the file of places."""

    def fill(self, vectors: NDArray[np.float32], keys: NDArray[np.uint8]) -> None:
        """Write vectors and keys of its passages into arrays with one row per passage."""


class CopiedDocument:
    """A document of the former generation, copied byte for byte.

    `places`: new ones, where the same text now stands elsewhere in its file.
    """

    def __init__(self, base: Generation, position: int, places: StagedPlaces | None = None) -> None:
        self._base = base
        self.new_places = places
        self._position = position
        self._first, self._end = int(base.firsts[position]), int(base.firsts[position + 1])

    @property
    def former_rows(self) -> range:
        """Rows of its passages in the former generation."""
        return range(self._first, self._end)

    @property
    def row(self) -> TableRow:
        """Its row in the table."""
        row = self._base.table[self._position]
        return row if self.new_places is None else replace(row, places=self.new_places.size)

    @property
    def line_bytes(self) -> int:
        """Bytes of its lines."""
        document = self._base.documents.lengths(self._position, self._position + 1)
        return self.row.places + int(document.sum()) + int(self._base.passages.lengths(self._first, self._end).sum())

    def document_line(self) -> DocumentLines:
        """Its line in the file of documents."""
        documents, position = self._base.documents, self._position
        return DocumentLines(documents.raw(position, position + 1), documents.lengths(position, position + 1))

    def passage_lines(self) -> DocumentLines:
        """Its lines in the file of passages."""
        passages = self._base.passages
        return DocumentLines(passages.raw(self._first, self._end), passages.lengths(self._first, self._end))

    def places(self) -> bytes:
        """Its share of the file of places."""
        return self._base.places_file.raw(self._position) if self.new_places is None else self.new_places.read()

    def fill(self, vectors: NDArray[np.float32], keys: NDArray[np.uint8]) -> None:
        """Copy its vectors and keys."""
        vectors[:] = self._base.vectors.vectors[self._first : self._end]
        keys[:] = self._base.keys[self._first : self._end]


class KnownVectors:
    """Vectors that need not be computed: those of the former generation and those of the journal."""

    def __init__(self, journal: Journal, base: Generation | None) -> None:
        self._journal = journal
        self._base = base
        self._row_of: dict[bytes, int] | None = None

    def __contains__(self, key: bytes) -> bool:
        return key in self._journal or key in self._base_rows()

    def __getitem__(self, key: bytes) -> NDArray[np.float32]:
        if key in self._journal:
            return self._journal[key]
        assert self._base is not None
        vector: NDArray[np.float32] = self._base.vectors.vectors[self._base_rows()[key]]
        return vector

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Put computed vectors into the journal, durably. Raises OSError."""
        self._journal.append(keys, vectors)

    @property
    def folder(self) -> Path:
        """Where the journal keeps its blocks."""
        return self._journal.folder

    def keys(self) -> NDArray[np.uint64]:
        """The keys of all, sorted: shape (n, 2), the two halves of each."""
        known = b"".join([*self._journal, *self._base_rows()])
        halves = np.frombuffer(known, dtype=">u8").reshape(-1, KEY_BYTES // 8).astype(np.uint64)
        return np.unique(halves, axis=0)

    def _base_rows(self) -> dict[bytes, int]:
        """Rows of the former generation's vectors by key."""
        if self._row_of is None:
            data = b"" if self._base is None else np.ascontiguousarray(self._base.keys).tobytes()
            self._row_of = {
                data[start : start + KEY_BYTES]: row for row, start in enumerate(range(0, len(data), KEY_BYTES))
            }
        return self._row_of


class Staging:
    """Temporary files that hold the lines and places of newly cut documents, in the order in which they were read."""

    def __init__(self, folder: Path) -> None:
        self._paths = (folder / STAGED_DOCUMENTS, folder / STAGED_PASSAGES, folder / STAGED_PLACES)
        self.documents = self._paths[0].open("w+b")
        self.passages = self._paths[1].open("w+b")
        self.places = self._paths[2].open("w+b")

    def stage_places(self, data: bytes) -> StagedPlaces:
        """Append a document's places."""
        return StagedPlaces(self.places, append_span(self.places, data))

    def drop(self) -> None:
        """Delete the files."""
        for file, path in zip((self.documents, self.passages, self.places), self._paths, strict=True):
            file.close()
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files, which are deleted next."""
        for file in (self.documents, self.passages, self.places):
            with contextlib.suppress(OSError):  # a full disk does not take what they still buffer
                file.close()


class ByteSpan(NamedTuple):
    """Start and end of some bytes in a file."""

    start: int
    end: int


class StagedPlaces(NamedTuple):
    """A document's places in a staging file."""

    file: IO[bytes]
    span: ByteSpan

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.span.end - self.span.start

    def read(self) -> bytes:
        """The bytes."""
        return read_span(self.file, self.span)


@dataclass(frozen=True)
class StagedDocument:
    """A document that was cut in this run; its lines are in the staging files, its vectors are known by key."""

    row: TableRow
    document: ByteSpan
    passages: ByteSpan
    staged_places: StagedPlaces
    lengths: list[int]
    """Length of each passage's line in bytes."""
    keys: Sequence[bytes]
    staging: Staging
    vectors: KnownVectors
    former_rows: range = range(0)
    """None: it was cut in this run."""

    @property
    def line_bytes(self) -> int:
        """Bytes of its lines."""
        return self.document.end - self.document.start + sum(self.lengths) + self.row.places

    def document_line(self) -> DocumentLines:
        """Its line in the file of documents."""
        line = read_span(self.staging.documents, self.document)
        return DocumentLines(line, [len(line)])

    def passage_lines(self) -> DocumentLines:
        """Its lines in the file of passages."""
        return DocumentLines(read_span(self.staging.passages, self.passages), self.lengths)

    def places(self) -> bytes:
        """Its share of the file of places."""
        return self.staged_places.read()

    def fill(self, vectors: NDArray[np.float32], keys: NDArray[np.uint8]) -> None:
        """Look its vectors up, and write its keys."""
        for row, key in enumerate(self.keys):
            vectors[row] = self.vectors[key]
            keys[row] = np.frombuffer(key, dtype=np.uint8)


def former_rows(documents: Sequence[DocumentRows]) -> NDArray[np.int64]:
    """For each passage of some documents its row in the former generation; -1 if it was cut in this run."""
    parts = [np.zeros(0, dtype=np.int64)]
    for document in documents:
        rows = document.former_rows
        parts.append(np.arange(rows.start, rows.stop) if rows else np.full(document.row.passages, -1, dtype=np.int64))
    return np.concatenate(parts)


def append_span(file: IO[bytes], data: bytes) -> ByteSpan:
    """Append bytes to a file, and say where they are."""
    start = file.tell()
    file.write(data)
    return ByteSpan(start, start + len(data))


def read_span(file: IO[bytes], span: ByteSpan) -> bytes:
    """Read bytes that `append_span` has written."""
    file.seek(span.start)
    return file.read(span.end - span.start)
