"""The list of shards: one small file in a folder of its own, replaced atomically.

    folder/shards.json      which shards there are, and what all of them have in common
    folder/.shard-words/    word counts of each shard, from which BM25 counts over all (`postings`)
    folder/.shards.lock     held by the one writer

The shards themselves are ordinary indexes, below this folder or anywhere else, and are only ever read.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field, JsonValue, ValidationError, model_validator

from rag_ft.errors import (
    IndexCorruptError,
    IndexFormatError,
    IndexLockedError,
    IndexMismatchError,
    IndexMissingError,
    UsageError,
    first_problem,
)
from rag_ft.files import is_plain_file, write_atomic
from rag_ft.indexing.storage.folder import SHARDS, content_checksum, holds_index
from rag_ft.indexing.storage.manifest import EmbedderEntry, Manifest, Text
from rag_ft.indexing.storage.reading import store_error
from rag_ft.schema import Record

FORMAT = 2
"""Version of the file; a higher one is refused. Version 1, without `EmbedderEntry.arithmetic`, is read."""

LOCK = ".shards.lock"
WORDS = ".shard-words"

LIMIT_S = 10.0
"""Seconds that a shard may take for one step of a search, unless the list says otherwise."""

LONGEST_LIMIT_S = 86_400.0
"""The system cannot wait for some centuries; nobody waits for more than a day."""

_MOST_BYTES = 10_000_000
_LOCK_TIMEOUT_S = 10.0
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$"
_REPAIR = "list the shards again with 'rag-ft index shards add' in a new folder, or restore it from a copy"


class ShardEntry(Record):
    """One shard of the list."""

    name: Annotated[str, Field(pattern=_NAME)]
    """What messages and commands call it; unique in the list."""
    path: Text
    """Its folder; relative to the list's folder if it is below that."""


class ShardList(Record):
    """`shards.json`: the shards in the order in which they were added, and what they must have in common."""

    format: int = Field(default=FORMAT, ge=1, le=FORMAT)
    embedder: EmbedderEntry
    chunking: dict[str, JsonValue]
    limit_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = LIMIT_S
    """Seconds that a shard may take for one step of a search."""
    shards: Annotated[tuple[ShardEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_names(self) -> ShardList:
        names = [entry.name for entry in self.shards]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two shards are named {twice[0]!r}")
        return self

    def check_fits(self, manifest: Manifest, path: Path) -> None:
        """Raise IndexMismatchError for an index of another embedder or another chunking than the shards have."""
        theirs, ours = manifest.embedder, self.embedder
        if (theirs.fingerprint, theirs.dimension) != (ours.fingerprint, ours.dimension):
            raise IndexMismatchError(
                f"the index at {path} was built with the embedder {theirs.name} ({theirs.fingerprint[:12]},"
                f" {theirs.dimension} dimensions) and the shards with {ours.name} ({ours.fingerprint[:12]},"
                f" {ours.dimension}): build it again with --embedder {ours.name}"
            )
        differing = _difference(manifest.chunking, self.chunking)
        if differing is not None:
            raise IndexMismatchError(
                f"the index at {path} was built with the chunking {differing} {manifest.chunking.get(differing)!r} and"
                f" the shards with {self.chunking.get(differing)!r}: build it again with the shards' settings"
            )

    def to_bytes(self) -> bytes:
        """Encode the file: the fields and `checksum`, the SHA-256 of all other fields."""
        content = self.model_dump(mode="json")
        content["checksum"] = content_checksum(content)
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _difference(chunking: Mapping[str, JsonValue], other: Mapping[str, JsonValue]) -> str | None:
    """The first setting in which two configurations differ."""
    defaults: dict[str, JsonValue] = {"rules": 1}
    one, two = defaults | dict(chunking), defaults | dict(other)
    return next((key for key in sorted(one.keys() | two.keys()) if one.get(key) != two.get(key)), None)


def read_list(folder: Path) -> ShardList:
    """The list of a folder, with its checksum compared. Raises IndexStoreError."""
    path = folder / SHARDS
    try:
        if not os.path.lexists(path):
            raise IndexMissingError(f"{folder} has no list of shards: add one with 'rag-ft index shards add'")
        if not is_plain_file(path) or path.stat().st_size > _MOST_BYTES:
            raise IndexCorruptError(f"{path} is not a list of shards: {_REPAIR}")
        data = path.read_bytes()
    except OSError as error:
        raise store_error(error, path) from error
    try:
        content: dict[str, Any] = json.loads(data)
        version, signed = content.get("format"), content.pop("checksum", None) == content_checksum(content)
    except Exception as error:  # whatever bytes that are not JSON raise
        raise IndexCorruptError(f"{path} is not the JSON of a list of shards: {_REPAIR}") from error
    if type(version) is int and version > FORMAT:
        raise IndexFormatError(
            f"{path} is in format {version} of a newer rag_ft, and this one reads up to {FORMAT}: upgrade rag_ft"
        )
    if not signed:
        raise IndexCorruptError(f"{path} was edited or damaged (its own checksum differs): {_REPAIR}")
    try:
        return ShardList.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise IndexCorruptError(f"{path} is not what rag_ft writes ({first_problem(error)}): {_REPAIR}") from error


def write_list(folder: Path, shards: ShardList) -> None:
    """Replace the list. Raises OSError."""
    write_atomic(folder / SHARDS, shards.to_bytes())


@contextlib.contextmanager
def changing(folder: Path, *, create: bool = False) -> Iterator[None]:
    """Hold a folder's list as its only writer; errors of the file system inside become IndexStoreError.

    `create`: make the folder if it is missing. Raises UsageError for a folder that is itself an index.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: give a folder for the list of shards")
    if holds_index(folder):
        raise UsageError(f"{folder} is an index itself: give another folder for the list of shards")
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not os.path.lexists(folder / SHARDS):
            read_list(folder)  # says what is missing, and makes no folder
        lock_path = folder / LOCK
        if os.path.lexists(lock_path) and not is_plain_file(lock_path):
            raise UsageError(f"{lock_path} is a link or a folder where rag_ft keeps a file: move it away")
        lock = FileLock(lock_path)
        try:
            lock.acquire(timeout=_LOCK_TIMEOUT_S)
        except Timeout as error:
            raise IndexLockedError(f"another process is changing the shards of {folder}: try again") from error
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        raise store_error(error, folder, "the list of shards is unchanged") from error


def stored_path(shard: Path, folder: Path) -> str:
    """A shard's path as the list keeps it: relative if it is below the list's folder, so that both can be moved."""
    shard, folder = shard.absolute(), folder.absolute()
    return shard.relative_to(folder).as_posix() if shard.is_relative_to(folder) else str(shard)


def name_for(shard: Path, taken: set[str]) -> str:
    """A name for a shard: that of its folder, with a number if another has it already."""
    plain = re.sub(r"[^A-Za-z0-9._@-]", "-", shard.absolute().name).lstrip("._@-")[:80] or "shard"
    numbered = (f"{plain}-{number}" for number in range(2, len(taken) + 3))
    return plain if plain not in taken else next(name for name in numbered if name not in taken)
