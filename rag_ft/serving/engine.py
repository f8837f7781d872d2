"""What the server answers with: one reader, and an index that may change while questions are asked.

An index object shows one state. A change makes another object and replaces the first in one step, so that a question is
retrieved, read and cited either in the old state or in the new one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_ft.answering.pipeline import Pipeline, Retrieved
from rag_ft.answering.reader import Reader
from rag_ft.answering.together import together_or_apart
from rag_ft.errors import IndexLockedError, IndexStoreError, RagFtError, UsageError
from rag_ft.files import disk_full, is_disk_full
from rag_ft.indexing.access import Audience
from rag_ft.indexing.databases.index import DatabaseIndex
from rag_ft.indexing.index import Index
from rag_ft.indexing.query import Query
from rag_ft.indexing.sources.events import ReadDocument
from rag_ft.indexing.storage.folder import unfinished_manifests
from rag_ft.indexing.storage.store import IndexStore
from rag_ft.models.adapter_record import base_record, names_document, reading_record
from rag_ft.schema import Answer, Document, Hit
from rag_ft.serving.batching import Ask
from rag_ft.serving.http.rights import label_upload, name_upload, uploaded_id
from rag_ft.serving.http.tokens import EVERYONE, Identity
from rag_ft.serving.threads import in_ending_thread

logger = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 2.0
"""Seconds between two looks at the index's folder for changes by other processes."""

_TRIM_INTERVAL_S = 5.0
"""Seconds between two returns of freed memory to the system; doing it after each batch would cost more, because the
next batch has to ask for the same pages again."""


@dataclass(frozen=True)
class Added:
    """Result of adding a document."""

    id: str
    passages: int
    index: str
    """Fingerprint of the index with the document, as far as its uploader may see; a later change may have followed."""


@dataclass(frozen=True)
class Removed:
    """Result of removing a document."""

    trained: tuple[str, ...]
    """Readers in memory that were trained on it, and may recite it: names of adapters, or of a base with one merged."""
    index: str
    """Fingerprint of the index without the document."""


class Engine:
    """Reader and index, for several threads; changes take turns."""

    def __init__(self, index: Index, reader: Reader) -> None:
        """Raises UsageError for the part of an index that some groups may read: a refresh would load all of it."""
        if index.is_part:
            raise UsageError("this is only what some groups may read of an index: give the index, and the groups apart")
        self._index = index
        self.reader = reader
        self._writing = threading.Lock()
        self._refreshed = time.monotonic()
        self._trimmed = time.monotonic()
        self.missing: str | None = None
        """Why the index on disk can no longer be used; the one in memory still answers."""

    @property
    def index(self) -> Index:
        """The current index; hold on to the object to stay in one state."""
        return self._index

    def not_changeable(self) -> str | None:
        """Why documents and feedback cannot be changed through this server, whatever its settings; None if they can."""
        try:
            self._index.check_changeable()
        except UsageError as error:
            return str(error)
        return None

    @property
    def stale(self) -> bool:
        """Whether it is time to look for changes by other processes."""
        return time.monotonic() - self._refreshed >= REFRESH_INTERVAL_S

    def view(self, audience: Audience | None) -> Index:
        """The current index, as far as an audience may read it; None: all of it."""
        return _view(self._index, audience)

    def refresh(self, *, now: bool = False) -> None:
        """Load what other processes have written to the index's folder since the last look."""
        if not now and not self.stale:
            return
        self._refreshed = time.monotonic()
        if not self._writing.acquire(blocking=False):
            return  # a change of our own is in progress
        try:
            self._reload()
        except IndexLockedError:
            return  # being written again and again just now: the next look will do
        except Exception as error:  # whatever a library raises for a damaged file
            if self.missing is None:
                logger.error("%s; the index in memory still answers", error)
            self.missing = str(error)
        finally:
            self._writing.release()

    def _reload(self) -> None:
        self._index = self._index.newest(verify="quick")
        self.missing = None

    def answer(
        self, asks: Sequence[Ask], on_passages: Callable[[int, Sequence[Hit]], None]
    ) -> list[Answer | Exception]:
        """The answers of a batch, all from one state of the index; a question that fails has its error in its place.

        `on_passages` gets a question's position and its passages as soon as they are retrieved.
        """
        self.refresh()
        index = self._index
        started = time.perf_counter()
        outcomes: dict[int, Answer | Exception] = {}
        found: dict[int, Retrieved] = {}
        for i, result in self._retrieve(index, asks):
            if isinstance(result, Exception):
                outcomes[i] = result
            else:
                found[i] = result
                on_passages(i, result.hits)
        seconds = (time.perf_counter() - started) / max(1, len(asks))
        outcomes.update(self._read(index, asks, found, seconds))
        if time.monotonic() - self._trimmed > _TRIM_INTERVAL_S:
            _give_memory_back()
            self._trimmed = time.monotonic()
        return [outcomes[i] for i in range(len(asks))]

    def _retrieve(self, index: Index, asks: Sequence[Ask]) -> Iterator[tuple[int, Retrieved | Exception]]:
        """Each question's passages or error, with its position; questions alike in settings are retrieved together."""
        searched = []
        for i, ask in enumerate(asks):
            if ask.passages is None:
                searched.append(i)
            else:
                hits = [
                    Hit(passage=passage, score=1 / rank, rank=rank)
                    for rank, passage in enumerate(ask.passages, start=1)
                ]
                yield i, Retrieved(Query(ask.question), hits)
        for group in _grouped(
            asks, lambda ask: (ask.k, json.dumps(ask.where, sort_keys=True), ask.audience), among=searched
        ):
            first = asks[group[0]]

            def retrieve(positions: Sequence[int], first: Ask = first) -> list[Retrieved]:
                retriever = _view(index, first.audience).as_retriever(
                    k=first.k, where=first.where, **self.reader.reranking
                )
                queries = [retriever.query(asks[i].question, asks[i].history) for i in positions]
                return list(map(Retrieved, queries, retriever.retrieve_batch(queries)))

            yield from zip(group, together_or_apart(group, retrieve), strict=True)

    def _read(
        self, index: Index, asks: Sequence[Ask], found: Mapping[int, Retrieved], retrieve_seconds: float
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """Answer or error for each question that has passages, with its position; one adapter at a time."""
        for group in _grouped(asks, lambda ask: (ask.adapter, ask.passages is None), among=found):
            first = asks[group[0]]
            pipeline = Pipeline(index.as_retriever() if first.passages is None else None, self.reader)

            def read(positions: Sequence[int], pipeline: Pipeline = pipeline, first: Ask = first) -> Sequence[Answer]:
                answers = pipeline.read_batch(
                    [found[i].query for i in positions],
                    [found[i].hits for i in positions],
                    retrieve_seconds=retrieve_seconds * len(positions),
                    adapter=first.adapter,
                    thresholds=[asks[i].threshold for i in positions],
                )
                if first.passages is not None:
                    return answers
                views = [_view(index, asks[i].audience) for i in positions]
                return [_answered_from(view, answer) for view, answer in zip(views, answers, strict=True)]

            yield from zip(group, together_or_apart(group, read), strict=True)

    def add(
        self,
        document: Document | ReadDocument,
        *,
        replace: bool,
        identity: Identity = EVERYONE,
        access: Sequence[str] | None = None,
        keep_original: bool = False,
    ) -> Added:
        """Add a document to the index, with the id and the label of an upload (`serving.http.rights`).

        `access`: the groups that its uploader chose. `keep_original`: keep the file beside the index. Raises
        UsageError where the document exists already or its label is not valid.
        """
        read = document if isinstance(document, ReadDocument) else ReadDocument(document)
        document = label_upload(read.document, identity, access)
        with self._changing() as changed:
            existing = uploaded_id(_view(changed, identity.audience), document.id)
            if not replace and existing is not None:
                raise UsageError(
                    f"the index already has a document {document.id!r}: give another file name, or replace=true"
                )
            document = name_upload(document, existing, identity)
            report = changed.add([read._replace(document=document)], keep_originals=keep_original, progress=False)
            if report.failures:
                raise UsageError(f"{report.failures[0].source} {report.failures[0].reason}")
            self._index = changed
        view = _view(changed, identity.audience)
        return Added(document.id, len(view.passages_of(document.id)), view.fingerprint)

    def remove(self, document_id: str, *, audience: Audience | None = None) -> Removed:
        """Erase a document from the index. Raises UsageError where this audience sees no such document."""
        with self._changing() as changed:
            view = _view(changed, audience)
            fingerprint = view.document_fingerprint(document_id)
            # Also for a part of the index: its audience must not learn whether there are other documents.
            if len(list(view.documents())) == 1:
                raise UsageError(f"{document_id!r} is the index's only document and an index cannot be empty")
            # Before the erasure: a record that cannot be read must not make a completed erasure look failed.
            trained = [name for name, record in self._records() if names_document(record, fingerprint)]
            changed.remove(document_id)
            self._index = changed
        return Removed(tuple(dict.fromkeys(trained)), _view(changed, audience).fingerprint)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Index]:
        """The newest state of the index, to change; whatever a failed change has written is removed."""
        with self._writing:
            self._index.check_changeable()
            self._reload()
            changed = _reopened(self._index)
            journal = IndexStore(changed.path).journal.exists()
            try:
                yield changed
            except BaseException as error:
                if isinstance(error, UsageError):
                    self._reload()  # another process was faster, and replies about the index must be true
                else:
                    self.sweep(journal=not journal)  # an earlier journal belongs to a killed build
                if is_disk_full(error) and (isinstance(error, IndexStoreError) or not isinstance(error, RagFtError)):
                    raise IndexStoreError(disk_full(changed.path, "the index is unchanged")) from error
                raise

    def sweep(self, *, journal: bool = False) -> None:
        """Remove leftovers of killed or failed changes, unless another process is writing the index now."""
        store = IndexStore(self._index.path)
        try:
            committed = store.committed_generation()
            if committed is None:
                return  # missing or damaged: what is left may be all there is
            names = {folder.name for folder in store.generations.iterdir()}
            if names == {committed} and not unfinished_manifests(store.path) and not journal:
                return  # also serve an index that cannot be written to
            with store.writing(0.0):
                store.sweep(store.committed_generation() or committed, journal=journal)
        except IndexLockedError:
            return  # that writer sweeps too
        except (RagFtError, OSError) as error:
            logger.warning("leftovers of an unfinished change could not be removed: %s", error)

    def _records(self) -> list[tuple[str, dict[str, Any]]]:
        """Training record of each reader in memory, by name; an adapter may have its base's."""
        base = self.reader.loaded.weights
        adapters = {name: self.reader.with_adapter(name).loaded for name in self.reader.adapters}
        return [
            (base.name, base_record(base)),
            *((name, reading_record(base, loaded.adapter)) for name, loaded in adapters.items()),
        ]


def _reopened(index: Index) -> Index:
    """Another object of the same index, to change; one in a database always shows what that holds."""
    return index if isinstance(index, DatabaseIndex) else Index.load(index.path, embedder=index.embedder)


def _view(index: Index, audience: Audience | None) -> Index:
    return index if audience is None else index.visible_to(audience)


def _answered_from(view: Index, answer: Answer) -> Answer:
    """The answer, with the fingerprint of the part of the index that its question could see."""
    provenance = answer.provenance.model_copy(update={"index": view.fingerprint})
    return answer.model_copy(update={"provenance": provenance})


def _give_memory_back() -> None:
    """Return to the system the memory that tensors of finished batches took.

    Tensors of changing sizes leave holes in glibc's heap, and a server that runs for days would grow by them.
    """
    trim = _glibc_function("malloc_trim")
    if trim is not None:
        trim(0)


def keep_memory() -> None:
    """Make glibc keep freed memory until it is returned in one go. Call once per process, before other threads start.

    Otherwise it maps and unmaps a large tensor's memory each time, and every unmapping interrupts, and waits for, each
    processor that runs a thread of the process.
    """
    mallopt = _glibc_function("mallopt")
    if mallopt is not None:
        for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 32 * 2**20), (_M_TRIM_THRESHOLD, 2**30)):
            mallopt(option, value)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from glibc's malloc.h."""


def _glibc_function(name: str) -> Callable[..., int] | None:
    """A function of glibc; None with other C libraries."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def _grouped(asks: Sequence[Ask], key: Callable[[Ask], object], among: Container[int] | None = None) -> list[list[int]]:
    """Positions of the questions that can share one call, in order of the first of each group."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for i, ask in enumerate(asks):
        if among is None or i in among:
            groups[key(ask)].append(i)
    return list(groups.values())


def load_index_and_reader(
    index: str | Path,
    *,
    embedder: str | None = None,
    reader: str = "default",
    adapter: str | Path | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    **settings: Any,
) -> tuple[Index, Reader]:
    """An index with its embedder, and a reader with its adapters, all in memory: what can fail fails before listening.

    `settings` are those of `Reader`. Loaded in a thread of its own, which ends with it (`serving.threads`).
    """

    def load() -> tuple[Index, Reader]:
        loaded = Index.load(index, embedder=embedder)
        loaded.embedder  # noqa: B018
        return loaded, Reader.from_pretrained(reader, adapter=adapter, adapters=adapters, **settings)

    return in_ending_thread(load)
