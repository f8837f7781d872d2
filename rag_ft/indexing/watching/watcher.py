"""The watch over a folder: looks when something has changed, and builds when the files have settled."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag_ft.errors import CorpusError, RagFtError, UsageError, first_line
from rag_ft.indexing.formats.scans import IMAGES
from rag_ft.indexing.sources.events import printable
from rag_ft.indexing.sources.file import READABLE
from rag_ft.indexing.sources.known import KnownFiles
from rag_ft.indexing.storage.manifest import BuildReport
from rag_ft.indexing.watching.notices import Notices, require_watching
from rag_ft.indexing.watching.settling import LONGEST_WAIT_S, QUIET_S, Settling
from rag_ft.indexing.watching.snapshot import Snapshot, snapshot_of

logger = logging.getLogger(__name__)

POLL_S = 2.0
"""Seconds between two looks at a folder of which the system gives no notices."""

_IDLE_S = 60.0
"""Seconds between two looks although no notice came: some changes give none, such as those behind a link."""
_LOOKING_SHARE = 0.02
"""Share of the time that looks without a reason may take."""

_STILL_WRITTEN = "is still being written"
_UNMOUNTED = "is no longer mounted"


class Stopped(BaseException):
    """The watch was stopped while it was building; no `except Exception` on the way must hold it up."""


def check_watchable(folder: Path, *, poll: bool) -> None:
    """Raise MissingExtraError if the extra is needed; CorpusError or UsageError unless a folder is there."""
    if not poll:
        require_watching()
    if not folder.exists():
        raise CorpusError(f"there is nothing at {folder}: give a folder with documents")
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file: give a folder to watch, or use 'rag-ft index build'")


@dataclass(frozen=True)
class WatchTiming:
    """Seconds that a watch waits for."""

    quiet_s: float = QUIET_S
    """For which a file must stay as it is before it is read."""
    longest_wait_s: float = LONGEST_WAIT_S
    """After which the files that are still are taken in, even if others keep changing."""
    poll_s: float = POLL_S
    idle_s: float = _IDLE_S


class Watcher:
    """Keeps an index equal to a folder until it is stopped.

    `build` makes the index, or brings it up to date, with the `KnownFiles` that it gets; it is called in the thread of
    `run`, and what it raises is logged in one sentence, and the watch resumes. `on_build` gets each report.
    """

    def __init__(
        self,
        folder: Path,
        index: Path,
        build: Callable[[KnownFiles], BuildReport],
        *,
        poll: bool = False,
        images: bool = False,
        timing: WatchTiming | None = None,
        on_build: Callable[[BuildReport], None] = lambda report: None,
    ) -> None:
        """`images`: the build reads image files too. Raises what `check_watchable` does."""
        check_watchable(folder, poll=poll)
        self._folder = folder
        self._index = index
        self._build = build
        self._poll = poll
        self._suffixes = (*READABLE, *IMAGES) if images else READABLE
        self._timing = timing or WatchTiming()
        self._on_build = on_build
        self._known = KnownFiles(self._raise_if_stopped)
        self._settling = Settling(self._timing.quiet_s, self._timing.longest_wait_s)
        self._wake = threading.Condition()
        self._changed = False
        self._stopped = False
        self._notices: Notices | None = None
        self._identity: tuple[int, int] | None = None
        self._whole = Snapshot()
        """The folder when it was last there with its documents."""
        self._reported: str | None = None
        """The problem that was reported last and is not over."""
        self._unread: set[tuple[str, str]] = set()
        """Failures of the last build, each reported once."""
        self.builds = 0
        """Builds that ended well."""

    def stop(self) -> None:
        """Make `run` return soon; a build in progress is given up, and the index stays as it is. From any thread."""
        # No lock: a signal's handler may interrupt the very thread that holds it.
        self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def run(self) -> None:
        """Watch until stopped."""
        with self._noticing():
            while not self._stopped:
                started = time.monotonic()
                files = self._look()
                spent = time.monotonic() - started
                if files is None:
                    self._wait(self._timing.poll_s)
                    continue
                decision = self._settling.look(files, started)
                if decision.build:
                    self._build_once(decision.moving)
                elif decision.wait_s is not None:
                    self._wait(decision.wait_s, even_if_changed=bool(decision.moving))
                elif self._is_polled:
                    self._wait(max(self._timing.poll_s, spent / _LOOKING_SHARE))
                else:
                    self._wait(max(self._timing.idle_s, spent / _LOOKING_SHARE))

    # Looking

    def _look(self) -> dict[str, object] | None:
        """The files that are there; None if the folder is not, or has lost all its documents at once."""
        with self._wake:
            self._changed = False
        self._keep_noticing()  # first: nothing may change between the look and the first notice
        snapshot = snapshot_of(self._folder, self._index, self._suffixes)
        if not snapshot.is_there:
            self._report(f"{self._folder} is not there: the index stays as it is, and the watch waits for the folder")
            return None
        if self._whole.has_documents and not snapshot.has_documents:
            self._report(
                f"{self._folder} holds no document any more: the index stays as it is until there is one again"
            )
            return None
        files = dict(snapshot.files)
        kept_back = {}
        for mount in self._whole.mounts - snapshot.mounts:
            inside = {name: stamp for name, stamp in self._whole.files.items() if name.startswith(f"{mount}/")}
            if inside and not any(name.startswith(f"{mount}/") for name in files):
                kept_back[mount] = _UNMOUNTED
                files |= inside
        self._known.kept_back = kept_back
        self._whole = Snapshot(files, snapshot.mounts | kept_back.keys())
        return dict(files)

    @property
    def _is_polled(self) -> bool:
        return self._poll or self._notices is None

    @contextlib.contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self._notices is not None:
                self._notices.close()

    def _keep_noticing(self) -> None:
        """Get notices from the folder that is there now: those of one that was replaced tell nothing."""
        if self._poll:
            return
        if self._notices is not None and self._notices.failed is not None and self._folder.is_dir():
            logger.warning(
                "the system gives no notices of changes in %s (%s): the watch looks through it every %g s instead",
                self._folder,
                self._notices.failed,
                self._timing.poll_s,
            )
            self._poll = True
        identity = None
        with contextlib.suppress(OSError):
            status = self._folder.stat()
            identity = status.st_dev, status.st_ino
        if identity != self._identity or self._poll:
            if self._notices is not None:
                self._notices.close()
            wanted = identity is not None and not self._poll
            self._notices = Notices(self._folder, self._on_change) if wanted else None
            self._identity = identity

    def _on_change(self) -> None:
        with self._wake:
            self._changed = True
            self._wake.notify()

    def _wait(self, seconds: float, *, even_if_changed: bool = False) -> None:
        """Wait until a change is noticed, or `seconds` are over, or the watch is stopped."""
        deadline = time.monotonic() + seconds
        with self._wake:
            while not self._stopped and (even_if_changed or not self._changed):
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._wake.wait(min(left, _TICK_S))

    # Building

    def _build_once(self, moving: frozenset[str]) -> None:
        self._known.kept_back = {**self._known.kept_back, **dict.fromkeys(moving, _STILL_WRITTEN)}
        try:
            report = self._build(self._known)
        except Stopped:
            return
        except Exception as error:
            if self._stopped:
                return
            if isinstance(error, UsageError) and not self.builds:
                raise  # no change of a file can mend a wrong call
            self._report(_in_words(error))
            self._settling.failed(time.monotonic())
            return
        self._settling.built(moving, time.monotonic())
        self.builds += 1
        self._reported = None
        logger.info("%s", in_words(report))
        for failure in report.failures:
            if failure not in self._unread:
                logger.warning("not read: %s %s", failure.source, failure.reason)
        self._unread = set(report.failures)
        self._on_build(report)

    def _report(self, problem: str) -> None:
        """Log a problem, once until it is over."""
        if problem != self._reported:
            logger.warning("%s", problem)
        self._reported = problem

    def _raise_if_stopped(self) -> None:
        if self._stopped:
            raise Stopped


_TICK_S = 0.2
"""Seconds after which a wait looks whether the watch was stopped."""


def _in_words(error: Exception) -> str:
    if isinstance(error, RagFtError):
        return str(error)
    if isinstance(error, OSError):
        return f"the build failed ({printable(error.strerror or str(error))}): the index stays as it is"
    return f"the build failed (unexpected {type(error).__name__}: {first_line(error)}): the index stays as it is"


def in_words(report: BuildReport) -> str:
    """What a build did, in one line."""
    counts = {"added": len(report.added), "changed": len(report.changed), "removed": len(report.removed)}
    parts = [f"{count:,} {word}" for word, count in counts.items() if count]
    if not parts:
        return f"no document changed, {report.seconds:.1f} s"
    count, _, word = parts[0].partition(" ")
    parts[0] = f"{count} {'document' if count == '1' else 'documents'} {word}"
    return ", ".join([*parts, f"{report.seconds:.1f} s"])
