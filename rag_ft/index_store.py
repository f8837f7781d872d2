"""An index on disk: its folder, its lock, its generations, and the only way in and out of them.

    path/manifest.json          the only commit point, replaced atomically
    path/generations/<id>/      the files the manifest speaks of; never changed once committed
    path/.journal/              vectors of a build that is under way, kept when it is killed
    path/.lock                  held by the one writer

A writer fills a new generation, replaces the manifest, then deletes the former generation. Readers that
have the former one open keep it (its files are unlinked, not overwritten); one that comes in between reads
the manifest again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import mmap as mmap_module
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import ValidationError

from rag_ft.bm25 import Bm25Index
from rag_ft.checksums import sha256_of
from rag_ft.errors import (
    IndexCorruptError,
    IndexFormatError,
    IndexLockedError,
    IndexMissingError,
    IndexStoreError,
    UsageError,
)
from rag_ft.files import fsync, partials, sync_tree, write_atomic
from rag_ft.index_manifest import FORMAT, FileEntry, Manifest, content_checksum
from rag_ft.schema import Document, Metadata, Passage
from rag_ft.vectors import VectorIndex, read_vectors, stored_vectors

logger = logging.getLogger(__name__)

VerifyLevel: TypeAlias = Literal["quick", "full", "none"]

VECTORS = "vectors.faiss"
RAW_VECTORS = "vectors.npy"
KEYS = "keys.npy"
PASSAGES = "passages.jsonl"
DOCUMENTS = "documents.jsonl"
TABLE = "table.jsonl"
BM25 = "bm25"
SENTINELS = "sentinels.json"
SENTINEL_VECTORS = "sentinels.npy"

KEY_BYTES = 16
_OWN_NAMES = {"manifest.json", "generations", ".journal", ".lock"}
_RETRIES = 20


def passage_key(text: str) -> bytes:
    """What a vector is found again by: the first 16 bytes of the SHA-256 of the text that was embedded."""
    return hashlib.sha256(text.encode("utf-8")).digest()[:KEY_BYTES]


class IndexStore:
    """The folder of one index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_path = path / "manifest.json"
        self.generations = path / "generations"
        self.journal = path / ".journal"

    def read_manifest(self) -> Manifest:
        """The manifest, its own checksum compared. Raises IndexStoreError of the fitting kind."""
        path = self.manifest_path
        try:
            data = path.read_bytes()
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
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            what = "is empty" if not data else "is not the JSON of an index manifest"
            raise IndexCorruptError(f"{path} {what}: {_REPAIR}") from error
        version = content.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise IndexFormatError(
                f"{path} is in index format {version} of a newer rag_ft, this one reads up to {FORMAT}: "
                "upgrade rag_ft, or build the index again in another folder"
            )
        if content.pop("checksum", None) != content_checksum(content):
            raise IndexCorruptError(f"{path} was edited or damaged (its own checksum differs): {_REPAIR}")
        try:
            return Manifest.model_validate(content)
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise IndexCorruptError(f"{path} has no valid {field!r}: {_REPAIR}") from error

    @contextlib.contextmanager
    def writing(self, timeout_s: float) -> Iterator[None]:
        """Hold the index as its one writer; errors of the file system inside become IndexStoreError."""
        try:
            if self.path.exists() and not self.path.is_dir():
                raise UsageError(f"{self.path} is a file: give a folder for the index")
            self._refuse_foreign_folder()
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            try:
                lock.acquire(timeout=timeout_s)
            except Timeout as error:
                raise IndexLockedError(
                    f"another process is writing the index at {self.path}: wait until it is done or end it, "
                    "then try again"
                ) from error
            try:
                yield
            finally:
                lock.release()
        except OSError as error:
            raise say_os_error(error, self.path) from error

    def _refuse_foreign_folder(self) -> None:
        """A folder with someone's files in it is not turned into an index."""
        if not self.path.is_dir():
            return
        names = {entry.name for entry in self.path.iterdir()}
        foreign = sorted(
            name for name in names - _OWN_NAMES if not name.startswith((".manifest-", ".manifest.json.partial-"))
        )
        if foreign and "generations" not in names:
            raise UsageError(f"{self.path} holds other files ({foreign[0]}): give a new or empty folder for the index")

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

    def commit(self, manifest: Manifest) -> None:
        """Make the manifest the index's own, then delete everything that it does not speak of."""
        fsync(self.generations)
        fsync(self.path)
        write_atomic(self.manifest_path, manifest.to_bytes())
        self.sweep(manifest.generation, journal=True)

    def unfinished_manifests(self) -> list[Path]:
        """What killed writers left of a manifest; only the holder of the lock may call them that."""
        return [*partials(self.manifest_path), *self.path.glob(".manifest-*.tmp")]

    def sweep(self, keep: str | None, *, journal: bool) -> None:
        """Delete generations other than `keep`, temporary files, and the journal if asked to."""
        for folder in self.generations.glob("*"):
            if folder.name != keep:
                # On Windows a reader's open files stay until the next sweep.
                shutil.rmtree(folder, ignore_errors=os.name == "nt")
        for leftover in self.unfinished_manifests():
            leftover.unlink(missing_ok=True)
        if journal and self.journal.exists():
            shutil.rmtree(self.journal)
        if self.path.exists():
            fsync(self.path)


_REPAIR = "build the index again with 'rag-ft index build', or restore it from a copy"


def say_os_error(error: OSError, path: Path) -> IndexStoreError:
    """An error of the file system as one sentence."""
    where = os.fspath(error.filename) if isinstance(error.filename, str) else os.fspath(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return IndexStoreError(
            f"the disk of {path} is full: free some space and run the same command again "
            "(the former index is untouched, and what was embedded so far is kept)"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return IndexStoreError(f"no permission to use {where}: allow it or give a folder that you own")
    return IndexStoreError(f"{where} cannot be used ({error.strerror or error}): repair it or give another folder")


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
        size = path.stat().st_size
        if size != entry.size:
            what = "is empty" if size == 0 else f"has {size:,} bytes"
            raise IndexCorruptError(f"{path} {what} instead of {entry.size:,}: {_REPAIR}")
        if level != "none" and sha256_of(path, fresh=level == "full") != entry.sha256:
            raise IndexCorruptError(f"{path} was edited or damaged (its checksum differs): {_REPAIR}")


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
        np.save(offsets_path(self._path), np.cumsum(lengths, dtype=np.int64), allow_pickle=False)

    def abandon(self) -> None:
        """Let go of the file, which is deleted next; an open one would go on taking its space."""
        with contextlib.suppress(OSError):  # a full disk takes no more of what it still holds
            self._file.close()


def offsets_path(path: Path) -> Path:
    """Where the line starts of a JSON Lines file are kept."""
    return path.with_suffix(".offsets.npy")


def json_line(content: Any) -> bytes:
    """One line of JSON, with its end."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class Lines:
    """A JSON Lines file mapped into memory, read line by line in any order. Safe for concurrent readers."""

    def __init__(self, path: Path) -> None:
        self._offsets: NDArray[np.int64] = load_array(offsets_path(path), mmap=True)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # An empty file cannot be mapped.
            self._data = mmap_module.mmap(file.fileno(), 0, access=mmap_module.ACCESS_READ) if size else b""
        if len(self._offsets) == 0 or int(self._offsets[-1]) != size:
            raise IndexCorruptError(f"{path} does not have the length its offsets tell: {_REPAIR}")

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
        return json.loads(self.raw(row, row + 1))


def load_array(path: Path, *, mmap: bool) -> NDArray[Any]:
    """An array from a .npy file, never unpickled.

    Raises IndexCorruptError; FileNotFoundError if it is gone.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise IndexCorruptError(f"{path} is not an array ({error}): {_REPAIR}") from error
    return array


@dataclass(frozen=True)
class TableRow:
    """What is known of a document without reading its text."""

    id: str
    fingerprint: str
    title: str
    source: str
    metadata: Metadata
    passages: int
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
    """The files of one committed state of an index, open for reading. Immutable."""

    def __init__(self, folder: Path, manifest: Manifest, *, mmap: bool) -> None:
        self.folder = folder
        self.manifest = manifest
        self.passages = Lines(folder / PASSAGES)
        self.documents = Lines(folder / DOCUMENTS)
        with (folder / TABLE).open("rb") as file:
            self.table = [TableRow(**json.loads(line)) for line in file]
        counts = np.array([0, *(row.passages for row in self.table)], dtype=np.int64)
        self.firsts: NDArray[np.int64] = np.cumsum(counts)
        """Row of each document's first passage, and after the last one the number of passages."""
        self.row_of = {row.id: number for number, row in enumerate(self.table)}
        self.keys: NDArray[np.uint8] = load_array(folder / KEYS, mmap=mmap)
        raw = read_vectors(folder / VECTORS, mmap=mmap)
        stored = stored_vectors(raw)
        vectors = load_array(folder / RAW_VECTORS, mmap=mmap) if stored is None else stored
        self.vectors = VectorIndex(raw, manifest.kind, manifest.search_effort, vectors)
        self.bm25 = Bm25Index.load(folder / BM25, mmap=mmap)
        self.sentinel_texts: list[str] = json.loads((folder / SENTINELS).read_text(encoding="utf-8"))
        self.sentinel_vectors: NDArray[np.float32] = load_array(folder / SENTINEL_VECTORS, mmap=False)
        found = (len(self.passages), len(self.keys), len(self.vectors), len(self.bm25), int(self.firsts[-1]))
        if len({*found, manifest.counts.passages}) != 1 or len(self.documents) != len(self.table):
            raise IndexCorruptError(f"{folder} holds files that do not belong together: {_REPAIR}")
        if vectors.shape != (manifest.counts.passages, manifest.embedder.dimension):
            raise IndexCorruptError(
                f"{folder / VECTORS} has vectors of another shape than the manifest says: {_REPAIR}"
            )

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

    @staticmethod
    def _passage(document: TableRow, content: dict[str, Any]) -> Passage:
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
        return Document.model_validate(self.documents[number])


def open_generation(store: IndexStore, *, verify: VerifyLevel, mmap: bool = True) -> Generation:
    """The committed generation of an index, its files checked. Raises IndexStoreError of the fitting kind."""
    manifest = store.read_manifest()
    for _ in range(_RETRIES):
        folder = store.generations / manifest.generation
        try:
            check_files(folder, manifest.files, level=verify)
            return Generation(folder, manifest, mmap=mmap)
        except (OSError, IndexCorruptError, ValueError, KeyError, TypeError) as error:
            newest = store.read_manifest()
            if newest.generation == manifest.generation:
                raise _say_unreadable(error, folder) from error
            manifest = newest  # a writer has replaced the generation meanwhile
    raise IndexLockedError(f"the index at {store.path} is being written over and over: try again later")


def _say_unreadable(error: Exception, folder: Path) -> IndexStoreError:
    if isinstance(error, IndexStoreError):
        return error
    if isinstance(error, FileNotFoundError):
        return IndexCorruptError(f"{error.filename or folder} is missing: {_REPAIR}")
    if isinstance(error, OSError):
        return say_os_error(error, folder)
    return IndexCorruptError(f"{folder} holds something that cannot be read ({error}): {_REPAIR}")


class Journal:
    """Vectors of a build under way, by the key of their text.

    Durable block by block, so a killed build resumes.
    """

    def __init__(self, folder: Path, embedder_fingerprint: str, dimension: int) -> None:
        own = hashlib.sha256(f"{embedder_fingerprint} {dimension}".encode()).hexdigest()[:16]
        if folder.is_dir():
            for other in folder.iterdir():
                if other.name != own:
                    shutil.rmtree(other)
        self._folder = folder / own
        self._type = np.dtype([("key", np.uint8, KEY_BYTES), ("vector", np.float32, dimension)])
        self._blocks: list[NDArray[Any]] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        if self._folder.is_dir():
            for path in sorted(self._folder.iterdir()):
                self._take(path)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: bytes) -> NDArray[np.float32]:
        block, row = self._places[key]
        vector: NDArray[np.float32] = self._blocks[block]["vector"][row]
        return vector

    def append(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Add a block; it is on disk when this returns. Raises OSError."""
        block = np.empty(len(keys), dtype=self._type)
        block["key"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES)
        block["vector"] = vectors
        self._folder.mkdir(parents=True, exist_ok=True)
        # The checksum is in the name: a block that is not what was written is embedded again, not believed.
        digest = hashlib.sha256(block.tobytes()).hexdigest()[:32]
        temporary = self._folder / f"block-{secrets.token_hex(4)}.tmp"
        with temporary.open("wb") as file:
            np.save(file, block, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._folder / f"block-{len(self._blocks):06d}-{digest}.npy")
        fsync(self._folder)
        self._index(block)

    def _take(self, path: Path) -> None:
        try:
            block = load_array(path, mmap=True)
            sound = block.dtype == self._type and path.stem.endswith(hashlib.sha256(block.tobytes()).hexdigest()[:32])
        except (OSError, IndexCorruptError):
            sound = False
        if sound:
            self._index(block)
        else:
            logger.info("%s is incomplete and is dropped", path)
            path.unlink(missing_ok=True)

    def _index(self, block: NDArray[Any]) -> None:
        for row, key in enumerate(block["key"]):
            self._places[key.tobytes()] = (len(self._blocks), row)
        self._blocks.append(block)
