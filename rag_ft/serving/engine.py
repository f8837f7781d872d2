"""What the server answers with: one reader, and an index that may be changed while questions are asked.

An index object shows one state. A change makes another object and puts it in place of the first in one step, so that a
question is retrieved, read and cited in the old state or in the new one.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.errors import IndexLockedError, IndexStoreError, RagFtError, UsageError
from rag_ft.files import disk_full, is_disk_full
from rag_ft.indexing.access import Audience
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.folder import unfinished_manifests
from rag_ft.indexing.storage.store import IndexStore
from rag_ft.models.adapter_record import base_record, names_document, reading_record
from rag_ft.schema import Answer, Document, Hit
from rag_ft.serving.batching import Ask
from rag_ft.serving.http.rights import named, received, uploaded_as
from rag_ft.serving.http.tokens import EVERYONE, Identity

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_AGAIN_S = 2.0
"""How often the index's folder is looked at for another process's changes."""

_TRIM_EVERY_S = 5.0
"""After each batch would cost more: the next one has to ask the system for the same pages again."""


@dataclass(frozen=True)
class Added:
    """What adding a document did."""

    id: str
    passages: int
    index: str
    """Fingerprint of the state that has it, as far as who added it may see; a later change may have followed."""


@dataclass(frozen=True)
class Removed:
    """What removing a document did."""

    trained: tuple[str, ...]
    """Readers in memory that were trained on it, and may recite it: names of adapters, or of a base with one merged."""
    index: str
    """Fingerprint of the state without it."""


class Engine:
    """Reader and index, for several threads; changes take turns."""

    def __init__(self, index: Index, reader: Reader) -> None:
        self._index = index
        self.reader = reader
        self._writing = threading.Lock()
        self._looked = time.monotonic()
        self._trimmed = time.monotonic()
        self.missing: str | None = None
        """Why the index on disk cannot be used any more; what is in memory goes on answering."""

    @property
    def index(self) -> Index:
        """The index as it is now; hold on to the object to stay in one state."""
        return self._index

    @property
    def stale(self) -> bool:
        """Whether it is time to look for another process's changes."""
        return time.monotonic() - self._looked >= LOOK_AGAIN_S

    def view(self, audience: Audience | None) -> Index:
        """The index as it is now, as far as an audience may read it; None: all of it."""
        return _view(self._index, audience)

    def refresh(self, *, now: bool = False) -> None:
        """Take up what another process has written to the index's folder since."""
        if not now and not self.stale:
            return
        self._looked = time.monotonic()
        if not self._writing.acquire(blocking=False):
            return  # a change of our own is on its way
        try:
            self._take_up()
        except IndexLockedError:
            return  # written over and over just now: the next look will do
        except Exception as error:  # whatever a damaged file makes a library say
            if self.missing is None:
                logger.error("%s; the state in memory goes on answering", error)
            self.missing = str(error)
        finally:
            self._writing.release()

    def _take_up(self) -> None:
        before = self._index
        if IndexStore(before.path).read_manifest().generation != before.manifest.generation:
            self._index = Index.load(before.path, embedder=before.embedder)
        self.missing = None

    def answer(self, asks: Sequence[Ask], found: Callable[[int, Sequence[Hit]], None]) -> list[Answer | Exception]:
        """The answers of a batch, all in one state of the index; a question that fails has its error in its place."""
        self.refresh()
        index = self._index
        hits: dict[int, list[Hit]] = {}
        outcomes: dict[int, Answer | Exception] = {}
        begin = time.perf_counter()
        for numbers in _grouped(asks, lambda one: (one.k, json.dumps(one.where, sort_keys=True), one.audience)):
            first = asks[numbers[0]]

            def retrieve(some: Sequence[int], first: Ask = first) -> list[list[Hit]]:
                retriever = _view(index, first.audience).as_retriever(k=first.k, where=first.where)
                return retriever.retrieve_batch([asks[number].question for number in some])

            for number, result in _each(numbers, retrieve):
                if isinstance(result, Exception):
                    outcomes[number] = result
                else:
                    hits[number] = result
                    found(number, result)
        seconds = (time.perf_counter() - begin) / max(1, len(asks))
        pipeline = Pipeline(index.as_retriever(), self.reader)
        for numbers in _grouped(asks, lambda one: one.adapter, among=hits):
            adapter = asks[numbers[0]].adapter

            def read(some: Sequence[int], adapter: str | None = adapter) -> Sequence[Answer]:
                answers = pipeline.read_batch(
                    [asks[number].question for number in some],
                    [hits[number] for number in some],
                    retrieve_seconds=seconds * len(some),
                    adapter=adapter,
                    thresholds=[asks[number].threshold for number in some],
                )
                views = [_view(index, asks[number].audience) for number in some]
                return [_answered_from(view, answer) for view, answer in zip(views, answers, strict=True)]

            outcomes.update(_each(numbers, read))
        if time.monotonic() - self._trimmed > _TRIM_EVERY_S:
            _give_memory_back()
            self._trimmed = time.monotonic()
        return [outcomes[number] for number in range(len(asks))]

    def add(
        self,
        document: Document,
        *,
        replace: bool,
        identity: Identity = EVERYONE,
        access: Sequence[str] | None = None,
    ) -> Added:
        """Take a document into the index, with the id and the label that an upload gets (`serving.rights`); `access`:
        the groups that were chosen for it. Raises UsageError where it is there already, or the label is none.
        """
        document = received(document, identity, access)
        with self._changing() as changed:
            taken = uploaded_as(_view(changed, identity.audience), document.id)
            if not replace and taken is not None:
                raise UsageError(
                    f"the index has a document {document.id!r} already: give another file name, or replace=true"
                )
            document = named(document, taken, identity)
            report = changed.add([document], progress=False)
            if report.failures:
                raise UsageError(f"{report.failures[0].source} {report.failures[0].reason}")
            self._index = changed
        view = _view(changed, identity.audience)
        return Added(document.id, len(view.passages_of(document.id)), view.fingerprint)

    def remove(self, document_id: str, *, audience: Audience | None = None) -> Removed:
        """Erase a document from the index. Raises UsageError where it is not there, or not for this audience."""
        with self._changing() as changed:
            view = _view(changed, audience)
            fingerprint = view.document_fingerprint(document_id)
            # Of a part, too: whether there is more than it must not be told.
            if len(list(view.documents())) == 1:
                raise UsageError(f"{document_id!r} is the index's only document and an index cannot be empty")
            # Before, because a record that cannot be read must not make a failure of an erasure that was done.
            trained = [name for name, record in self._records() if names_document(record, fingerprint)]
            changed.remove(document_id)
            self._index = changed
        return Removed(tuple(dict.fromkeys(trained)), _view(changed, audience).fingerprint)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Index]:
        """The newest state of the index to change; what a failed change has written is removed again."""
        with self._writing:
            self._take_up()
            changed = Index.load(self._index.path, embedder=self._index.embedder)
            journal = IndexStore(changed.path).journal.exists()
            try:
                yield changed
            except BaseException as error:
                if isinstance(error, UsageError):
                    self._take_up()  # another process was faster, and what is told of the index must be true
                else:
                    self.sweep(journal=not journal)  # a journal that was there before is a killed build's
                if is_disk_full(error) and (isinstance(error, IndexStoreError) or not isinstance(error, RagFtError)):
                    raise IndexStoreError(disk_full(changed.path, "the index is as before")) from error
                raise

    def sweep(self, *, journal: bool = False) -> None:
        """Remove what killed or failed changes left beside the index, unless another process is writing it now."""
        store = IndexStore(self._index.path)
        try:
            committed = store.committed_generation()
            if committed is None:
                return  # gone or damaged: what lies there may be all that is left of it
            names = {folder.name for folder in store.generations.iterdir()}
            if names == {committed} and not unfinished_manifests(store.path) and not journal:
                return  # an index that may not be written to is served, too
            with store.writing(0.0):
                store.sweep(store.committed_generation() or committed, journal=journal)
        except IndexLockedError:
            return  # that writer sweeps, too
        except (RagFtError, OSError) as error:
            logger.warning("what an unfinished change left could not be removed: %s", error)

    def _records(self) -> list[tuple[str, dict[str, Any]]]:
        """How each reader in memory was tuned, by name; an adapter may have its base's."""
        base = self.reader.loaded.weights
        adapters = {name: self.reader.with_adapter(name).loaded for name in self.reader.adapters}
        return [
            (base.name, base_record(base)),
            *((name, reading_record(base, one.adapter)) for name, one in adapters.items()),
        ]


def _view(index: Index, audience: Audience | None) -> Index:
    return index if audience is None else index.visible_to(audience)


def _answered_from(view: Index, answer: Answer) -> Answer:
    """The answer of a batch, with the fingerprint of what this question could see."""
    provenance = answer.provenance.model_copy(update={"index": view.fingerprint})
    return answer.model_copy(update={"provenance": provenance})


def _give_memory_back() -> None:
    """Return what batches' tensors took to the system.

    Tensors of ever other sizes leave holes in glibc's heap, and a server that runs for days would grow by them.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def keep_memory() -> None:
    """Have glibc keep what is freed until it is given back in one go; before other threads begin, for a process.

    Else it maps a large tensor's memory anew each time and takes it away again, and every time that memory is taken
    away, each processor that runs a thread of the process is interrupted and waited for.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 32 * 2**20), (_M_TRIM_THRESHOLD, 2**30)):
            mallopt(option, value)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Of glibc's malloc.h."""


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; other C libraries have none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def _grouped(
    asks: Sequence[Ask], key: Callable[[Ask], object], among: Sequence[int] | dict[int, list[Hit]] | None = None
) -> list[list[int]]:
    """Numbers of the questions that can be done in one call, in order of the first of each group."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for number, ask in enumerate(asks):
        if among is None or number in among:
            groups[key(ask)].append(number)
    return list(groups.values())


def _each(numbers: Sequence[int], call: Callable[[Sequence[int]], Sequence[T]]) -> list[tuple[int, T | Exception]]:
    """The results of one call for all; where that fails, of a call for each, with its error in its place."""
    try:
        return list(zip(numbers, call(numbers), strict=True))
    except Exception as error:
        if len(numbers) == 1:
            return [(numbers[0], error)]
    return [pair for number in numbers for pair in _each([number], call)]
