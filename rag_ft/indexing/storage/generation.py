"""The files of one generation of an index: writers of lines, and readers in any order."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap as mmap_module
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter

from rag_ft.errors import IndexCorruptError
from rag_ft.indexing.chunking import passage_text, passage_words
from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.places import Places
from rag_ft.indexing.storage.bm25 import Bm25Index
from rag_ft.indexing.storage.folder import (
    BM25,
    DOCUMENTS,
    KEYS,
    MANIFEST,
    PASSAGES,
    PLACES,
    RAW_VECTORS,
    SENTINEL_VECTORS,
    SENTINELS,
    TABLE,
    TEXT_KEYS,
    VECTORS,
    offsets_path,
)
from rag_ft.indexing.storage.journal import KEY_BYTES
from rag_ft.indexing.storage.manifest import Manifest, index_fingerprint
from rag_ft.indexing.storage.originals import Originals
from rag_ft.indexing.storage.reading import REPAIR, load_array, load_json, reading, save_array
from rag_ft.indexing.storage.vectors import VectorIndex, kind_of, read_vectors, stored_vectors
from rag_ft.schema import Document, Location, Metadata, Passage

if TYPE_CHECKING:
    from rag_ft.indexing.access import Audience
    from rag_ft.indexing.visible import VisibleParts


class LinesWriter:
    """Writes a JSON Lines file and, beside it, where each line starts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._lengths: list[NDArray[np.int64]] = []
        self.size = 0
        """Bytes written so far."""

    def write(self, data: bytes, lengths: Sequence[int] | NDArray[np.int64]) -> None:
        """Append whole lines with their `lengths` in bytes, line ends included."""
        self._file.write(data)
        self._lengths.append(np.asarray(lengths, dtype=np.int64))
        self.size += len(data)

    def close(self) -> None:
        """Close the file and write the line starts."""
        self._file.close()
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *self._lengths])
        save_array(offsets_path(self._path), np.cumsum(lengths, dtype=np.int64))

    def abandon(self) -> None:
        """Close the file, which is deleted next; an open file would still take its space."""
        with contextlib.suppress(OSError):  # a full disk does not take what it still buffers
            self._file.close()


def json_line(content: Any) -> bytes:
    """Encode one line of JSON, with its line end."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class LinesReader:
    """A memory-mapped JSON Lines file, read line by line in any order. Safe for concurrent readers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets: NDArray[np.int64] = load_array(offsets_path(path), mmap=True)
        with reading(path), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # An empty file cannot be mapped.
            self._data = mmap_module.mmap(file.fileno(), 0, access=mmap_module.ACCESS_READ) if size else b""
        offsets = self._offsets
        if offsets.dtype != np.int64 or offsets.ndim != 1 or len(offsets) == 0 or int(offsets[-1]) != size:
            raise IndexCorruptError(f"{path} does not have the length that its offsets give: {REPAIR}")
        if int(offsets[0]) != 0 or not bool(np.all(offsets[1:] > offsets[:-1])):
            raise IndexCorruptError(f"{offsets_path(path)} holds line starts that are not ascending: {REPAIR}")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def raw(self, start: int, stop: int) -> bytes:
        """The bytes of consecutive lines."""
        return bytes(self._data[int(self._offsets[start]) : int(self._offsets[stop])])

    def lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """The lengths in bytes of consecutive lines."""
        lengths: NDArray[np.int64] = np.diff(self._offsets[start : stop + 1])
        return lengths

    def __getitem__(self, row: int) -> Any:
        with reading(self.path):
            return json.loads(self.raw(row, row + 1))


@dataclass(frozen=True)
class TableRow:
    """A document without its text, as the table file holds it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    id: str
    fingerprint: str
    title: str
    source: str
    metadata: Metadata
    passages: Annotated[int, Field(ge=0, strict=True)]
    file: str = ""
    """The file it was read from (`ReadDocument.file`); empty if equal to the id, or if the document was in memory."""
    blocks: str = ""
    """Checksum of the document's blocks, which its fingerprint leaves out; empty if it has none."""
    conservation: Conservation | None = None
    """What was lost on the way from the file to the text; None if that was not checked."""
    places: Annotated[int, Field(ge=0, strict=True)] = 0
    """Bytes of the document's share of the file of places; 0 if its format does not say where characters stand."""
    original: str = ""
    """Hex SHA-256 of the file that it was read from, if that is kept; else empty."""

    def to_json(self) -> dict[str, Any]:
        """Encode the row for the table file."""
        return {
            **({"file": self.file} if self.file else {}),
            "id": self.id,
            "fingerprint": self.fingerprint,
            "title": self.title,
            "source": self.source,
            "metadata": self.metadata,
            "passages": self.passages,
            **({"blocks": self.blocks} if self.blocks else {}),
            **({"places": self.places} if self.places else {}),
            **({"original": self.original} if self.original else {}),
            **({"conservation": self._conservation()} if self.conservation is not None else {}),
        }

    def _conservation(self) -> dict[str, Any]:
        assert self.conservation is not None
        return self.conservation.model_dump(mode="json", exclude_defaults=True)


def passage_row(passage: Passage, document_title: str) -> dict[str, Any]:
    """A passage as the passage file holds it: without the fields that the table holds for its document."""
    # Chunking drops a long title, so a passage may lack that of its document.
    title = {} if passage.title == document_title else {"title": passage.title}
    locations = [(location.start, location.label, location.cells) for location in passage.locations]
    return {
        "start": passage.start,
        "end": passage.end,
        "page": passage.page,
        "headings": list(passage.headings),
        "text": passage.text,
        **title,
        **({} if passage.kind == "prose" else {"kind": passage.kind}),
        **({"locations": locations} if locations else {}),
    }


def stored_passage(document: TableRow, content: dict[str, Any]) -> Passage:
    """The passage that `passage_row` has made, with what the table says of its document."""
    return Passage(
        id=f"{document.id}#{content['start']}-{content['end']}",
        document_id=document.id,
        text=content["text"],
        start=content["start"],
        end=content["end"],
        title=content.get("title", document.title),
        source=document.source,
        headings=tuple(content["headings"]),
        page=content["page"],
        metadata=document.metadata,
        kind=content.get("kind", "prose"),
        locations=tuple(
            Location(start=start, label=label, cells=tuple(cells))
            for start, label, cells in content.get("locations", ())
        ),
    )


def passage_texts(
    path: Path, table: Sequence[TableRow], rules: int, rows: Iterable[int] | None = None
) -> Iterator[str]:
    """The passages of a passage file as they are embedded, in order. `rules`: those of the manifest.

    `rows`: only these, ascending.
    """
    for passage in _bare_passages(path, table, rows):
        yield passage_text(passage, rules)


def words_of_passages(
    path: Path, table: Sequence[TableRow], rules: int, rows: Iterable[int] | None = None
) -> Iterator[str]:
    """The passages of a passage file as they are searched by words, in order. `rules`, `rows`: as above."""
    for passage in _bare_passages(path, table, rows):
        yield passage_words(passage, rules)


def text_keys(path: Path, table: Sequence[TableRow], rows: Iterable[int] | None = None) -> NDArray[np.uint64]:
    """A number for the text of each passage of a passage file, equal where texts differ in white space alone.

    `rows`: only these, ascending.
    """
    return np.array([text_key(passage.text) for passage in _bare_passages(path, table, rows)], dtype=np.uint64)


def text_key(text: str) -> int:
    """A number for a text, equal for texts that differ in white space alone."""
    return int.from_bytes(hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).digest(), "little")


def _bare_passages(path: Path, table: Sequence[TableRow], rows: Iterable[int] | None) -> Iterator[Passage]:
    """Passages of a passage file, without what the table says of their documents, but with the title."""
    with reading(path), path.open("rb") as file:
        if rows is None:
            for document in table:
                for _ in range(document.passages):
                    yield _bare_passage(next(file), document)
            return
        starts: NDArray[np.int64] = load_array(offsets_path(path), mmap=True)
        ends = np.cumsum([document.passages for document in table], dtype=np.int64)
        for row in rows:
            file.seek(int(starts[row]))
            yield _bare_passage(file.readline(), table[int(np.searchsorted(ends, row, side="right"))])


def _bare_passage(line: bytes, document: TableRow) -> Passage:
    content = json.loads(line)
    title = content.pop("title", document.title)
    return Passage.model_construct(title=title, **content)


class PlacesFile:
    """The memory-mapped file of places, one document's after the other's. Safe for concurrent readers."""

    def __init__(self, path: Path, sizes: Sequence[int], *, there: bool) -> None:
        """`sizes`: bytes of each document's places. `there`: whether the manifest names the file."""
        self.path = path
        with reading(path):
            self._ends = np.cumsum(np.array([0, *sizes], dtype=np.int64))
            self._data: mmap_module.mmap | bytes = b""
            if there:
                with path.open("rb") as file:
                    self._data = mmap_module.mmap(file.fileno(), 0, access=mmap_module.ACCESS_READ)
        if len(self._data) != int(self._ends[-1]):
            raise IndexCorruptError(f"{path} does not have the length that the table gives: {REPAIR}")

    def raw(self, position: int) -> bytes:
        """The bytes of a document's places, by its position in the table; empty if it has none."""
        return bytes(self._data[int(self._ends[position]) : int(self._ends[position + 1])])

    def __getitem__(self, position: int) -> Places | None:
        data = self.raw(position)
        with reading(self.path):
            return Places.decode(data) if data else None


class Generation:
    """The files of one committed state of an index, open for reading. Immutable.

    The files are compared with the manifest's content, not only with its checksums: files and manifest may have been
    changed together. Raises IndexStoreError, here and in every later read.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, mmap: bool) -> None:
        self.folder = folder
        self.manifest = manifest
        self.passages = LinesReader(folder / PASSAGES)
        self.documents = LinesReader(folder / DOCUMENTS)
        self.table = read_table(folder / TABLE)
        with reading(folder / TABLE):
            counts = np.array([0, *(row.passages for row in self.table)], dtype=np.int64)
        self.firsts: NDArray[np.int64] = np.cumsum(counts)
        """Row of each document's first passage; the last element is the number of passages."""
        self.position_of = {row.id: position for position, row in enumerate(self.table)}
        self.keys: NDArray[np.uint8] = load_array(folder / KEYS, mmap=mmap)
        raw = read_vectors(folder / VECTORS, mmap=mmap)
        stored = stored_vectors(raw)
        vectors = load_array(folder / RAW_VECTORS, mmap=mmap) if stored is None else stored
        self.vectors = VectorIndex(raw, manifest.kind, manifest.search_effort, vectors, folder / VECTORS)
        self.bm25 = Bm25Index.load(folder / BM25, mmap=mmap, rules=manifest.rules, counted=manifest.words_counted)
        self.text_keys: NDArray[np.uint64] | None = None
        """What `text_keys` gives for each row; None in an index made before."""
        if TEXT_KEYS in manifest.files:
            self.text_keys = load_array(folder / TEXT_KEYS, mmap=mmap)
        self.places_file = PlacesFile(
            folder / PLACES, [row.places for row in self.table], there=PLACES in manifest.files
        )
        self.sentinel_texts = _read_texts(folder / SENTINELS)
        self.sentinel_vectors: NDArray[np.float32] = load_array(folder / SENTINEL_VECTORS, mmap=False)
        self._check(raw)

    def _check(self, raw: Any) -> None:
        """Compare the files with the manifest and with each other. Raises IndexCorruptError."""
        manifest, passages = self.manifest, self.manifest.counts.passages
        dimension = manifest.embedder.dimension
        texts = self.sentinel_texts
        rows = (len(self.passages), len(self.keys), len(self.vectors), len(self.bm25), int(self.firsts[-1]))
        if {*rows} != {passages} or len(self.documents) != len(self.table):
            raise IndexCorruptError(f"{self.folder} holds files that do not belong together: {REPAIR}")
        if manifest.counts.documents != len(self.table) or len(self.position_of) != len(self.table):
            raise self._differs("counts.documents", TABLE)
        if kind_of(raw) != (manifest.kind if passages else "flat"):
            raise self._differs("kind", VECTORS)
        vectors = self.vectors.vectors
        if vectors.shape != (passages, dimension) or vectors.dtype != np.float32 or raw.d != dimension:
            raise self._differs("embedder.dimension", VECTORS)
        if self.keys.shape != (passages, KEY_BYTES) or self.keys.dtype != np.uint8:
            raise IndexCorruptError(f"{self.folder / KEYS} does not hold keys: {REPAIR}")
        keys = self.text_keys
        if keys is not None and (keys.shape != (passages,) or keys.dtype != np.uint64):
            raise IndexCorruptError(f"{self.folder / TEXT_KEYS} does not hold keys: {REPAIR}")
        if (
            bool(texts) != bool(passages)
            or self.sentinel_vectors.shape != (len(texts), dimension)
            or self.sentinel_vectors.dtype != np.float32
        ):
            raise IndexCorruptError(f"{self.folder / SENTINELS} does not hold the texts of its vectors: {REPAIR}")
        with reading(self.folder / TABLE):
            fingerprints = (row.fingerprint for row in self.table)
            fingerprint = index_fingerprint(fingerprints, manifest.embedder.fingerprint, manifest.chunking)
        if fingerprint != manifest.fingerprint:
            raise self._differs("fingerprint", TABLE)

    def _differs(self, field: str, name: str) -> IndexCorruptError:
        manifest = self.folder.parent.parent / MANIFEST
        return IndexCorruptError(f"{manifest} has another {field!r} than {self.folder / name}: {REPAIR}")

    def __len__(self) -> int:
        return len(self.passages)

    @cached_property
    def parts(self) -> VisibleParts:
        """What audiences may read of it."""
        from rag_ft.indexing.visible import VisibleParts

        return VisibleParts(self)

    def part(self, audience: Audience) -> Generation:
        """What an audience may read of it."""
        return self.parts.of(audience)

    def passage(self, row: int) -> Passage:
        """The passage of a row."""
        position = int(np.searchsorted(self.firsts, row, side="right")) - 1
        return self._passage(self.table[position], self.passages[row])

    def passages_of(self, position: int) -> Iterator[Passage]:
        """The passages of a document, by its position in the table, in order."""
        for row in range(int(self.firsts[position]), int(self.firsts[position + 1])):
            yield self._passage(self.table[position], self.passages[row])

    def _passage(self, document: TableRow, content: dict[str, Any]) -> Passage:
        with reading(self.passages.path):
            return stored_passage(document, content)

    def document(self, position: int) -> Document:
        """A document, by its position in the table."""
        content = self.documents[position]
        with reading(self.documents.path):
            return Document.model_validate(content)

    def originals_of(self, position: int) -> Originals:
        """The kept originals among which that of a document is, by its position in the table."""
        return Originals(self.folder.parent.parent)

    def places(self, position: int) -> Places | None:
        """Where a document's characters stand in its file, by its position in the table; None if that is not known."""
        return self.places_file[position]


_ROWS = TypeAdapter(TableRow)


_TEXTS = TypeAdapter(list[str])


def _read_texts(path: Path) -> list[str]:
    with reading(path):
        texts = _TEXTS.validate_python(load_json(path))
        "".join(texts).encode()  # half of a surrogate pair is not text
        return texts


def read_table(path: Path) -> list[TableRow]:
    """The rows of a table file. Raises IndexStoreError."""
    with reading(path), path.open("rb") as file:
        return [_ROWS.validate_python(json.loads(line)) for line in file]
