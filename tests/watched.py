"""A folder that is watched by a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from fakes import HashingEmbedder

from rag_ft.indexing.index import Index
from rag_ft.indexing.watching.watcher import Watcher, WatchTiming

LONGEST_S = 60.0
"""Far more than anything here takes: a test fails after it, and no test waits for it."""


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Watched:
    """A folder with its index, watched by a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder.parent / "index"
        self.embedder = HashingEmbedder()
        self.reports = []
        self.started = 0
        self.before_build: Callable[[], None] = lambda: None
        self._watcher: Watcher | None = None
        self._thread: threading.Thread | None = None

    def build(self, known):
        self.started += 1
        self.before_build()
        return Index.build(
            self.folder, self.path, embedder=self.embedder, progress=False, known_files=known, lock_timeout_s=0.1
        ).build_report

    def start(self, **options) -> Watcher:
        timing = options.pop("timing", WatchTiming(quiet_s=0.2, poll_s=0.1))
        self._watcher = Watcher(
            self.folder, self.path, self.build, timing=timing, on_build=self.reports.append, **options
        )
        self._thread = threading.Thread(target=self._watcher.run)
        self._thread.start()
        return self._watcher

    def stop(self) -> None:
        if self._watcher is not None and self._thread is not None:
            self._watcher.stop()
            self._thread.join(LONGEST_S)
            assert not self._thread.is_alive()

    def wait_for_builds(self, count: int) -> None:
        wait_until(lambda: len(self.reports) >= count)

    def documents(self) -> list[str]:
        return [*Index.load(self.path, embedder=self.embedder).documents()]

    def text(self, document_id: str) -> str:
        return Index.load(self.path, embedder=self.embedder).document(document_id).text.strip()
