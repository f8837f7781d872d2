"""A folder watched while its index is served: each build is answered from as soon as it is there."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from rag_ft.errors import IndexMissingError
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.formats import SOURCE_SUFFIXES
from rag_ft.indexing.index import Index
from rag_ft.indexing.ocr.reading import ocr_before
from rag_ft.indexing.sources.known import KnownFiles
from rag_ft.indexing.storage.manifest import BuildReport
from rag_ft.indexing.storage.store import IndexStore
from rag_ft.indexing.watching.watcher import Stopped, Watcher, WatchTiming
from rag_ft.serving.threads import in_ending_thread

if TYPE_CHECKING:
    from rag_ft.serving.engine import Engine

logger = logging.getLogger(__name__)

_GRACE_S = 5.0
"""Seconds to wait at the end for the build in progress, which stops before its next file."""

Runner = Callable[[Callable[[], BuildReport]], BuildReport]
"""Runs a build in a thread that ends with it (`serving.threads`)."""


class FolderWatch:
    """Keeps the index of an engine equal to a folder, in a thread of its own, between `start` and `stop`.

    The index keeps its embedder, its kind, the size of its passages and the languages of its recognised text. A
    question that is being answered keeps the state of the index that it started with.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        *,
        poll: bool = False,
        run: Runner = in_ending_thread,
        timing: WatchTiming | None = None,
    ) -> None:
        """Raises MissingExtraError, CorpusError, UsageError."""
        self._engine = engine
        self._folder = folder
        self._run_build = run
        images = ocr_before(engine.index.entries()) is not None
        self._watcher = Watcher(folder, engine.index.path, self._build, poll=poll, images=images, timing=timing)
        self._thread = threading.Thread(target=self._run, name="rag-ft-watch", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; a build in progress is given up, and the index stays as it is."""
        self._watcher.stop()
        if self._thread.is_alive():
            self._thread.join(_GRACE_S)

    def _run(self) -> None:
        with contextlib.suppress(Stopped):
            try:
                self._watcher.run()
            except Exception as error:
                logger.error("the watch over %s has ended (%s): the index is served as it is", self._folder, error)

    def _build(self, known: KnownFiles) -> BuildReport:
        report = self._run_build(lambda: build_as_before(self._folder, self._engine.index, known))
        self._engine.refresh(now=True)
        return report


def build_as_before(folder: Path, index: Index, known: KnownFiles | None = None) -> BuildReport:
    """Bring an index up to date with a folder, with the embedder, kind and size of passages that it has.

    Originals are kept, and source files read, if the index has some.
    """
    built = Index.build(
        folder,
        index.path,
        embedder=index.embedder,
        chunking=ChunkingConfig(max_tokens=index.chunking.max_tokens),
        kind=index.manifest.kind_choice,
        keep_originals=any(entry.original for entry in index.entries()),
        source_code=any(PurePath(entry.source).suffix.lower() in SOURCE_SUFFIXES for entry in index.entries()),
        progress=False,
        known_files=known,
        ocr=ocr_before(index.entries()),
    )
    assert built.build_report is not None
    return built.build_report


def build_if_missing(folder: Path, index: Path, embedder: str | None = None, *, keep_originals: bool = False) -> None:
    """Build the index of a folder if there is none yet. Raises what `Index.build` does."""
    try:
        IndexStore(index).read_manifest()
    except IndexMissingError:
        Index.build(folder, index, embedder=embedder or "default", keep_originals=keep_originals)
