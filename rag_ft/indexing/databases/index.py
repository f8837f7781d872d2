"""`DatabaseIndex`: an `Index` whose passages, vectors and words are in a database."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.errors import UsageError
from rag_ft.indexing.access import Audience, audience
from rag_ft.indexing.building.changes import removal_report
from rag_ft.indexing.building.selecting import LOCK_TIMEOUT_S, select_documents, to_remove
from rag_ft.indexing.building.sentinels import checked_embedder
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.corpus import Source
from rag_ft.indexing.databases.changes import (
    ReadOptions,
    change_index,
    journal_folder,
    read_state,
    remove_documents,
)
from rag_ft.indexing.databases.generation import DatabaseGeneration
from rag_ft.indexing.databases.opening import open_store
from rag_ft.indexing.databases.searcher import DatabaseSearcher
from rag_ft.indexing.databases.store import DatabaseStore, StoreSession
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.filters import Where
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.manifest import BuildReport, RemovalReport, VerifyReport
from rag_ft.indexing.storage.originals import KeptFile
from rag_ft.indexing.storage.store import IndexStore, VerifyLevel
from rag_ft.progress import ProgressBar

if TYPE_CHECKING:
    from rag_ft.indexing.databases.store import DatabaseKind
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.formats import ReadLimits
    from rag_ft.indexing.ocr.engine import OcrSettings
    from rag_ft.indexing.storage.vectors import IndexKindChoice

_KEPT_PARTS = 32


class DatabaseIndex(Index):
    """An index in PostgreSQL or LanceDB. Made by `create` and `connect`; searched like any `Index`.

    Every search sees one state of the database, and the next search what others have written meanwhile. The list of
    documents, without texts, is held in memory. Files and feedback are not kept in a database.
    """

    def __init__(
        self,
        database: DatabaseStore,
        generation: DatabaseGeneration,
        embedder: Embedder | None,
        *,
        build_report: BuildReport | None = None,
    ) -> None:
        super().__init__(IndexStore(journal_folder(database)), generation, embedder, build_report=build_report)
        self._database = database
        self._audience: Audience | None = None
        self._parts: OrderedDict[Audience, DatabaseGeneration] = OrderedDict()
        """What the last audiences may read of the present state."""
        self._state_lock = threading.Lock()

    @classmethod
    def create(
        cls,
        source: Source,
        address: str,
        *,
        embedder: str | Embedder = "default",
        chunking: ChunkingConfig | None = None,
        kind: IndexKindChoice = "auto",
        limits: ReadLimits | None = None,
        source_code: bool = False,
        keep_originals: bool = False,
        ocr: OcrSettings | None = None,
        progress: bool = True,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> DatabaseIndex:
        """Build the index of `source` in a database, or bring it up to date there, in one transaction.

        A document whose content is unchanged is not touched, one that is gone from the source is removed, and only
        texts that were never embedded are embedded; a build that was killed resumes on the same machine. `address`:
        `postgresql://USER@HOST/DATABASE` or `lancedb:FOLDER`, with `#NAME` for an index of another name. `kind`:
        "flat", exact, or with PostgreSQL also "hnsw"; "auto" for "flat", or as it is. Other arguments: `Index.build`.

        Raises UsageError, MissingExtraError, CorpusError, IndexStoreError.
        """
        database = open_store(address)
        refuse_originals(keep_originals, database.address)
        chosen = _chosen_kind(database, kind)
        if isinstance(embedder, str):
            embedder = load_embedder(embedder)
        with ProgressBar(progress) as bar:
            report = change_index(
                database,
                source,
                embedder=embedder,
                chunking=chunking or ChunkingConfig(),
                kind=chosen,
                whole=True,
                options=ReadOptions(limits, source_code, ocr, bar.update),
                lock_timeout_s=lock_timeout_s,
            )
        return cls(database, _state(database), embedder, build_report=report)

    @classmethod
    def connect(cls, address: str, *, embedder: str | Embedder | None = None) -> DatabaseIndex:
        """Open the index in a database.

        `embedder`: as in `Index.load`. Raises UsageError, MissingExtraError, IndexMissingError, IndexMismatchError,
        IndexStoreError.
        """
        database = open_store(address)
        generation = _state(database)
        return cls(database, generation, checked_embedder(generation, database.address, embedder))

    @property
    def place(self) -> str:
        """The address, without its password."""
        return self._database.address

    @property
    def database(self) -> DatabaseStore:
        """The database with its sessions."""
        return self._database

    def original(self, document_id: str) -> KeptFile | None:
        """None: files are not kept in a database. Raises UsageError."""
        self._position(document_id)
        return None

    # Searching

    def searcher(self) -> DatabaseSearcher:
        """Rankings over the state that the database has now; within one session, which ends with the searcher."""
        session = self._database.session()
        try:
            return DatabaseSearcher(self._current(session), session, lambda: self.embedder)
        except BaseException:
            session.close()
            raise

    def _current(self, session: StoreSession) -> DatabaseGeneration:
        """The state that a session sees; read again only if it is another one than before."""
        whole: Any = self._whole
        if whole is not None:
            assert self._audience is not None
            part: DatabaseGeneration = whole.part_of(session, self._audience)
            self._generation = part
            return part
        version = session.settings().version
        with self._state_lock:
            state: Any = self._generation
            if state.version != version:
                self._generation = state = read_state(session, self._database)
                self._parts.clear()
            present: DatabaseGeneration = state
            return present

    def part_of(self, session: StoreSession, readers: Audience) -> DatabaseGeneration:
        """What some readers may read of the state that a session sees."""
        state = self._current(session)
        with self._state_lock:
            part = self._parts.get(readers)
            if part is None or part.version != state.version:
                part = self._parts[readers] = state.part(readers)
                while len(self._parts) > _KEPT_PARTS:
                    self._parts.popitem(last=False)
            self._parts.move_to_end(readers)
            return part

    def visible_to(
        self, groups: Iterable[str] | str | Audience, *, default_access: Iterable[str] | str | None = None
    ) -> DatabaseIndex:
        """The part of this index that readers with these groups may read, as `Index.visible_to` gives it.

        It is always searched exactly. Where the database's scores of words depend on all passages, those of the part
        are counted here instead, from its texts. Raises UsageError.
        """
        if self._whole is not None:
            raise UsageError("this index is already the part for some groups: call visible_to of the whole index")
        wanted = groups if isinstance(groups, Audience) else audience(groups, default_access)
        session = self._database.session()
        try:
            generation = self.part_of(session, wanted)
        finally:
            session.close()
        part = DatabaseIndex(self._database, generation, None)
        part._whole, part._audience = self, wanted
        return part

    # Changing

    def add(
        self,
        source: Source,
        *,
        limits: ReadLimits | None = None,
        source_code: bool = False,
        keep_originals: bool = False,
        ocr: OcrSettings | None = None,
        progress: bool = True,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> BuildReport:
        """Add documents; one with the id of an indexed document replaces it, all others stay as they are.

        Arguments: `Index.add`. Raises CorpusError, UsageError, IndexStoreError.
        """
        self.check_changeable()
        refuse_originals(keep_originals, self.place)
        with ProgressBar(progress) as bar:
            report = change_index(
                self._database,
                source,
                embedder=self.embedder,
                chunking=None,
                kind=None,
                whole=False,
                options=ReadOptions(limits, source_code, ocr, bar.update),
                lock_timeout_s=lock_timeout_s,
            )
        self._refresh()
        return report

    def remove(
        self,
        ids: str | Sequence[str] | None = None,
        where: Where | None = None,
        *,
        dry_run: bool = False,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> RemovalReport:
        """Erase documents by id or by filter, as `Index.remove`; `verify(absent=ID)` searches for what is left."""
        self.check_changeable()
        wanted, where = to_remove(ids, where)
        if dry_run:
            self._refresh()
            removed = select_documents(self._generation, self.place, wanted, where)
            return removal_report(self._generation, removed, dry_run=True, store=None)
        report = remove_documents(self._database, wanted, where, lock_timeout_s=lock_timeout_s)
        self._refresh()
        return report

    def newest(self, *, verify: VerifyLevel = "none") -> DatabaseIndex:
        """The same object, at the state that the database has now. `verify` changes nothing: there are no files."""
        self.check_changeable()
        self._refresh()
        return self

    def _refresh(self) -> None:
        session = self._database.session()
        try:
            self._current(session)
        finally:
            session.close()

    def save(self, path: str | Path, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> None:
        """Refused: an index folder is built from the documents. Raises UsageError."""
        raise UsageError(f"the index at {self.place} is in a database: build a folder from the documents instead")

    def add_feedback(self, *args: Any, **details: Any) -> None:
        """Refused: feedback is kept beside an index folder. Raises UsageError."""
        raise UsageError(f"the index at {self.place} is in a database, which keeps no feedback: use an index folder")

    def verify(self, absent: str | None = None) -> VerifyReport:
        """Read everything and compare it; with `absent`, also search for what is left of a document."""
        from rag_ft.indexing.databases.verify import verify_database

        self.check_changeable()
        return verify_database(self._database, lambda: self.embedder, absent)


def _chosen_kind(database: DatabaseStore, kind: IndexKindChoice) -> DatabaseKind | None:
    """The kind that was asked for; None for "auto". Raises UsageError where the database does not have it."""
    if kind == "auto":
        return None
    for known in database.kinds:
        if known == kind:
            return known
    raise UsageError(
        f"the index at {database.address} cannot be of the kind {kind!r}: use {' or '.join(database.kinds)}"
    )


def _state(database: DatabaseStore) -> DatabaseGeneration:
    session = database.session()
    try:
        return read_state(session, database)
    finally:
        session.close()


def refuse_originals(keep_originals: bool, place: str) -> None:
    """Raise UsageError where files were to be kept."""
    if keep_originals:
        raise UsageError(f"the index at {place} is in a database, which keeps no files: leave out keep_originals")
