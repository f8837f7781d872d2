"""An index on disk: its folder, its lock, its generations, and the only way in and out of them.

    path/manifest.json          the only commit point, replaced atomically
    path/generations/<id>/      the files the manifest speaks of; never changed once committed
    path/.journal/              vectors of a build that is under way, kept when it is killed
    path/.lock                  held by the one writer
    path/.rag-ft-index          says that the folder is rag_ft's

A writer fills a new generation, replaces the manifest, then deletes the former generation. Readers that
have the former one open keep it (its files are unlinked, not overwritten); one that comes in between reads
the manifest again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import mmap as mmap_module
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from rag_ft.bm25 import Bm25Index
from rag_ft.checksums import sha256_of
from rag_ft.errors import (
    IndexCorruptError,
    IndexFormatError,
    IndexLockedError,
    IndexMissingError,
    IndexStoreError,
    first_problem,
)
from rag_ft.files import fsync, is_real_folder, sync_tree, write_atomic
from rag_ft.index_folder import (
    BM25,
    DOCUMENTS,
    FORMAT,
    GENERATIONS,
    JOURNAL,
    KEYS,
    LOCK,
    MANIFEST,
    MANIFEST_BYTES,
    PASSAGES,
    RAW_VECTORS,
    SENTINEL_VECTORS,
    SENTINELS,
    TABLE,
    VECTORS,
    check_may_write,
    content_checksum,
    foreign_in_index,
    is_generation,
    mark,
    offsets_path,
    remove_generation,
    remove_journal,
    unfinished_manifests,
)
from rag_ft.index_journal import KEY_BYTES
from rag_ft.index_manifest import FileEntry, Manifest, index_fingerprint
from rag_ft.index_reading import REPAIR, load_array, read_json, reading, regular_size, save_array, say_os_error
from rag_ft.schema import Document, Metadata, Passage
from rag_ft.vectors import VectorIndex, kind_of, read_vectors, stored_vectors

logger = logging.getLogger(__name__)

VerifyLevel: TypeAlias = Literal["quick", "full", "none"]

_RETRIES = 20
_KEPT = "the former index is untouched, and what was embedded so far is kept"


class IndexStore:
    """The folder of one index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_path = path / MANIFEST
        self.generations = path / GENERATIONS
        self.journal = path / JOURNAL

    def read_manifest(self) -> Manifest:
        """The manifest, its own checksum compared. Raises IndexStoreError of the fitting kind."""
        path = self.manifest_path
        try:
            size = regular_size(path)
            data = path.read_bytes() if size <= MANIFEST_BYTES else b"-"
        except (FileNotFoundError, NotADirectoryError) as error:
            raise IndexMissingError(
                f"there is no index at {self.path}: build one with 'rag-ft index build' or give another folder"
            ) from error
        except OSError as error:
            raise say_os_error(error, path) from error
        try:
            content = json.loads(data)
            if not isinstance(content, dict):
                raise ValueError("not an object")
            signed = content.get("checksum") == content_checksum(content)
        except Exception as error:  # whatever bytes that are no JSON raise
            what = "is empty" if not data else "is not the JSON of an index manifest"
            raise IndexCorruptError(f"{path} {what}: {REPAIR}") from error
        version = content.pop("format", None)
        if type(version) is int and version > FORMAT:
            raise IndexFormatError(
                f"{path} is in index format {version} of a newer rag_ft, this one reads up to {FORMAT}: "
                "upgrade rag_ft, or build the index again in another folder"
            )
        if not signed:
            raise IndexCorruptError(f"{path} was edited or damaged (its own checksum differs): {REPAIR}")
        content.pop("checksum")
        try:
            return Manifest.model_validate({"format": version, **content}, strict=True)
        except ValidationError as error:
            raise IndexCorruptError(f"{path} is not what an index writes ({first_problem(error)}): {REPAIR}") from error

    @contextlib.contextmanager
    def writing(self, timeout_s: float, kept: str = _KEPT) -> Iterator[None]:
        """Hold the index as its one writer; errors of the file system inside become IndexStoreError.

        A folder that is no index, and not empty either, is refused before anything is written to it: UsageError.
        `kept`: what a full disk leaves of the work.
        """
        try:
            check_may_write(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            try:
                lock.acquire(timeout=timeout_s)
            except Timeout as error:
                raise IndexLockedError(
                    f"another process is writing the index at {self.path}: wait until it is done or end it, "
                    "then try again"
                ) from error
            try:
                mark(self.path)
                yield
            finally:
                lock.release()
        except OSError as error:
            raise say_os_error(error, self.path, kept) from error

    def committed_generation(self) -> str | None:
        """Name of the generation that the manifest speaks of; None where there is no readable manifest."""
        try:
            return self.read_manifest().generation
        except IndexStoreError:
            return None

    def new_generation(self) -> Path:
        """An empty folder for the files of the next generation."""
        folder = self.generations / f"{secrets.token_hex(8)}"
        folder.mkdir(parents=True)
        return folder

    def abandon(self, folder: Path) -> None:
        """Delete a generation that will not be committed, unless it was, and something failed after that."""
        if self.committed_generation() != folder.name:
            with contextlib.suppress(OSError):
                remove_generation(folder, inside=self.path)

    def commit(self, manifest: Manifest) -> None:
        """Make the manifest the index's own, then delete everything that it does not speak of.

        The new generation is opened before: what cannot be read again never takes the place of what can.
        """
        Generation(self.generations / manifest.generation, manifest, mmap=True)
        fsync(self.generations)
        fsync(self.path)
        write_atomic(self.manifest_path, manifest.to_bytes())
        try:
            self.sweep(manifest.generation, journal=True)
        except OSError as error:
            raise IndexStoreError(
                f"the index at {self.path} is written, but not all that it replaces could be removed"
                f" ({error.strerror or error}): the next build, add or remove clears it"
            ) from error

    def sweep(self, keep: str | None, *, journal: bool) -> None:
        """Delete generations other than `keep`, temporary files, and the journal if asked to: only what is ours."""
        if is_real_folder(self.generations):
            for folder in self.generations.iterdir():
                if folder.name != keep:
                    remove_generation(folder, inside=self.path)
        for leftover in unfinished_manifests(self.path):
            leftover.unlink(missing_ok=True)
        if journal:
            remove_journal(self.journal, inside=self.path)
        if foreign := foreign_in_index(self.path):
            more = f" and {len(foreign) - 1} more" if foreign[1:] else ""
            logger.warning("rag_ft did not write %s%s and leaves it alone: keep such files elsewhere", foreign[0], more)
        if self.path.exists():
            fsync(self.path)


def seal(folder: Path) -> dict[str, FileEntry]:
    """Make a generation durable; returns size and checksum of each file by its path in the folder."""
    sync_tree(folder)
    return {
        path.relative_to(folder).as_posix(): FileEntry(size=path.stat().st_size, sha256=sha256_of(path, fresh=True))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check_files(folder: Path, files: dict[str, FileEntry], *, level: VerifyLevel) -> None:
    """Raise IndexCorruptError for the first file that is not as written, FileNotFoundError if it is gone.

    quick: size and SHA-256; a file of 8 MiB or more is only read again if its size or times changed since its
    checksum was last taken. full: everything is read. none: sizes only.
    """
    for name, entry in files.items():
        path = folder / name
        size = regular_size(path)
        if size != entry.size:
            what = "is empty" if size == 0 else f"has {size:,} bytes"
            raise IndexCorruptError(f"{path} {what} instead of {entry.size:,}: {REPAIR}")
        if level != "none" and sha256_of(path, fresh=level == "full") != entry.sha256:
            raise IndexCorruptError(f"{path} was edited or damaged (its checksum differs): {REPAIR}")


class LinesWriter:
    """Writes a JSON Lines file and, beside it, where each line starts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._lengths: list[NDArray[np.int64]] = []
        self.size = 0
        """Bytes written so far."""

    def write(self, data: bytes, lengths: Sequence[int] | NDArray[np.int64]) -> None:
        """Append whole lines; `lengths` in bytes, line ends included."""
        self._file.write(data)
        self._lengths.append(np.asarray(lengths, dtype=np.int64))
        self.size += len(data)

    def close(self) -> None:
        """Finish both files."""
        self._file.close()
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *self._lengths])
        save_array(offsets_path(self._path), np.cumsum(lengths, dtype=np.int64))

    def abandon(self) -> None:
        """Let go of the file, which is deleted next; an open one would go on taking its space."""
        with contextlib.suppress(OSError):  # a full disk takes no more of what it still holds
            self._file.close()


def json_line(content: Any) -> bytes:
    """One line of JSON, with its end."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class Lines:
    """A JSON Lines file mapped into memory, read line by line in any order. Safe for concurrent readers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets: NDArray[np.int64] = load_array(offsets_path(path), mmap=True)
        with reading(path), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # An empty file cannot be mapped.
            self._data = mmap_module.mmap(file.fileno(), 0, access=mmap_module.ACCESS_READ) if size else b""
        offsets = self._offsets
        if offsets.dtype != np.int64 or offsets.ndim != 1 or len(offsets) == 0 or int(offsets[-1]) != size:
            raise IndexCorruptError(f"{path} does not have the length its offsets tell: {REPAIR}")
        if int(offsets[0]) != 0 or not bool(np.all(offsets[1:] > offsets[:-1])):
            raise IndexCorruptError(f"{offsets_path(path)} holds line starts that do not rise: {REPAIR}")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def raw(self, start: int, stop: int) -> bytes:
        """The bytes of some lines in a row."""
        return bytes(self._data[int(self._offsets[start]) : int(self._offsets[stop])])

    def lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """The lengths in bytes of some lines in a row."""
        lengths: NDArray[np.int64] = np.diff(self._offsets[start : stop + 1])
        return lengths

    def __getitem__(self, row: int) -> Any:
        with reading(self.path):
            return json.loads(self.raw(row, row + 1))


@dataclass(frozen=True)
class TableRow:
    """What is known of a document without reading its text."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    id: str
    fingerprint: str
    title: str
    source: str
    metadata: Metadata
    passages: Annotated[int, Field(ge=0, strict=True)]
    file: str = ""
    """The file that it was read from, as `Corpus.file`; empty where that is its id, or where it was in memory."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the table file."""
        return {
            **({"file": self.file} if self.file else {}),
            "id": self.id,
            "fingerprint": self.fingerprint,
            "title": self.title,
            "source": self.source,
            "metadata": self.metadata,
            "passages": self.passages,
        }


def passage_row(passage: Passage, document_title: str) -> dict[str, Any]:
    """What the passage file holds: all that the table does not already say of its document."""
    # Chunking leaves a long title off, so a passage need not have its document's.
    own_title = {} if passage.title == document_title else {"title": passage.title}
    return {
        "start": passage.start,
        "end": passage.end,
        "page": passage.page,
        "headings": list(passage.headings),
        "text": passage.text,
        **own_title,
    }


class Generation:
    """The files of one committed state of an index, open for reading. Immutable.

    What the manifest says of them is compared, whoever wrote its checksum: names, sizes and sums are not enough where
    both were changed. Raises IndexStoreError, here and in every later read.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, mmap: bool) -> None:
        self.folder = folder
        self.manifest = manifest
        self.passages = Lines(folder / PASSAGES)
        self.documents = Lines(folder / DOCUMENTS)
        self.table = _read_table(folder / TABLE)
        with reading(folder / TABLE):
            counts = np.array([0, *(row.passages for row in self.table)], dtype=np.int64)
        self.firsts: NDArray[np.int64] = np.cumsum(counts)
        """Row of each document's first passage, and after the last one the number of passages."""
        self.row_of = {row.id: number for number, row in enumerate(self.table)}
        self.keys: NDArray[np.uint8] = load_array(folder / KEYS, mmap=mmap)
        raw = read_vectors(folder / VECTORS, mmap=mmap)
        stored = stored_vectors(raw)
        vectors = load_array(folder / RAW_VECTORS, mmap=mmap) if stored is None else stored
        self.vectors = VectorIndex(raw, manifest.kind, manifest.search_effort, vectors, folder / VECTORS)
        self.bm25 = Bm25Index.load(folder / BM25, mmap=mmap)
        self.sentinel_texts = _read_texts(folder / SENTINELS)
        self.sentinel_vectors: NDArray[np.float32] = load_array(folder / SENTINEL_VECTORS, mmap=False)
        self._check(raw)

    def _check(self, raw: Any) -> None:
        """Compare the files with the manifest and with each other."""
        manifest, passages = self.manifest, self.manifest.counts.passages
        dimension = manifest.embedder.dimension
        texts = self.sentinel_texts
        rows = (len(self.passages), len(self.keys), len(self.vectors), len(self.bm25), int(self.firsts[-1]))
        if {*rows} != {passages} or len(self.documents) != len(self.table):
            raise IndexCorruptError(f"{self.folder} holds files that do not belong together: {REPAIR}")
        if manifest.counts.documents != len(self.table) or len(self.row_of) != len(self.table):
            raise self._differs("counts.documents", TABLE)
        if kind_of(raw) != (manifest.kind if passages else "flat"):
            raise self._differs("kind", VECTORS)
        vectors = self.vectors.vectors
        if vectors.shape != (passages, dimension) or vectors.dtype != np.float32 or raw.d != dimension:
            raise self._differs("embedder.dimension", VECTORS)
        if self.keys.shape != (passages, KEY_BYTES) or self.keys.dtype != np.uint8:
            raise IndexCorruptError(f"{self.folder / KEYS} does not hold keys: {REPAIR}")
        if (
            bool(texts) != bool(passages)
            or self.sentinel_vectors.shape != (len(texts), dimension)
            or self.sentinel_vectors.dtype != np.float32
        ):
            raise IndexCorruptError(f"{self.folder / SENTINELS} does not hold the texts of its vectors: {REPAIR}")
        with reading(self.folder / TABLE):
            prints = (row.fingerprint for row in self.table)
            fingerprint = index_fingerprint(prints, manifest.embedder.fingerprint, manifest.chunking)
        if fingerprint != manifest.fingerprint:
            raise self._differs("fingerprint", TABLE)

    def _differs(self, field: str, name: str) -> IndexCorruptError:
        manifest = self.folder.parent.parent / MANIFEST
        return IndexCorruptError(f"{manifest} says another {field!r} than {self.folder / name} has: {REPAIR}")

    def __len__(self) -> int:
        return len(self.passages)

    def passage(self, row: int) -> Passage:
        """The passage of a row."""
        number = int(np.searchsorted(self.firsts, row, side="right")) - 1
        return self._passage(self.table[number], self.passages[row])

    def passages_of(self, number: int) -> Iterator[Passage]:
        """The passages of a document, by its number in the table, in order."""
        for row in range(int(self.firsts[number]), int(self.firsts[number + 1])):
            yield self._passage(self.table[number], self.passages[row])

    def _passage(self, document: TableRow, content: dict[str, Any]) -> Passage:
        with reading(self.passages.path):
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
            )

    def document(self, number: int) -> Document:
        """A document, by its number in the table."""
        content = self.documents[number]
        with reading(self.documents.path):
            return Document.model_validate(content)


_ROWS = TypeAdapter(TableRow)
_TEXTS = TypeAdapter(list[str])


def _read_texts(path: Path) -> list[str]:
    with reading(path):
        texts = _TEXTS.validate_python(read_json(path))
        "".join(texts).encode()  # half of a surrogate pair is no text
        return texts


def _read_table(path: Path) -> list[TableRow]:
    with reading(path), path.open("rb") as file:
        return [_ROWS.validate_python(json.loads(line)) for line in file]


def open_generation(store: IndexStore, *, verify: VerifyLevel, mmap: bool = True) -> Generation:
    """The committed generation of an index, its files checked. Raises IndexStoreError of the fitting kind."""
    manifest = store.read_manifest()
    for _ in range(_RETRIES):
        folder = store.generations / manifest.generation
        try:
            with reading(folder):
                if not is_generation(folder):
                    if os.path.lexists(folder):
                        raise IndexCorruptError(f"{folder} is a link or a file where a folder was written: {REPAIR}")
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
                check_files(folder, manifest.files, level=verify)
                return Generation(folder, manifest, mmap=mmap)
        except IndexStoreError:
            newest = store.read_manifest()
            if newest.generation == manifest.generation:
                raise
            manifest = newest  # a writer has replaced the generation meanwhile
    raise IndexLockedError(f"the index at {store.path} is being written over and over: try again later")
