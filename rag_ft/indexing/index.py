"""The index: build, add, remove, search, save, load, verify. One folder holds it; every change is atomic."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexMismatchError, IndexMissingError, IndexStoreError, UsageError, WeightsError
from rag_ft.files import require_space, sync_tree
from rag_ft.indexing.access import Audience, audience
from rag_ft.indexing.builder import GenerationBuilder, check_sentinels
from rag_ft.indexing.changes import (
    LOCK_TIMEOUT_S,
    base_to_reuse,
    build_report,
    check_kind,
    commit_generation,
    generation_builder,
    read_source,
    refuse_nothing,
    removal_report,
    take_all,
)
from rag_ft.indexing.corpus import Source
from rag_ft.indexing.filters import Where, as_filter, matches
from rag_ft.indexing.storage.generation import Generation, TableRow
from rag_ft.indexing.storage.manifest import BuildReport, Manifest, RemovalReport, VerifyReport
from rag_ft.indexing.storage.store import IndexStore, VerifyLevel, check_files, open_generation
from rag_ft.indexing.storage.vectors import KindChoice, Scored, check_k
from rag_ft.indexing.visible import VisibleParts
from rag_ft.schema import Document, Hit, Passage

if TYPE_CHECKING:
    from rag_ft.indexing.chunking import ChunkingConfig
    from rag_ft.indexing.corpus import Source
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.formats import ReadLimits
    from rag_ft.indexing.retriever import Mode, Retriever

logger = logging.getLogger(__name__)


_COPY_BYTES = 4 * 1024 * 1024


class Index:
    """Passages of documents with their vectors and words, on disk. Made by `build` and `load`.

    An object shows the state it was loaded or built at, also while another process writes; its own `add`
    and `remove` move it on. Reading is safe from several threads and processes; writers take turns.
    """

    def __init__(self, store: IndexStore, generation: Generation, embedder: Embedder | None) -> None:
        self._store = store
        self._generation = generation
        self._embedder = embedder
        self._embedder_lock = threading.Lock()
        self._whole: Index | None = None
        """For what an audience may read: the index that it is a part of."""
        self._parts: VisibleParts | None = None
        self._parts_lock = threading.Lock()
        self.last_report: BuildReport | None = None
        """What the last `build` or `add` of this object did."""

    @classmethod
    def build(
        cls,
        source: Source,
        path: str | Path,
        *,
        embedder: str | Embedder = "default",
        chunking: ChunkingConfig | None = None,
        kind: KindChoice = "auto",
        limits: ReadLimits | None = None,
        progress: bool = True,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> Index:
        """The index of `source` at `path`, made or brought up to date.

        A document whose content is unchanged is not touched, one that is gone from the source is removed,
        and only texts that were never embedded are embedded; a build that was killed goes on where it was.
        Until the end the former index stays as it is. `last_report` tells what was done, with the documents
        that could not be read. `limits`: what reading one file may cost.

        Raises CorpusError if the source has nothing usable, UsageError, IndexLockedError, IndexStoreError.
        """
        from rag_ft.indexing.chunking import ChunkingConfig

        started = time.monotonic()
        check_kind(kind)
        store = IndexStore(Path(path))
        if isinstance(embedder, str):
            from rag_ft.indexing.embedding import load_embedder

            embedder = load_embedder(embedder)
        chunking = chunking or ChunkingConfig()
        with store.writing(lock_timeout_s):
            base = base_to_reuse(store, embedder)
            # What is committed stays until the new generation is, also where nothing of it can be reused.
            committed = store.committed_generation()
            # Without any manifest there is only what killed builds left; a damaged one may still be restored.
            if committed is not None or not store.manifest_path.exists():
                store.sweep(committed, journal=False)
            corpus = read_source(source, store.path, base, limits)
            builder = generation_builder(store, base, embedder, chunking)
            try:
                take_all(builder, corpus, progress=progress)
                builder.keep_unreadable(corpus.failures, corpus.ceiling)
                removed = tuple(sorted(set(base.row_of if base else ()) - set(builder.chosen)))
                refuse_nothing(builder, corpus)
                commit_generation(store, builder, base, kind)
            except BaseException:
                builder.abandon()
                raise
        index = cls(store, open_generation(store, verify="none"), embedder)
        index.last_report = build_report(builder, corpus, removed, len(index), started)
        return index

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        embedder: str | Embedder | None = None,
        verify: VerifyLevel = "quick",
        mmap: bool = True,
    ) -> Index:
        """The index at `path`.

        `embedder`: a name is loaded, and either way sentinel passages are embedded again and compared; None
        defers that to the first use of `embedder`, so that reading and BM25 need no model. `verify`:
        "quick" compares every checksum, but reads files of 8 MiB or more only if their size or times
        changed since their checksum was last taken; "full" reads all; "none" compares sizes. `mmap`: map
        vectors and postings instead of reading them.

        Raises IndexMissingError, IndexCorruptError, IndexFormatError, IndexMismatchError.
        """
        if verify not in ("quick", "full", "none"):
            raise UsageError(f"there is no verification level {verify!r}: use quick, full or none")
        store = IndexStore(Path(path))
        generation = open_generation(store, verify=verify, mmap=mmap)
        if isinstance(embedder, str):
            from rag_ft.indexing.embedding import load_embedder

            embedder = load_embedder(embedder)
        if embedder is not None:
            check_sentinels(generation, embedder, store.path)
        return cls(store, generation, embedder)

    # What it is

    @property
    def path(self) -> Path:
        """The folder."""
        return self._store.path

    @property
    def manifest(self) -> Manifest:
        """What the index says about itself."""
        return self._generation.manifest

    @property
    def fingerprint(self) -> str:
        """SHA-256 over documents, embedder and chunking: equal for equal content, whenever it was built."""
        return self.manifest.fingerprint

    @property
    def chunking(self) -> ChunkingConfig:
        """How the documents were cut."""
        from rag_ft.indexing.chunking import ChunkingConfig

        return ChunkingConfig.stored(self.manifest.chunking)

    @property
    def embedder(self) -> Embedder:
        """The embedder, loaded by the manifest's name, compared at first use. Raises IndexMismatchError.

        By name alone only what is packaged or what the user has loaded before (`load_named_embedder`).
        """
        if self._whole is not None:
            return self._whole.embedder
        with self._embedder_lock:
            if self._embedder is None:
                from rag_ft.indexing.embedding import load_named_embedder

                name = self.manifest.embedder.name
                try:
                    embedder = load_named_embedder(name)
                except WeightsError as error:
                    raise IndexMismatchError(
                        f"the index at {self.path} needs its embedder {name!r}, which was not loaded ({error}): if you "
                        "trust it, give it once with --embedder (rag-ft ask, serve, mcp, index add, index verify), or "
                        "as Index.load(..., embedder=...)"
                    ) from error
                check_sentinels(self._generation, embedder, self.path)
                self._embedder = embedder
            return self._embedder

    def __len__(self) -> int:
        """Number of passages."""
        return len(self._generation)

    def passage(self, row: int) -> Passage:
        """The passage of a row, counted from 0 in order of document ids. Raises IndexError."""
        if not 0 <= row < len(self):
            raise IndexError(f"passage {row} of {len(self)}")
        return self._generation.passage(row)

    def passages(self) -> Iterator[Passage]:
        """All passages in order."""
        for number in range(len(self._generation.table)):
            yield from self._generation.passages_of(number)

    def passages_of(self, document_id: str) -> list[Passage]:
        """The passages of a document, in order. Raises UsageError."""
        return list(self._generation.passages_of(self._number(document_id)))

    def passage_by_id(self, passage_id: str) -> Passage:
        """The passage of an id. Raises UsageError."""
        number = self._generation.row_of.get(passage_id.rpartition("#")[0])
        for passage in self._generation.passages_of(number) if number is not None else ():
            if passage.id == passage_id:
                return passage
        raise UsageError(f"the index at {self.path} has no passage {passage_id!r}: it may have been built again since")

    def documents(self) -> Iterator[str]:
        """Ids of all documents, sorted."""
        return (row.id for row in self._generation.table)

    def entries(self) -> Sequence[TableRow]:
        """What is known of each document without reading its text, sorted by id."""
        return self._generation.table

    def document(self, document_id: str) -> Document:
        """A document with its whole text. Raises UsageError."""
        return self._generation.document(self._number(document_id))

    def document_fingerprints(self) -> dict[str, str]:
        """The fingerprint of each document's content as it was indexed, by id."""
        return {row.id: row.fingerprint for row in self._generation.table}

    def document_fingerprint(self, document_id: str) -> str:
        """The fingerprint of a document's content as it was indexed. Raises UsageError."""
        return self._generation.table[self._number(document_id)].fingerprint

    def _number(self, document_id: str) -> int:
        number = self._generation.row_of.get(document_id)
        if number is None:
            raise UsageError(
                f"the index at {self.path} has no document {document_id!r}: 'rag-ft index info --documents' lists them"
            )
        return number

    # Searching

    def search(self, query_vectors: NDArray[np.float32], k: int, *, where: Where | None = None) -> list[list[Hit]]:
        """The k passages nearest to each vector, shape (n, dimension).

        Score is the cosine; ties in passage order.

        A k beyond the index gives all passages. With `where` the best among the matching passages. Raises
        UsageError.
        """
        return [self.hits(ranking) for ranking in self.rank_vectors(query_vectors, k, self.rows_where(where))]

    def search_text(self, queries: Sequence[str], k: int, *, where: Where | None = None) -> list[list[Hit]]:
        """`search` with the embedded queries."""
        check_k(k)
        return self.search(self.encode_query(queries), k, where=where)

    def bm25_search(self, queries: Sequence[str], k: int, *, where: Where | None = None) -> list[list[Hit]]:
        """The k passages that share the weightiest words with each query; none that share no word.

        Needs no model.
        """
        return [self.hits(ranking) for ranking in self.rank_words(queries, k, self.rows_where(where))]

    def encode_query(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """The queries embedded by the index's embedder, shape (n, dimension)."""
        return self.embedder.encode_query(list(queries))

    def rank_vectors(
        self, query_vectors: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> list[list[Scored]]:
        """`search` as rows and scores, among `allowed` rows only if given."""
        check_k(k)
        vectors = np.asarray(query_vectors, dtype=np.float32)
        dimension = self.manifest.embedder.dimension
        if vectors.ndim != 2 or vectors.shape[1] != dimension:
            raise UsageError(f"query vectors must have the shape (n, {dimension}), these have {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise UsageError("a query vector holds values that are not finite")
        return self._generation.vectors.search(vectors, k, allowed)

    def rank_words(
        self, queries: Sequence[str], k: int, allowed: NDArray[np.int64] | None = None
    ) -> list[list[Scored]]:
        """`bm25_search` as rows and scores, among `allowed` rows only if given."""
        from rag_ft.indexing.embedding import check_question

        check_k(k)
        for query in queries:
            check_question(query)
        return self._generation.bm25.search(queries, k, allowed)

    def score_rows(
        self, query_vector: NDArray[np.float32], query: str, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cosine and BM25 score of some rows for one question."""
        return self._generation.vectors.scores(query_vector, rows), self._generation.bm25.scores(query, rows)

    def hits(self, ranking: Iterable[Scored]) -> list[Hit]:
        """Rows and scores, best first, as hits."""
        return [
            Hit(passage=self._generation.passage(found.row), score=found.score, rank=rank)
            for rank, found in enumerate(ranking, start=1)
        ]

    def rows_where(self, where: Where | None) -> NDArray[np.int64] | None:
        """Rows of the passages whose documents match a filter, ascending; None for no filter. Raises UsageError."""
        if where is None:
            return None
        where = as_filter(where)
        firsts = self._generation.firsts
        spans = [
            np.arange(firsts[number], firsts[number + 1], dtype=np.int64)
            for number, row in enumerate(self._generation.table)
            if matches(row, where)
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *spans])

    def as_retriever(
        self,
        k: int = 3,
        mode: Mode | None = None,
        where: Where | None = None,
        access: Iterable[str] | str | None = None,
    ) -> Retriever:
        """A langchain retriever over this index; `mode` None: the default, chosen by measurement.

        `access`: groups; the retriever then reaches only what they may read (`visible_to`). None: everything.
        """
        from rag_ft.indexing.retriever import DEFAULT_MODE, Retriever

        index = self if access is None else self.visible_to(access)
        return Retriever(index=index, k=k, mode=mode or DEFAULT_MODE, where=where)

    def visible_to(
        self, groups: Iterable[str] | str | Audience, *, default_access: Iterable[str] | str | None = None
    ) -> Index:
        """The part of this index that readers with these groups may read, as an index in which there is nothing else.

        A document is read by a group that its metadata name under `access`; one that has no `access` by everyone, or by
        the groups in `default_access`. What the part finds, scores, lists and counts, and its fingerprint, are as if
        the other documents did not exist. It cannot be changed or verified: change the index, and ask for the part
        again. Raises UsageError.
        """
        whole = self._whole
        if whole is not None:
            raise UsageError(
                "this is the part of an index for some groups already: ask the whole index for another one"
            )
        wanted = groups if isinstance(groups, Audience) else audience(groups, default_access)
        with self._parts_lock:
            if self._parts is None or self._parts.whole is not self._generation:
                self._parts = VisibleParts(self._generation)
            parts = self._parts
        part = Index(self._store, parts.of(wanted), None)
        part._whole = self
        return part

    @property
    def is_part(self) -> bool:
        """Whether this is only what some groups may read of an index (`visible_to`)."""
        return self._whole is not None

    def _check_whole(self) -> None:
        if self._whole is not None:
            raise UsageError("this is only what some groups may read of an index: change or verify the index itself")

    # Changing

    def add(
        self,
        source: Source,
        *,
        limits: ReadLimits | None = None,
        progress: bool = True,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> BuildReport:
        """Take documents in; one whose id is there already replaces it. All others stay, but for one that comes again
        with an `access` that is none: it is refused, and not left to those who might read it before.
        """
        from rag_ft.indexing.chunking import ChunkingConfig

        started = time.monotonic()
        self._check_whole()
        embedder = self.embedder
        with self._store.writing(lock_timeout_s):
            base = open_generation(self._store, verify="full")
            check_sentinels(base, embedder, self.path)
            self._store.sweep(base.manifest.generation, journal=False)
            corpus = read_source(source, self.path, base, limits)
            builder = generation_builder(self._store, base, embedder, ChunkingConfig.stored(base.manifest.chunking))
            try:
                take_all(builder, corpus, progress=progress)
                refuse_nothing(builder, corpus)
                refused = {failure.document for failure in corpus.failures if failure.refused}
                builder.keep_others(refused)
                commit_generation(self._store, builder, base, base.manifest.kind_choice)
            except BaseException:
                builder.abandon()
                raise
        self._generation = open_generation(self._store, verify="none")
        removed = tuple(sorted(set(base.row_of) - set(builder.chosen)))
        self.last_report = build_report(builder, corpus, removed, len(self), started)
        return self.last_report

    def remove(
        self,
        ids: str | Sequence[str] | None = None,
        where: Where | None = None,
        *,
        dry_run: bool = False,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> RemovalReport:
        """Erase documents by id or by filter: vectors, passages, words, texts and what builds left behind.

        `dry_run` only tells what would go. `verify(absent=ID)` proves it afterwards. Raises UsageError if
        an id is not there, nothing matches the filter, or neither or both are given.
        """
        self._check_whole()
        if (ids is None) == (where is None):
            raise UsageError("say what to remove: either ids or where")
        wanted = [ids] if isinstance(ids, str) else list(ids) if ids is not None else None
        where = as_filter(where) if where is not None else None
        if wanted == [] or where == {}:
            raise UsageError("say what to remove: an empty list or filter would mean nothing or everything")
        if dry_run:
            return removal_report(self._generation, self._select(self._generation, wanted, where), dry_run=True)
        with self._store.writing(lock_timeout_s):
            base = open_generation(self._store, verify="full")
            # A build that was killed may have left texts of these very documents.
            self._store.sweep(base.manifest.generation, journal=True)
            gone = self._select(base, wanted, where)
            report = removal_report(base, gone, dry_run=False)
            builder = GenerationBuilder(
                self._store,
                base,
                embedder=None,
                chunker=None,
                chunking=base.manifest.chunking,
                entry=base.manifest.embedder,
            )
            try:
                for number in range(len(base.table)):
                    if number not in gone:
                        builder.keep(number)
                commit_generation(self._store, builder, base, base.manifest.kind_choice)
            except BaseException:
                builder.abandon()
                raise
        self._generation = open_generation(self._store, verify="none")
        return report

    def _select(self, generation: Generation, ids: list[str] | None, where: Where | None) -> set[int]:
        if ids is not None:
            for name in ids:
                if name not in generation.row_of:
                    raise UsageError(
                        f"the index at {self.path} has no document {name!r}: 'rag-ft index info --documents' lists them"
                    )
            return {generation.row_of[name] for name in ids}
        assert where is not None
        found = {number for number, row in enumerate(generation.table) if matches(row, where)}
        if not found:
            raise UsageError(f"no document of the index at {self.path} matches {where}: nothing was removed")
        return found

    def save(self, path: str | Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        """Copy this state of the index to another folder; an index that is there is replaced atomically."""
        self._check_whole()
        target = IndexStore(Path(path))
        if target.path.exists() and self.path.exists() and target.path.samefile(self.path):
            return
        kept = "nothing is left of the copy"
        with target.writing(lock_timeout_s, kept):
            if self._is_saved_in(target):
                # One that was killed may have left what it replaced.
                target.sweep(target.committed_generation(), journal=True)
                return
            needed = sum(entry.size for entry in self.manifest.files.values())
            require_space(target.path, needed, error=IndexStoreError, kept=kept)
            folder = target.new_generation()
            try:
                self._copy_files(folder)
                check_files(folder, self.manifest.files, level="full")
                sync_tree(folder)
                target.commit(self.manifest.model_copy(update={"generation": folder.name}))
            except BaseException:
                target.abandon(folder)
                raise

    def _is_saved_in(self, target: IndexStore) -> bool:
        """Whether the target is this very state, every byte of it."""
        try:
            manifest = target.read_manifest()
            if manifest.model_copy(update={"generation": self.manifest.generation}) != self.manifest:
                return False
            check_files(target.generations / manifest.generation, manifest.files, level="full")
        except (IndexStoreError, OSError):
            return False
        return True

    def _copy_files(self, folder: Path) -> None:
        """Copy the files that the manifest speaks of, and nothing else."""
        for name in self.manifest.files:
            try:
                file = (self._generation.folder / name).open("rb")
            except FileNotFoundError as error:
                raise IndexMissingError(
                    f"the index at {self.path} was written again meanwhile: load it again, then save"
                ) from error
            with file:
                (folder / name).parent.mkdir(exist_ok=True)
                with (folder / name).open("wb") as copy:
                    shutil.copyfileobj(file, copy, _COPY_BYTES)

    # Trusting

    def verify(
        self,
        absent: str | None = None,
        *,
        progress: Callable[[str], None] | None = None,
    ) -> VerifyReport:
        """Read everything and compare it; with `absent` also prove that a document is gone.

        `absent`: a document's id, or the path of the original file, whose sentences are then searched for
        as well.
        """
        from rag_ft.indexing.verify import verify_index

        self._check_whole()
        return verify_index(self.path, lambda: self.embedder, absent, progress)
