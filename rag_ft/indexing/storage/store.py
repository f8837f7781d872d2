"""An index on disk: its folder, its lock, its generations, and the only code that opens and commits them.

    path/manifest.json          the only commit point, replaced atomically
    path/generations/<id>/      the files that the manifest lists; never changed once committed
    path/originals/             files that documents were read from, if they are kept
    path/feedback.jsonl         what people said of answers (`storage.feedback`)
    path/.journal/              vectors of a running build; kept if it is killed
    path/.lock                  held by the one writer
    path/.rag-ft-index          marks the folder as rag_ft's

A writer fills a new generation, replaces the manifest, then deletes the former generation. Readers that have the
former one open keep it (its files are unlinked, not overwritten); a reader that opens the index in between reads the
manifest again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pydantic import ValidationError

from rag_ft.checksums import sha256_of
from rag_ft.errors import (
    IndexCorruptError,
    IndexFormatError,
    IndexLockedError,
    IndexMissingError,
    IndexStoreError,
    UsageError,
    first_problem,
)
from rag_ft.files import fsync, is_real_folder, locked, sync_tree, write_atomic
from rag_ft.indexing.storage.feedback import FeedbackFile
from rag_ft.indexing.storage.folder import (
    FORMAT,
    GENERATIONS,
    JOURNAL,
    LOCK,
    MANIFEST,
    MANIFEST_BYTES,
    TABLE,
    check_may_write,
    content_checksum,
    foreign_in_index,
    holds_shards,
    is_generation,
    is_of_shards,
    mark,
    remove_generation,
    remove_journal,
    unfinished_manifests,
)
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.manifest import FileEntry, Manifest
from rag_ft.indexing.storage.originals import Originals
from rag_ft.indexing.storage.reading import REPAIR, reading, regular_size, store_error
from rag_ft.indexing.storage.table import read_table

logger = logging.getLogger(__name__)


VerifyLevel: TypeAlias = Literal["quick", "full", "none"]


def check_level(verify: str) -> None:
    """Raise UsageError for a level that does not exist."""
    if verify not in get_args(VerifyLevel):
        raise UsageError(f"there is no verification level {verify!r}: use quick, full or none")


_RETRIES = 20
"""Attempts to open a generation while writers replace it."""

_FEEDBACK_WAIT_S = 10.0

_KEPT = "the former index is untouched, and what was embedded so far is kept"


class IndexStore:
    """The folder of one index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_path = path / MANIFEST
        self.generations = path / GENERATIONS
        self.journal = path / JOURNAL
        self.originals = Originals(path)
        self.feedback = FeedbackFile(path)
        self._begun: list[Path] = []
        """Generations that the present writer has begun."""

    def read_manifest(self) -> Manifest:
        """The manifest, with its checksum compared. Raises the matching kind of IndexStoreError."""
        path = self.manifest_path
        try:
            size = regular_size(path)
            data = path.read_bytes() if size <= MANIFEST_BYTES else b"-"
        except (FileNotFoundError, NotADirectoryError) as error:
            if holds_shards(self.path):
                raise IndexMissingError(is_of_shards(self.path)) from error
            raise IndexMissingError(
                f"there is no index at {self.path}: build one with 'rag-ft index build' or give another folder"
            ) from error
        except OSError as error:
            raise store_error(error, path) from error
        try:
            content = json.loads(data)
            if not isinstance(content, dict):
                raise ValueError("not an object")
            signed = content.get("checksum") == content_checksum(content)
        except Exception as error:  # whatever bytes that are not JSON raise
            what = "is empty" if not data else "is not the JSON of an index manifest"
            raise IndexCorruptError(f"{path} {what}: {REPAIR}") from error
        version = content.pop("format", None)
        if type(version) is int and version > FORMAT:
            raise IndexFormatError(
                f"{path} is in index format {version} of a newer rag_ft, and this one reads up to {FORMAT}: "
                "upgrade rag_ft, or use another folder"
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
        """Hold the index as its only writer; errors of the file system inside become IndexStoreError.

        A folder that is neither an index nor empty is refused before anything is written: UsageError. `kept`: what is
        kept of the work if the disk is full.
        """
        busy = IndexLockedError(
            f"another process is writing the index at {self.path}: wait until it ends or stop it, then try again"
        )
        try:
            check_may_write(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            with locked(self.path / LOCK, busy, timeout_s):
                mark(self.path)
                with self._nothing_begun_left():
                    yield
        except OSError as error:
            raise store_error(error, self.path, kept) from error

    @contextlib.contextmanager
    def _nothing_begun_left(self) -> Iterator[None]:
        """Remove the generations that were begun in the block and not committed, if it fails.

        Here and not where they are written: a signal may come when the folder is made and nobody has it yet.
        """
        self._begun = []
        try:
            yield
        except BaseException:
            for folder in self._begun:
                self.abandon(folder)
            raise

    def committed_generation(self) -> str | None:
        """Name of the generation that the manifest names; None if there is no readable manifest."""
        try:
            return self.read_manifest().generation
        except IndexStoreError:
            return None

    def new_generation(self) -> Path:
        """Create an empty folder for the files of the next generation."""
        folder = self.generations / f"{secrets.token_hex(8)}"
        self._begun.append(folder)
        folder.mkdir(parents=True)
        return folder

    def abandon(self, folder: Path) -> None:
        """Delete an unfinished generation; one that was committed before something else failed stays.

        So does one of which that cannot be told, until the next build.
        """
        try:
            committed = self.read_manifest().generation
        except (IndexMissingError, IndexCorruptError, IndexFormatError):
            committed = ""  # a manifest that this program writes is there, and whole
        except IndexStoreError:
            return
        if committed != folder.name:
            with contextlib.suppress(OSError, UsageError):
                remove_generation(folder, inside=self.path)

    def commit(self, manifest: Manifest) -> None:
        """Replace the manifest, then delete everything of ours that it does not list.

        The new generation is opened first: an unreadable generation never replaces a readable one.
        """
        Generation(self.generations / manifest.generation, manifest, mmap=True)
        fsync(self.generations)
        fsync(self.path)
        write_atomic(self.manifest_path, manifest.to_bytes())
        try:
            self.sweep(manifest.generation, journal=True)
        except OSError as error:
            raise IndexStoreError(
                f"the index at {self.path} is written, but some files that it replaces could not be removed"
                f" ({error.strerror or error}): the next build, add or remove deletes them"
            ) from error

    def sweep(self, keep: str | None, *, journal: bool) -> None:
        """Delete generations other than `keep`, originals and feedback of documents that `keep` does not have,
        temporary files and, if asked, the journal: only files of ours.
        """
        self._prune_feedback(keep)  # first: who finds a former generation knows that a sweep did not end
        if is_real_folder(self.generations):
            for folder in self.generations.iterdir():
                if folder.name != keep:
                    remove_generation(folder, inside=self.path)
        if self.originals.folder.exists():
            self.originals.sweep(self._needed_originals(keep))
        for leftover in unfinished_manifests(self.path):
            leftover.unlink(missing_ok=True)
        if journal:
            remove_journal(self.journal, inside=self.path)
        if foreign := foreign_in_index(self.path):
            more = f" and {len(foreign) - 1} more" if foreign[1:] else ""
            logger.warning("rag_ft did not write %s%s and leaves it alone: keep such files elsewhere", foreign[0], more)
        if self.path.exists():
            fsync(self.path)

    def _prune_feedback(self, generation: str | None) -> None:
        """Erase the feedback on documents that a generation does not have; where it cannot be read, none."""
        if generation is None or not self.feedback.is_there():
            return
        try:
            self.feedback.prune({row.id for row in read_table(self.generations / generation / TABLE)}, _FEEDBACK_WAIT_S)
        except (IndexStoreError, UsageError) as error:
            logger.warning("feedback on removed documents could not be erased: %s", error)

    def _needed_originals(self, generation: str | None) -> Container[str]:
        """Checksums of the originals that a generation names; if it cannot be read, all that are there."""
        if generation is None:
            return frozenset()
        try:
            return {row.original for row in read_table(self.generations / generation / TABLE)}
        except IndexStoreError:
            return {path.name for path in self.originals.folder.iterdir()}


def seal(folder: Path) -> dict[str, FileEntry]:
    """Flush a generation to disk; returns size and checksum of each file by its path in the folder."""
    sync_tree(folder)
    return {
        path.relative_to(folder).as_posix(): FileEntry(size=path.stat().st_size, sha256=sha256_of(path, fresh=True))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def check_files(folder: Path, files: dict[str, FileEntry], *, level: VerifyLevel) -> None:
    """Raise IndexCorruptError for the first file that was changed, FileNotFoundError for one that is gone.

    quick: size and SHA-256, but a file of 8 MiB or more is read only if its size or times changed since its checksum
    was last taken. full: everything is read. none: sizes only.
    """
    for name, entry in files.items():
        path = folder / name
        size = regular_size(path)
        if size != entry.size:
            what = "is empty" if size == 0 else f"has {size:,} bytes"
            raise IndexCorruptError(f"{path} {what} instead of {entry.size:,}: {REPAIR}")
        if level != "none" and sha256_of(path, fresh=level == "full") != entry.sha256:
            raise IndexCorruptError(f"{path} was edited or damaged (its checksum differs): {REPAIR}")


def open_generation(store: IndexStore, *, verify: VerifyLevel, mmap: bool = True) -> Generation:
    """Open the committed generation of an index, its files checked. Raises the matching kind of IndexStoreError."""
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
            manifest = newest  # a writer replaced the generation in between
    raise IndexLockedError(f"the index at {store.path} is written again and again: try again later")
