"""The index: build, add, remove, search, save, load, verify. One folder holds it; every change is atomic.

What reads files is imported by the methods that change an index: a question does not wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from rag_ft.errors import UsageError
from rag_ft.indexing.access import Audience, audience
from rag_ft.indexing.building.copying import copy_index
from rag_ft.indexing.building.selecting import LOCK_TIMEOUT_S, select_documents, to_remove
from rag_ft.indexing.building.sentinels import check_sentinels, checked_embedder, embedder_of
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.databases.address import is_database
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.feedback import FeedbackAction, FeedbackDetails, add_feedback, feedback_questions
from rag_ft.indexing.filters import Where
from rag_ft.indexing.places import Places
from rag_ft.indexing.searcher import Searcher
from rag_ft.indexing.storage.folder import holds_shards
from rag_ft.indexing.storage.generation import Generation
from rag_ft.indexing.storage.manifest import BuildReport, Manifest, RemovalReport, VerifyReport
from rag_ft.indexing.storage.originals import KeptFile
from rag_ft.indexing.storage.store import IndexStore, VerifyLevel, check_level, open_generation
from rag_ft.indexing.storage.table import TableRow
from rag_ft.indexing.storage.vectors import IndexKindChoice, check_kind
from rag_ft.progress import ProgressBar
from rag_ft.questions.feedback import Feedback, FeedbackRecords
from rag_ft.schema import Document, Evidence, Hit, Passage

if TYPE_CHECKING:
    from rag_ft.indexing.corpus import Source
    from rag_ft.indexing.distributed.blocks import BuildEngine
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.formats import ReadLimits
    from rag_ft.indexing.ocr.engine import OcrSettings
    from rag_ft.indexing.retriever import RetrievalMode, Retriever
    from rag_ft.indexing.sources.known import KnownFiles


class Index:
    """Passages of documents with their vectors and words, on disk. Made by `build` and `load`.

    An object shows the state it was loaded or built at, even while another process writes; its own `add` and `remove`
    move it on. Reading is safe from several threads and processes; writers take turns.
    """

    def __init__(
        self,
        store: IndexStore,
        generation: Generation,
        embedder: Embedder | None,
        *,
        build_report: BuildReport | None = None,
    ) -> None:
        self._store = store
        self._generation = generation
        self._embedder = embedder
        self._embedder_lock = threading.Lock()
        self._build_report = build_report
        self._whole: Index | None = None
        """The whole index, if this is the part of it that an audience may read."""

    @classmethod
    def build(
        cls,
        source: Source,
        path: str | Path,
        *,
        embedder: str | Embedder = "default",
        chunking: ChunkingConfig | None = None,
        kind: IndexKindChoice = "auto",
        limits: ReadLimits | None = None,
        keep_originals: bool = False,
        source_code: bool = False,
        progress: bool = True,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        known_files: KnownFiles | None = None,
        ocr: OcrSettings | None = None,
        engine: BuildEngine | None = None,
    ) -> Index:
        """Build the index of `source` at `path`, a folder or the address of a database, or bring it up to date.

        A document whose content is unchanged is not touched, one that is gone from the source is removed, and only
        texts that were never embedded are embedded; a build that was killed resumes. The former index stays usable
        until the end. The `build_report` of the result says what was done, and which documents could not be read.
        `limits`: what reading one file may cost. `source_code`: also read a folder's source files. `keep_originals`:
        keep the files themselves beside the index; a build without it removes them from there. `ocr`: recognise the
        text of scanned pages and of images. `progress`: draw a bar if stderr is a terminal. `known_files`: given to
        each build of a folder, it makes the next one read only files that have changed. `engine`: what reads, cuts and
        embeds the files, such as `rag_ft.indexing.distributed.on_ray.RayBuild`; None for this process.

        Raises CorpusError if the source has nothing usable, UsageError, IndexLockedError, IndexStoreError.
        """
        check_kind(kind)
        if engine is not None:
            _check_engine(is_database(path), ocr, known_files)
        if is_database(path):
            from rag_ft.indexing.databases.index import DatabaseIndex

            return DatabaseIndex.create(
                source, str(path), embedder=embedder, chunking=chunking, kind=kind, limits=limits, ocr=ocr,
                source_code=source_code, keep_originals=keep_originals, progress=progress, lock_timeout_s=lock_timeout_s
            )  # fmt: skip
        from rag_ft.indexing.building.changes import build_index

        store = IndexStore(Path(path))
        if isinstance(embedder, str):
            embedder = load_embedder(embedder)
        with ProgressBar(progress) as bar:
            report = build_index(
                store,
                source,
                embedder=embedder,
                chunking=chunking or ChunkingConfig(),
                kind=kind,
                limits=limits,
                source_code=source_code,
                on_progress=bar.update,
                lock_timeout_s=lock_timeout_s,
                known_files=known_files,
                keep_originals=keep_originals,
                ocr=ocr,
                engine=engine,
            )
        return cls(store, open_generation(store, verify="none"), embedder, build_report=report)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        embedder: str | Embedder | None = None,
        verify: VerifyLevel = "quick",
        mmap: bool = True,
    ) -> Index:
        """Open the index at `path`: a folder, perhaps with a list of shards, or an address as `postgresql://...`.

        `embedder`: a name is loaded; by name or as an object, it is compared by embedding sentinel passages again.
        None loads and compares it at its first use, so that reading and BM25 need no model. `verify`: "quick" compares
        every checksum, but reads files of 8 MiB or more only if their size or times changed since their checksum was
        last taken; "full" reads everything; "none" compares sizes. `mmap`: map vectors and postings instead of reading
        them.

        Raises IndexMissingError, IndexCorruptError, IndexFormatError, IndexMismatchError.
        """
        check_level(verify)
        if is_database(path):
            from rag_ft.indexing.databases.index import DatabaseIndex

            return DatabaseIndex.connect(str(path), embedder=embedder)
        if holds_shards(Path(path)):
            from rag_ft.indexing.shards.index import load_shards

            return load_shards(Path(path), embedder, verify=verify, mmap=mmap)
        store = IndexStore(Path(path))
        generation = open_generation(store, verify=verify, mmap=mmap)
        return cls(store, generation, checked_embedder(generation, store.path, embedder))

    @property
    def path(self) -> Path:
        """The folder of the index."""
        return self._store.path

    @property
    def place(self) -> str:
        """Where the index is, to show and to open it again: its folder, or its address in a database."""
        return str(self.path)

    @property
    def manifest(self) -> Manifest:
        """The index's description of itself: embedder, chunking, kind, counts."""
        return self._generation.manifest

    @property
    def build_report(self) -> BuildReport | None:
        """Report of the `build` that made this object; None for an index that was loaded."""
        return self._build_report

    @property
    def fingerprint(self) -> str:
        """SHA-256 over documents, embedder and chunking: equal for equal content, whenever it was built."""
        return self.manifest.fingerprint

    @property
    def chunking(self) -> ChunkingConfig:
        """Settings with which the documents were cut."""
        return ChunkingConfig.stored(self.manifest.chunking)

    @property
    def embedder(self) -> Embedder:
        """The embedder; if none was given, loaded by the manifest's name and compared at first use.

        By name alone, only the packaged embedder or one that the user has loaded before (`load_named_embedder`).
        Raises IndexMismatchError.
        """
        if self._whole is not None:
            return self._whole.embedder
        with self._embedder_lock:
            if self._embedder is None:
                self._embedder = embedder_of(self._generation, self.place)
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
        for position in range(len(self._generation.table)):
            yield from self._generation.passages_of(position)

    def passages_of(self, document_id: str) -> list[Passage]:
        """The passages of a document, in order. Raises UsageError."""
        return list(self._generation.passages_of(self._position(document_id)))

    def passage_by_id(self, passage_id: str) -> Passage:
        """The passage with an id. Raises UsageError."""
        position = self._generation.position_of.get(passage_id.rpartition("#")[0])
        for passage in self._generation.passages_of(position) if position is not None else ():
            if passage.id == passage_id:
                return passage
        raise UsageError(
            f"the index at {self.place} has no passage {passage_id!r}, perhaps because it was built again: search again"
        )

    def documents(self) -> Iterator[str]:
        """Ids of all documents, sorted."""
        return (row.id for row in self._generation.table)

    def entries(self) -> Sequence[TableRow]:
        """Id, title, source and metadata of each document, without its text, sorted by id."""
        return self._generation.table

    def document(self, document_id: str) -> Document:
        """A document with its whole text. Raises UsageError."""
        return self._generation.document(self._position(document_id))

    def places(self, document_id: str) -> Places | None:
        """Where a document's characters stand in its file: boxes on pages, or lines. None if that is not known.

        Raises UsageError.
        """
        return self._generation.places(self._position(document_id))

    def original(self, document_id: str) -> KeptFile | None:
        """The file that a document was read from, if it is kept beside the index. Raises UsageError."""
        position = self._position(document_id)
        return self._generation.originals_of(position).of(self._generation.table[position])

    def document_fingerprints(self) -> dict[str, str]:
        """Fingerprint of each document's content as it was indexed, by id."""
        return {row.id: row.fingerprint for row in self._generation.table}

    def document_fingerprint(self, document_id: str) -> str:
        """Fingerprint of a document's content as it was indexed. Raises UsageError."""
        return self._generation.table[self._position(document_id)].fingerprint

    def _position(self, document_id: str) -> int:
        (position,) = select_documents(self._generation, self.place, [document_id], None)
        return position

    def search(
        self, query: str, k: int = 3, *, mode: RetrievalMode | None = None, where: Where | None = None
    ) -> list[Hit]:
        """The k best passages for a question, best first, as `as_retriever` finds them.

        `mode`: "dense", "bm25" (needs no model), "hybrid" or "blend"; None for the default. `where`: only documents
        that match. Raises UsageError, PromptTooLongError.
        """
        return self.as_retriever(k, mode, where).retrieve(query)

    def as_retriever(
        self,
        k: int = 3,
        mode: RetrievalMode | None = None,
        where: Where | None = None,
        access: Iterable[str] | str | None = None,
        **fields: Any,
    ) -> Retriever:
        """A langchain retriever over this index; `mode` None: the default, chosen by measurement.

        `access`: groups that the retriever reads for (`visible_to`); None: everything. `fields`: others of `Retriever`.
        """
        from rag_ft.indexing.retriever import DEFAULT_MODE, Retriever

        index = self if access is None else self.visible_to(access)
        return Retriever(index=index, k=k, mode=mode or DEFAULT_MODE, where=where, **fields)

    def searcher(self) -> Searcher:
        """Rankings of row numbers over the present state: what a retriever of your own would start from."""
        return Searcher(self._generation, lambda: self.embedder)

    def visible_to(
        self, groups: Iterable[str] | str | Audience, *, default_access: Iterable[str] | str | None = None
    ) -> Index:
        """The part of this index that readers with these groups may read, as an index that holds nothing else.

        A document is readable by the groups under `access` in its metadata; without `access`, by everyone or by the
        groups in `default_access`. Search results, scores, lists, counts and the fingerprint of the part are as if the
        other documents did not exist. It cannot be changed or verified: change the index and ask for the part again.
        Raises UsageError.
        """
        if self._whole is not None:
            raise UsageError("this index is already the part for some groups: call visible_to of the whole index")
        wanted = groups if isinstance(groups, Audience) else audience(groups, default_access)
        part = self._with(self._generation.part(wanted), None)
        part._whole = self
        return part

    def _with(self, generation: Generation, embedder: Embedder | None) -> Index:
        return Index(self._store, generation, embedder)

    @property
    def is_part(self) -> bool:
        """Whether this is only what some groups may read of an index (`visible_to`)."""
        return self._whole is not None

    @property
    def incomplete(self) -> tuple[str, ...]:
        """What this object lacks of the index, one sentence each: for shards that do not answer."""
        return ()

    def check_changeable(self) -> None:
        """Raise UsageError for an object through which the index cannot be changed: a part, or an index of shards."""
        if self._whole is not None:
            raise UsageError("this index is only the part for some groups: change or verify the whole index")

    def add(
        self,
        source: Source,
        *,
        limits: ReadLimits | None = None,
        keep_originals: bool = False,
        source_code: bool = False,
        progress: bool = True,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        ocr: OcrSettings | None = None,
    ) -> BuildReport:
        """Add documents; one with the id of an indexed document replaces it, all others stay as they are.

        `keep_originals`: keep the files of the added documents beside the index. `limits`, `source_code`, `ocr` and
        `progress` are those of `build`. A document that comes again with an `access` that is not valid is refused, and
        its older copy is removed: it is not left to those who could read it before. Raises CorpusError, UsageError,
        IndexLockedError, IndexStoreError.
        """
        from rag_ft.indexing.building.changes import add_to_index

        self.check_changeable()
        with ProgressBar(progress) as bar:
            report = add_to_index(
                self._store,
                source,
                embedder=self.embedder,
                limits=limits,
                source_code=source_code,
                on_progress=bar.update,
                lock_timeout_s=lock_timeout_s,
                keep_originals=keep_originals,
                ocr=ocr,
            )
        self._generation = open_generation(self._store, verify="none")
        return report

    def remove(
        self,
        ids: str | Sequence[str] | None = None,
        where: Where | None = None,
        *,
        dry_run: bool = False,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> RemovalReport:
        """Erase documents by id or by filter: vectors, passages, words, texts and what killed builds left behind.

        `dry_run` only reports what would be removed; `verify(absent=ID)` proves a removal. Raises UsageError if an id
        is not there, nothing matches the filter, or neither or both are given.
        """
        from rag_ft.indexing.building.changes import removal_report, remove_from_index

        self.check_changeable()
        chosen = to_remove(ids, where)
        if dry_run:
            removed = select_documents(self._generation, self.place, *chosen)
            return removal_report(self._generation, removed, dry_run=True, store=self._store)
        report = remove_from_index(self._store, *chosen, lock_timeout_s=lock_timeout_s)
        self._generation = open_generation(self._store, verify="none")
        return report

    def save(self, path: str | Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        """Copy this state of the index to another folder, where it replaces an index atomically.

        Raises IndexFormatError, and changes nothing, if a newer rag_ft wrote the index there; UsageError,
        IndexLockedError, IndexStoreError.
        """
        self.check_changeable()
        target = IndexStore(Path(path))
        if target.path.exists() and self.path.exists() and target.path.samefile(self.path):
            return
        copy_index(self._generation, self.path, target, lock_timeout_s=lock_timeout_s)

    def add_feedback(
        self,
        question: str,
        verdict: FeedbackAction,
        evidence: Evidence,
        **details: Unpack[FeedbackDetails],
    ) -> Feedback | None:
        """Keep what somebody says of an answer, beside the index (`rag_ft.indexing.feedback`); a second vote of the
        same person on the same answer replaces the first. Raises UsageError, IndexStoreError.
        """
        self.check_changeable()
        return add_feedback(self, question, verdict, evidence, **details)

    def feedback_questions(self) -> FeedbackRecords:
        """The question records that follow from the feedback, of origin `feedback`, and what gave none."""
        return feedback_questions(self)

    def newest(self, *, verify: VerifyLevel = "none") -> Index:
        """The state on disk now: this object, unless another process has changed it. `verify`: as in `load`."""
        self.check_changeable()
        if self._store.read_manifest().generation == self.manifest.generation:
            return self
        generation = open_generation(self._store, verify=verify)
        if verify != "none" and self._embedder is not None:
            check_sentinels(generation, self._embedder, self.path)
        return self._with(generation, self._embedder)

    def verify(self, absent: str | None = None) -> VerifyReport:
        """Read everything and compare it; with `absent`, also prove that a document is gone.

        `absent`: a document's id, or the path of the original file, whose sentences are then searched for as well.
        Each check is logged as it ends (logger `rag_ft`, level INFO).
        """
        from rag_ft.indexing.verify import verify_index

        self.check_changeable()
        return verify_index(self.path, lambda: self.embedder, absent)


def _check_engine(in_database: bool, ocr: OcrSettings | None, known_files: KnownFiles | None) -> None:
    """Raise UsageError for what an engine does not do."""
    if in_database:
        raise UsageError("an engine builds an index in a folder, not in a database: give a folder, or leave it out")
    if ocr is not None or known_files is not None:
        what = "recognise the text of scanned pages" if ocr is not None else "remember the files of earlier builds"
        raise UsageError(f"an engine does not {what}: leave that or the engine out")
