"""From the list of shards to open ones: which of them answer, and why others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rag_ft.errors import IndexMismatchError, IndexStoreError, RagFtError, first_line
from rag_ft.indexing.shards.crew import Crew
from rag_ft.indexing.shards.generation import Shard
from rag_ft.indexing.shards.listing import WORDS, ShardEntry, ShardList
from rag_ft.indexing.shards.postings import postings_of
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.store import IndexStore, VerifyLevel, open_generation

OPEN_LIMIT_S = 600.0
"""Seconds that opening a shard may take: large files are read once for their checksums, and words are counted."""


class NotSearched(NamedTuple):
    """A shard that is not searched."""

    name: str
    sentence: str


@dataclass(frozen=True)
class OpenShards:
    """What became of a list of shards."""

    shards: tuple[Shard, ...]
    """Those that are searched, in the order of the list."""
    failures: tuple[NotSearched, ...]


def open_shards(
    folder: Path,
    listed: ShardList,
    crew: Crew,
    *,
    verify: VerifyLevel,
    mmap: bool = True,
    before: Sequence[Shard] = (),
) -> OpenShards:
    """Open the shards of a list, all at once; one that cannot be opened, or does not fit, becomes a failure.

    `before`: shards that are open already, and stay so where they have not changed. A shard with a document that an
    earlier one of the list has too is not searched: which of the two texts is meant, only a person can say, and with
    both, one id would stand for two documents.
    """
    known = {shard.path: shard for shard in before}

    def open_one(entry: ShardEntry) -> Shard:
        path = folder / entry.path
        store = IndexStore(path)
        manifest = store.read_manifest()
        listed.check_fits(manifest, path)
        former = known.get(path)
        if former is not None and former.generation.manifest == manifest:
            return Shard(entry.name, path, former.generation, former.postings)
        generation = open_generation(store, verify=verify, mmap=mmap)
        listed.check_fits(generation.manifest, path)
        return Shard(entry.name, path, generation, postings_of(generation, folder / WORDS, mmap=mmap))

    # Under the keys of all later calls: a shard that hangs is not called again, by whatever step it hangs.
    calls = {folder / entry.path: partial(open_one, entry) for entry in listed.shards}
    outcome = crew.call(calls, OPEN_LIMIT_S)
    shards: list[Shard] = []
    failures: list[NotSearched] = []
    for entry in listed.shards:
        error = outcome.errors.get(folder / entry.path)
        if error is None:
            shard = outcome.results[folder / entry.path]
            try:
                check_apart(shard, shards)
            except IndexStoreError as clash:
                error = clash
            else:
                shards.append(shard)
        if error is not None:
            failures.append(NotSearched(entry.name, not_searched(entry.name, error)))
    return OpenShards(tuple(shards), tuple(failures))


class NamedGeneration(NamedTuple):
    """The documents of a shard, without its words."""

    name: str
    generation: Generation


def check_apart(shard: Shard | NamedGeneration, others: Sequence[Shard | NamedGeneration]) -> None:
    """Raise IndexMismatchError if another shard has a document with the id of one of this shard's."""
    for other in others:
        both = shard.generation.position_of.keys() & other.generation.position_of.keys()
        if both:
            raise IndexMismatchError(
                f"the shards {other.name!r} and {shard.name!r} both have a document {min(both)!r}: remove it from"
                " one of them with 'rag-ft index remove'"
            )


def not_searched(name: str, error: Exception) -> str:
    """One sentence about a shard that does not answer."""
    why = str(error) if isinstance(error, RagFtError | TimeoutError) else f"{type(error).__name__}: {first_line(error)}"
    return f"the shard {name!r} was not searched: {why}"


def hidden(failures: int, shards: int) -> tuple[str, ...]:
    """The sentence for an audience that may not know which shards there are."""
    return (f"{failures} of {shards} parts of the index were not searched, because they do not answer",)
