"""One committed state of an index, open for reading: its files, compared with the manifest and with each other."""

from __future__ import annotations

import mmap as mmap_module
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from rag_ft.errors import IndexCorruptError
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
)
from rag_ft.indexing.storage.journal import KEY_BYTES
from rag_ft.indexing.storage.lines import LinesReader
from rag_ft.indexing.storage.manifest import Manifest, index_fingerprint
from rag_ft.indexing.storage.originals import Originals
from rag_ft.indexing.storage.reading import REPAIR, load_array, load_json, reading
from rag_ft.indexing.storage.table import TableRow, read_table, stored_passage
from rag_ft.indexing.storage.vectors import VectorIndex, kind_of, read_vectors, stored_vectors
from rag_ft.schema import Document, Passage

if TYPE_CHECKING:
    from rag_ft.indexing.access import Audience
    from rag_ft.indexing.visible import VisibleParts


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


_TEXTS = TypeAdapter(list[str])


def _read_texts(path: Path) -> list[str]:
    with reading(path):
        texts = _TEXTS.validate_python(load_json(path))
        "".join(texts).encode()  # half of a surrogate pair is not text
        return texts
