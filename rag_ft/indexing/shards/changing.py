"""The list of shards changed: shards added, retired, and the time that each may take."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rag_ft.errors import RagFtError, UsageError
from rag_ft.files import is_real_folder
from rag_ft.indexing.databases.address import is_database
from rag_ft.indexing.shards.listing import (
    LONGEST_LIMIT_S,
    WORDS,
    ShardEntry,
    ShardList,
    changing,
    name_for,
    read_list,
    stored_path,
    write_list,
)
from rag_ft.indexing.shards.opening import NamedGeneration, check_apart
from rag_ft.indexing.shards.postings import postings_of, sweep_postings
from rag_ft.indexing.storage.folder import holds_shards
from rag_ft.indexing.storage.store import IndexStore, open_generation

logger = logging.getLogger(__name__)


class ShardState(NamedTuple):
    """A shard of a list, as it is now."""

    name: str
    path: str
    documents: int
    passages: int
    problem: str
    """Why it is not searched; empty if it is."""


def add_shards(folder: str | Path, shards: Sequence[str | Path]) -> tuple[str, ...]:
    """Add indexes to the shards that a folder lists, all or none; returns their names. The first ones make the list.

    A shard of another embedder, of another chunking, of a newer format, or with a document that another shard has too
    is refused: IndexMismatchError, IndexFormatError. The words of its passages are counted now, which takes some
    minutes per million passages. Raises also UsageError, IndexStoreError.
    """
    folder = Path(folder)
    if not shards:
        raise UsageError("say which indexes to add: give their folders")
    paths = [_index_folder(shard) for shard in shards]  # before a folder is made for their list
    with changing(folder, create=True):
        listed = read_list(folder) if holds_shards(folder) else None
        present = [*listed.shards] if listed is not None else []
        if folder.joinpath(WORDS).exists() and not is_real_folder(folder / WORDS):
            raise UsageError(f"{folder / WORDS} is a link or a file where rag_ft keeps a folder: move it away")
        opened = _open_present(folder, present)
        names: list[str] = []
        for path in paths:
            entry = ShardEntry(name=name_for(path, {entry.name for entry in present}), path=stored_path(path, folder))
            _check_new(folder, path, present)
            shard, listed = _open_new(folder, entry, listed)
            check_apart(shard, opened)
            postings_of(shard.generation, folder / WORDS)
            opened.append(shard)
            present.append(entry)
            names.append(entry.name)
        assert listed is not None
        write_list(folder, listed.model_copy(update={"shards": tuple(present)}))
        _sweep(folder, present)
    return tuple(names)


def retire_shards(folder: str | Path, names: Sequence[str | Path]) -> tuple[str, ...]:
    """Take shards off the list, by name or path; returns their names. Their own folders stay as they are.

    Raises UsageError for a name that is not listed, or if no shard would remain; IndexStoreError.
    """
    folder = Path(folder)
    with changing(folder):
        listed = read_list(folder)
        retired = {_named(str(name), folder, listed) for name in names}
        remaining = [entry for entry in listed.shards if entry.name not in retired]
        if not retired:
            raise UsageError("say which shards to retire: give their names or folders")
        if not remaining:
            raise UsageError(f"{folder} would have no shard left: an index cannot be empty, so add another shard first")
        write_list(folder, listed.model_copy(update={"shards": tuple(remaining)}))
        _sweep(folder, remaining)
    return tuple(entry.name for entry in listed.shards if entry.name in retired)


def limit_shards(folder: str | Path, seconds: float) -> None:
    """Set the seconds that a shard may take for one step of a search. Raises UsageError, IndexStoreError."""
    if not 0 < seconds <= LONGEST_LIMIT_S:
        raise UsageError(f"the limit is {seconds:g}: give a number of seconds above 0, up to {LONGEST_LIMIT_S:g}")
    with changing(Path(folder)):
        write_list(Path(folder), read_list(Path(folder)).model_copy(update={"limit_s": float(seconds)}))


def list_shards(folder: str | Path) -> list[ShardState]:
    """The shards of a list as they are now. Raises IndexStoreError if the list itself cannot be read."""
    folder = Path(folder)
    listed = read_list(folder)
    states: list[ShardState] = []
    opened: list[NamedGeneration] = []
    for entry in listed.shards:
        path = folder / entry.path
        try:
            shard = NamedGeneration(entry.name, open_generation(IndexStore(path), verify="none"))
            listed.check_fits(shard.generation.manifest, path)
            check_apart(shard, opened)
        except RagFtError as error:
            states.append(ShardState(entry.name, str(path), 0, 0, str(error)))
        else:
            opened.append(shard)
            counts = shard.generation.manifest.counts
            states.append(ShardState(entry.name, str(path), counts.documents, counts.passages, ""))
    return states


def _open_present(folder: Path, present: Sequence[ShardEntry]) -> list[NamedGeneration]:
    """The shards of the list, to compare documents with; one that cannot be opened is skipped."""
    opened: list[NamedGeneration] = []
    for entry in present:
        try:
            generation = open_generation(IndexStore(folder / entry.path), verify="none")
            opened.append(NamedGeneration(entry.name, generation))
        except RagFtError as error:
            logger.warning("the documents of the shard %r could not be compared: %s", entry.name, error)
    return opened


def _index_folder(shard: str | Path) -> Path:
    """The folder of an index. Raises UsageError for what cannot be a shard, IndexStoreError where no index is."""
    if is_database(shard):
        raise UsageError("an index in a database cannot be a shard: give the folder of an index")
    path = Path(shard)
    if holds_shards(path):
        raise UsageError(f"{path} holds a list of shards itself: add its shards one by one")
    IndexStore(path).read_manifest()
    return path


def _check_new(folder: Path, path: Path, present: Sequence[ShardEntry]) -> None:
    """Raise UsageError for the folder of a shard that the list has already."""
    for entry in present:
        other = folder / entry.path
        if path.exists() and other.exists() and path.samefile(other):
            raise UsageError(f"{path} is already the shard {entry.name!r}")


def _open_new(folder: Path, entry: ShardEntry, listed: ShardList | None) -> tuple[NamedGeneration, ShardList]:
    """A new shard, and the list that it fits; the first shard makes it."""
    path = folder / entry.path
    generation = open_generation(IndexStore(path), verify="quick")
    manifest = generation.manifest
    if listed is None:
        listed = ShardList(embedder=manifest.embedder, chunking=manifest.chunking, shards=(entry,))
    listed.check_fits(manifest, path)
    return NamedGeneration(entry.name, generation), listed


def _named(name: str, folder: Path, listed: ShardList) -> str:
    """The name of the shard that a person means."""
    for entry in listed.shards:
        if name == entry.name or Path(name).absolute() == (folder / entry.path).absolute():
            return entry.name
    known = ", ".join(entry.name for entry in listed.shards)
    raise UsageError(f"{folder} lists no shard {name!r}: it lists {known}")


def _sweep(folder: Path, present: Sequence[ShardEntry]) -> None:
    """Delete the words of states that no shard has now; those of a shard that cannot be read stay."""
    keep: set[str] = set()
    for entry in present:
        try:
            keep.add(IndexStore(folder / entry.path).read_manifest().generation)
        except RagFtError:
            return
    sweep_postings(folder / WORDS, keep)
