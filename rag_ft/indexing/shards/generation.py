"""Shards as one generation: their documents in order of id, and rows numbered as in one index of all of them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.access import Audience
from rag_ft.indexing.places import Places
from rag_ft.indexing.shards.postings import PartPostings, Postings
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.manifest import Counts, index_fingerprint
from rag_ft.indexing.storage.originals import Originals
from rag_ft.indexing.visible import KEPT
from rag_ft.schema import Document, Passage


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard in one state, or what an audience may read of it."""

    name: str
    path: Path
    generation: Generation
    postings: Postings

    def part(self, audience: Audience) -> Shard:
        """What an audience may read of it."""
        visible = self.generation.parts.of(audience)
        return Shard(self.name, self.path, visible, PartPostings(self.postings, visible.rows))


class ShardRows(NamedTuple):
    """The rows of one shard among some rows of all shards."""

    at: NDArray[np.int64]
    """Their positions among the rows that were given."""
    rows: NDArray[np.int64]
    """Their numbers in the shard."""


class ShardedGeneration(Generation):
    """The states of some shards, with the interface of one generation. Immutable.

    Vectors, words and keys of texts stay with the shards: `ShardedSearcher` asks each for its own. What is held here
    takes memory for each document, not for each passage.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self.folder = folder
        self.shards = tuple(shards)
        placed = sorted(
            (row.id, number, position)
            for number, shard in enumerate(self.shards)
            for position, row in enumerate(shard.generation.table)
        )
        self._shard_of: NDArray[np.int32] = np.array([number for _, number, _ in placed], dtype=np.int32)
        """Number of each document's shard."""
        self._position_in: NDArray[np.int64] = np.array([position for _, _, position in placed], dtype=np.int64)
        """Each document's position in its shard's table."""
        self.table = [self.shards[number].generation.table[position] for _, number, position in placed]
        self.position_of = {row.id: position for position, row in enumerate(self.table)}
        self.firsts = np.cumsum(np.array([0, *(row.passages for row in self.table)], dtype=np.int64))
        self._first_in: NDArray[np.int64] = np.zeros(len(placed), dtype=np.int64)
        """Row in its shard of each document's first passage."""
        self._positions: list[NDArray[np.int64]] = []
        """For each shard, the position here of each of its documents."""
        for number, shard in enumerate(self.shards):
            mine = np.flatnonzero(self._shard_of == number)
            self._first_in[mine] = shard.generation.firsts[self._position_in[mine]]
            self._positions.append(mine)
        generations = [shard.generation for shard in self.shards]
        self.sentinel_texts = [text for generation in generations for text in _sentinels(generation)]
        vectors = [generation.sentinel_vectors for generation in generations if _sentinels(generation)]
        dimension = generations[0].manifest.embedder.dimension
        self.sentinel_vectors = np.concatenate([np.zeros((0, dimension), dtype=np.float32), *vectors])
        manifests = [generation.manifest for generation in generations]
        state = "\n".join(f"{manifest.generation} {manifest.counts.documents}" for manifest in manifests)
        first = manifests[0]
        arithmetic = sorted({name for manifest in manifests for name in manifest.embedder.arithmetic})
        self.manifest = first.model_copy(
            update={
                "generation": hashlib.sha256(state.encode()).hexdigest()[:16],
                "embedder": first.embedder.model_copy(update={"arithmetic": arithmetic}),
                "created": max(manifest.created for manifest in manifests),
                "fingerprint": index_fingerprint(
                    (row.fingerprint for row in self.table), first.embedder.fingerprint, first.chunking
                ),
                "counts": Counts(documents=len(self.table), passages=int(self.firsts[-1])),
                "recall_at_10": min(manifest.recall_at_10 for manifest in manifests),
                "files": {},
            }
        )
        self._kept: OrderedDict[tuple[int, ...], ShardedGeneration] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def part(self, audience: Audience) -> Generation:
        """What an audience may read of all shards."""
        # A shard gives the same part to audiences that see the same of it, and keeps it as long as one here does.
        key = tuple(id(shard.generation.parts.of(audience)) for shard in self.shards)
        with self._lock:
            part = self._kept.get(key)
            if part is None:
                shards = [shard.part(audience) for shard in self.shards]
                key = tuple(id(shard.generation) for shard in shards)
                part = self._kept[key] = ShardedGeneration(self.folder, shards)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return part

    def split(self, rows: NDArray[np.int64]) -> dict[int, ShardRows]:
        """Some rows, by the numbers of the shards that have them; ascending rows stay ascending."""
        positions = np.searchsorted(self.firsts, rows, side="right") - 1
        inside = self._first_in[positions] + rows - self.firsts[positions]
        numbers = self._shard_of[positions]
        by_shard: dict[int, ShardRows] = {}
        for number in range(len(self.shards)):
            at = np.flatnonzero(numbers == number)
            if len(at):
                by_shard[number] = ShardRows(at, inside[at])
        return by_shard

    def rows_of(self, number: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows here of some rows of a shard; ascending ones stay ascending."""
        firsts = self.shards[number].generation.firsts
        inside = np.searchsorted(firsts, rows, side="right") - 1
        positions = self._positions[number][inside]
        numbered: NDArray[np.int64] = self.firsts[positions] + rows - firsts[inside]
        return numbered

    def originals_of(self, position: int) -> Originals:
        """The kept originals among which that of a document is."""
        return Originals(self._shard(position).path)

    def passage(self, row: int) -> Passage:
        """The passage of a row."""
        position = int(np.searchsorted(self.firsts, row, side="right")) - 1
        inside = int(self._first_in[position]) + row - int(self.firsts[position])
        return self._shard(position).generation.passage(inside)

    def passages_of(self, position: int) -> Iterator[Passage]:
        """The passages of a document, by its position in the table, in order."""
        return self._shard(position).generation.passages_of(int(self._position_in[position]))

    def document(self, position: int) -> Document:
        """A document, by its position in the table."""
        return self._shard(position).generation.document(int(self._position_in[position]))

    def places(self, position: int) -> Places | None:
        """Where a document's characters stand in its file, by its position in the table; None if that is not known."""
        return self._shard(position).generation.places(int(self._position_in[position]))

    def _shard(self, position: int) -> Shard:
        return self.shards[int(self._shard_of[position])]


def _sentinels(generation: Generation) -> list[str]:
    """The passages that show whether the embedder is the same; none in what an audience may read."""
    return getattr(generation, "sentinel_texts", [])
