"""An index of many shards, with the interface of one index. It is read here, and changed shard by shard."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rag_ft.errors import IndexStoreError, UsageError
from rag_ft.indexing.building.sentinels import checked_embedder
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.searcher import Searcher
from rag_ft.indexing.shards.crew import Crew
from rag_ft.indexing.shards.generation import Shard, ShardedGeneration
from rag_ft.indexing.shards.listing import ShardList, read_list
from rag_ft.indexing.shards.opening import OpenShards, hidden, not_searched, open_shards
from rag_ft.indexing.shards.searcher import ShardedSearcher
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.manifest import Check, VerifyReport
from rag_ft.indexing.storage.store import IndexStore, VerifyLevel
from rag_ft.indexing.storage.words import Words
from rag_ft.indexing.verify import verify_index
from rag_ft.questions.feedback import FeedbackRecords

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

logger = logging.getLogger(__name__)

RETRY_S = 10.0
"""Seconds after which a shard that could not be opened is tried again."""


class _State:
    """What one look at the list and its shards gave, and what all looks share."""

    def __init__(self, listed: ShardList, opened: OpenShards, crew: Crew) -> None:
        self.listed = listed
        self.opened = opened
        self.crew = crew
        self.words = Words(ChunkingConfig.stored(listed.chunking).rules)
        self.looked_at = time.monotonic()

    @property
    def failures(self) -> tuple[str, ...]:
        """Why shards are not searched, one sentence for each."""
        return tuple(failure.sentence for failure in self.opened.failures)


class ShardedIndex(Index):
    """The documents of many shards. Made by `Index.load` of a folder with a list of shards.

    An object shows the shards as they were when it was loaded, but for those that do not answer: they are left out, and
    `incomplete`, `Hits.incomplete` and `Answer.incomplete` say so. `newest` gives the state on disk now.
    """

    def __init__(
        self, store: IndexStore, generation: ShardedGeneration, embedder: Embedder | None, state: _State
    ) -> None:
        super().__init__(store, generation, embedder)
        self._sharded = generation
        self._state = state

    def _with(self, generation: Generation, embedder: Embedder | None) -> ShardedIndex:
        assert isinstance(generation, ShardedGeneration)
        return ShardedIndex(self._store, generation, embedder, self._state)

    @property
    def incomplete(self) -> tuple[str, ...]:
        """What this object lacks of the index, one sentence for each shard that could not be opened."""
        failures = self._state.failures
        if failures and self.is_part:
            return hidden(len(failures), len(self._state.listed.shards))
        return failures

    @property
    def shards(self) -> dict[str, Path]:
        """Folders of the shards that are searched, by name."""
        return {shard.name: shard.path for shard in self._sharded.shards}

    def searcher(self) -> Searcher:
        """Rankings of row numbers over the present state, each shard asked at the same time."""
        state = self._state

        def describe(shard: Shard, error: Exception) -> str:
            sentence = not_searched(shard.name, error)
            logger.warning("%s", sentence)
            return hidden(1, len(state.listed.shards))[0] if self.is_part else sentence

        return ShardedSearcher(
            self._sharded,
            lambda: self.embedder,
            crew=state.crew,
            words=state.words,
            limit_s=state.listed.limit_s,
            incomplete=self.incomplete,
            describe=describe,
        )

    def check_changeable(self) -> None:
        """Raise UsageError: what is changed is a shard, or the list of them."""
        super().check_changeable()
        raise UsageError(
            f"the index at {self.path} is made of shards: change one of them ('rag-ft index shards list"
            f" {self.path}' names them), or add another with 'rag-ft index shards add'"
        )

    def feedback_questions(self) -> FeedbackRecords:
        """Raise UsageError: feedback is kept beside each shard."""
        raise UsageError(
            f"the index at {self.path} is made of shards, and feedback is kept beside each of them: give one of them"
            f" ('rag-ft index shards list {self.path}' names them)"
        )

    def newest(self, *, verify: VerifyLevel = "none") -> Index:
        """The state on disk now: this object, unless the list or a shard has changed, or a missing one is back."""
        super().check_changeable()
        state = self._state
        listed = read_list(self.path)
        if listed == state.listed and not self._has_changed():
            return self
        opened = open_shards(self.path, listed, state.crew, verify=verify, before=self._sharded.shards)
        same = [(shard.name, shard.generation) for shard in opened.shards] == [
            (shard.name, shard.generation) for shard in self._sharded.shards
        ]
        if listed == state.listed and same and opened.failures == state.opened.failures:
            state.looked_at = time.monotonic()
            return self
        changed = _State(listed, opened, state.crew)
        generation = _generation_of(self.path, changed)
        embedder = self._embedder
        if verify != "none":
            embedder = checked_embedder(generation, self.path, embedder)
        return ShardedIndex(self._store, generation, embedder, changed)

    def _has_changed(self) -> bool:
        state = self._state
        if state.failures and time.monotonic() - state.looked_at >= RETRY_S:
            return True
        calls = {shard.path: IndexStore(shard.path).read_manifest for shard in self._sharded.shards}
        manifests = state.crew.call(calls, state.listed.limit_s).results
        return any(manifests.get(shard.path) != shard.generation.manifest for shard in self._sharded.shards)

    def verify(self, absent: str | None = None) -> VerifyReport:
        """Verify every shard of the list, one after another, as `Index.verify` does."""
        super().check_changeable()
        checks: list[Check] = []
        for entry in read_list(self.path).shards:
            report = verify_index(self.path / entry.path, lambda: self.embedder, absent)
            checks += [check.model_copy(update={"name": f"{entry.name}: {check.name}"}) for check in report.checks]
        return VerifyReport(ok=all(check.ok for check in checks), checks=tuple(checks))


def load_shards(folder: Path, embedder: str | Embedder | None, *, verify: VerifyLevel, mmap: bool) -> ShardedIndex:
    """Open the shards that a folder lists: see `Index.load`. One that cannot be opened is left out and named.

    Raises IndexStoreError, also where no shard can be opened.
    """
    listed, crew = read_list(folder), Crew()
    state = _State(listed, open_shards(folder, listed, crew, verify=verify, mmap=mmap), crew)
    generation = _generation_of(folder, state)
    return ShardedIndex(IndexStore(folder), generation, checked_embedder(generation, folder, embedder), state)


def _generation_of(folder: Path, state: _State) -> ShardedGeneration:
    """The shards that could be opened; the others are logged. Raises IndexStoreError where none could be."""
    for failure in state.failures:
        logger.warning("%s", failure)
    if not state.opened.shards:
        raise IndexStoreError(f"no shard of the index at {folder} can be used: {state.failures[0]}")
    return ShardedGeneration(folder, state.opened.shards)
