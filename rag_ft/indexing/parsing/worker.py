"""Files → documents in a separate process, so that no file exceeds its limits and none stops the others.

One process reads many files; it is restarted after a file crashed it, and regularly to free memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, NoReturn, cast

from pydantic import ValidationError

from rag_ft.errors import CorpusError
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.limits import MAX_BLOCKS, ReadLimits
from rag_ft.indexing.formats.pdf.rendering import check_png
from rag_ft.indexing.parsing.sandbox import KEPT_FROM_MEMORY
from rag_ft.indexing.parsing.wire import (
    MAX_HEADER_BYTES,
    Frame,
    FrameError,
    Ready,
    Reply,
    Request,
    blocks_in,
    check_locations,
    check_pages,
    headings_in,
    places_in,
    read_frame,
    write_frame,
    write_header,
)
from rag_ft.schema import Block, Heading

START_SECONDS = 60.0
"""Time in which the process must be ready to read; it takes about half a second."""

_FILES_PER_PROCESS = 1_000
_MEMORY_SHARE = 0.25
"""Share of the memory allowed that a process may hold between two files: parsers keep some."""
_TICK_SECONDS = 0.05
_MAX_IMAGE_BYTES = 32_000_000
"""More than a drawn page has (`formats.scans`)."""
_END_SECONDS = 1.0
_CONTENT_BYTES = 13
"""Bytes of content per character: at most four of its text, eight of its box, and one of its line."""
_EXTRA = 2_000
"""Bytes of content besides, for the sizes of pages: also the shortest text has them."""
_IMAGE_BYTES = 16_000_000
"""Bytes of an image: more than its pixels have."""
_CPU_TIME_OVER = 24
"""Number of the signal SIGXCPU, which Windows lacks."""

_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""Variables without which Python does not start on some systems. No other variable is passed, so no token or key."""

_NO_PROCESS = "documents are read in a separate process, which cannot be started here"

# The module path is that of this process, without relative folders.
_START = (
    "import sys; sys.path[:] = sys.argv[2:];"
    " from rag_ft.indexing.parsing.child import serve_requests; serve_requests(int(sys.argv[1]))"
)


class WorkerFailed(Unreadable):
    """A file ended its reading process: it took too long, needed too much memory, or crashed a parser."""


class WorkerNotReady(CorpusError):
    """A reading process was started but was not ready in time."""


class Read(NamedTuple):
    """A validated reply: a document's parts with its text, or a failure."""

    reply: Reply
    text: str
    headings: tuple[Heading, ...]
    blocks: tuple[Block, ...]
    places: bytes
    """Where the characters stand in the file (`indexing.places`); empty if the format does not say."""
    image: bytes = b""
    """The PNG of a page, or the grey pixels of a scan, if one was to be drawn."""


class Worker:
    """A process that reads documents, started when it is first needed.

    Used as a context manager: when it exits, the process has ended. Not for several threads at once, but for `stop`.
    """

    def __init__(self, limits: ReadLimits | None = None, *, start_seconds: float = START_SECONDS) -> None:
        self.limits = limits or ReadLimits()
        self.kept_from: tuple[str, ...] = ()
        """What the running process is kept from (names in `sandbox`); depends on the platform."""
        self._start_seconds = start_seconds
        self._process: _Process | None = None
        self._files = 0
        self._stopped = False

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if one is running."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def start(self) -> None:
        """Start the process now, and not with the first file. Raises CorpusError where it cannot be started."""
        self._ready()

    def stop(self) -> None:
        """End the process from another thread: what is being read raises WorkerFailed, and so does all that follows."""
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()

    @property
    def process_id(self) -> int | None:
        """Id of the running process; None before the first file and after the last."""
        return self._process.id if self._process is not None else None

    def read(self, request: Request, content: Callable[[], Iterable[bytes]], size: int) -> Iterator[Read]:
        """Read a request's `size` bytes, which `content` gives in pieces; yields the documents and failures.

        Raises WorkerFailed if reading ended the process, Unreadable if `content` raises it, CorpusError if no process
        can be started.
        """
        for attempt in (1, 2):
            process = self._ready()
            used, answered = self._files > 0, False
            self._files += 1
            try:
                for read in process.ask(request, content(), size, self.limits):
                    answered = True
                    yield read
                return
            except _Crash as crash:
                # An earlier file may be the cause: a new process reads this one.
                if attempt == 1 and used and not answered:
                    self.close()
                    continue
                raise WorkerFailed(crash.reason) from crash
            finally:
                if process.busy:  # it failed, or the caller stopped early
                    self.close()

    def _ready(self) -> _Process:
        self._refuse_if_stopped()
        process = self._process
        if process is not None:
            expired = self._files >= _FILES_PER_PROCESS or process.memory() > self.limits.memory_bytes * _MEMORY_SHARE
            if not expired and process.alive():
                return process
            self.close()
        self._files = 0
        self._process = process = _Process(self.limits, self._start_seconds)
        self._refuse_if_stopped()  # which may have come while it started, and then ended nothing
        self.kept_from = process.kept_from
        return process

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            self.close()
            raise WorkerFailed("was not read: reading was stopped")


class _Crash(Exception):
    """The process crashed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Process:
    """One reading process, with a watch that ends it when its time is up."""

    def __init__(self, limits: ReadLimits, start_seconds: float) -> None:
        self.busy = True
        """True while replies are outstanding: such a process cannot take another request."""
        self._limits = limits
        try:
            self._popen = subprocess.Popen(
                _command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                cwd=os.path.abspath(os.sep),
                # Ctrl-C reaches the parent alone, which ends this process when it is ready.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except (OSError, ValueError) as error:
            _cannot_start(f"{error}")
        self._requests = cast(BinaryIO, self._popen.stdin)
        self._replies = cast(BinaryIO, self._popen.stdout)
        self._watch = _Watch(self._popen)
        try:
            self._watch.allow(start_seconds)
            write_frame(self._requests, json.dumps(asdict(limits)).encode())
            ready = read_frame(self._replies, max_header=MAX_HEADER_BYTES, max_content=0)
            self.kept_from = Ready.model_validate_json(ready.header).kept_from
        except BaseException as error:
            self.end()
            if self._watch.timed_out:
                raise WorkerNotReady(f"{_NO_PROCESS} (it was not ready within {start_seconds:g} s)") from error
            if not isinstance(error, OSError | EOFError | FrameError | ValidationError):
                raise
            status, memory = self._popen.returncode, limits.memory_bytes / 1e6
            _cannot_start(f"it ended with status {status}; {memory:,.0f} MB of memory are allowed")
        self._watch.pause()
        if KEPT_FROM_MEMORY not in self.kept_from:
            self._watch.memory_bytes = limits.memory_bytes
        self.busy = False

    @property
    def id(self) -> int:
        return int(self._popen.pid)

    def alive(self) -> bool:
        return self._popen.poll() is None and not self._watch.timed_out

    def kill(self) -> None:
        """End it without waiting: for another thread than that which reads."""
        self._popen.kill()

    def memory(self) -> int:
        """Bytes that it holds now; 0 if it has ended."""
        return _resident_bytes(self._popen.pid)

    def ask(self, request: Request, content: Iterable[bytes], size: int, limits: ReadLimits) -> Iterator[Read]:
        """Send a request and yield the replies. The clock runs only while this process waits for the other."""
        self.busy = True
        remaining = limits.seconds
        started = time.monotonic()
        self._watch.allow(remaining)
        most = _IMAGE_BYTES if request.kind == "page" else _CONTENT_BYTES * limits.max_chars + _EXTRA
        self._send(request, content, size)
        most = _MAX_IMAGE_BYTES if request.kind == "scans" else _CONTENT_BYTES * limits.max_chars + _EXTRA
        try:
            while True:
                frame = read_frame(self._replies, max_header=MAX_HEADER_BYTES, max_content=most)
                self._watch.pause()
                remaining -= time.monotonic() - started
                read = _checked(frame, limits)
                if read.reply.kind == "no_memory":
                    raise WorkerFailed(_too_much_memory(limits))
                if read.reply.kind == "end":
                    self.busy = False
                    return
                yield read
                started = time.monotonic()
                self._watch.allow(max(remaining, _TICK_SECONDS))
        except (EOFError, OSError, FrameError, ValueError) as error:  # pydantic's and UnicodeDecodeError among them
            if isinstance(error, EOFError):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._popen.wait(_END_SECONDS)  # its exit status says why
            self.end()
            self._say_why(error)

    def _send(self, request: Request, content: Iterable[bytes], size: int) -> None:
        """Send a request, or as much of it as the process takes: if it ends early, reading the replies shows why."""
        sent = 0
        try:
            write_header(self._requests, request.model_dump_json().encode(), size)
        except OSError:
            return
        for piece in content:
            piece = piece[: size - sent]
            sent += len(piece)
            try:
                self._requests.write(piece)
            except OSError:
                return
        if sent < size:
            raise Unreadable("became shorter while it was read: try again")
        with contextlib.suppress(OSError):
            self._requests.flush()

    def _say_why(self, error: Exception) -> NoReturn:
        """Raise the reason why the process has ended."""
        limits, status = self._limits, self._popen.returncode
        if self._watch.timed_out or status == -_CPU_TIME_OVER:
            raise WorkerFailed(f"could not be read within {limits.seconds:g} s and was refused") from error
        if self._watch.too_large:
            raise WorkerFailed(_too_much_memory(limits)) from error
        if not isinstance(error, EOFError | OSError):
            what = str(error) if isinstance(error, FrameError) else "no document"
            raise WorkerFailed(f"gives more than is read, or an invalid reply ({what})") from error
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        memory = f"{limits.memory_bytes / 1e6:,.0f} MB"
        raise _Crash(
            f"made the parser crash ({how}) and was refused: it is damaged, or needs more than {memory} of memory"
        ) from error

    def end(self) -> None:
        """Kill the process, and wait until it has ended. It has no state to lose."""
        self._watch.stop()
        self._popen.kill()  # before its pipes are closed, which would block on unwritten data
        self._popen.wait()
        for stream in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                stream.close()


class _Watch:
    """Kills a process when its time is up, or when it exceeds its memory if the system does not limit that.

    This is a thread because nothing else interrupts a read from a pipe on every platform.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.timed_out = False
        self.too_large = False
        self.memory_bytes: int | None = None
        """Memory limit, if the system does not enforce one."""
        self._process = process
        self._deadline: float | None = None
        self._changed = threading.Condition()
        self._stopped = False
        self._ticking = False
        self._thread = threading.Thread(target=self._run, name="rag-ft-read-watch", daemon=True)
        self._thread.start()

    def allow(self, seconds: float) -> None:
        """Start the clock with this much time."""
        with self._changed:
            idle, self._deadline = self._deadline is None, time.monotonic() + seconds
            if idle and not self._ticking:
                self._changed.notify()

    def pause(self) -> None:
        """Stop the clock."""
        self._deadline = None

    def stop(self) -> None:
        """End the watch."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                deadline = self._deadline
                # Between files it keeps ticking, so that requests need not wake it.
                self._ticking = deadline is not None
                if deadline is not None and time.monotonic() > deadline:
                    self.timed_out = True
                elif self.memory_bytes is not None and _resident_bytes(self._process.pid) > self.memory_bytes:
                    self.too_large = True
                if self.timed_out or self.too_large:
                    self._process.kill()
                    return
                self._changed.wait(_TICK_SECONDS if self._ticking else None)


def _command() -> list[str]:
    import rag_ft

    if not sys.executable or getattr(sys, "frozen", False):
        _cannot_start("this Python does not report the path of its executable, or is part of a packed program")
    # A relative folder could be one with documents.
    package = str(Path(rag_ft.__file__).parent.parent)
    path = [entry for entry in sys.path if os.path.isabs(entry)]
    path = path if package in path else [*path, package]
    return [sys.executable, "-I", "-X", "utf8", "-c", _START, str(os.getpid()), *path]


def _cannot_start(reason: str) -> NoReturn:
    raise CorpusError(f"{_NO_PROCESS} ({reason})")


def _too_much_memory(limits: ReadLimits) -> str:
    return f"needs more than the {limits.memory_bytes / 1e6:,.0f} MB of memory that reading it may take"


def _resident_bytes(process_id: int) -> int:
    import psutil

    try:
        return int(psutil.Process(process_id).memory_info().rss)
    except psutil.Error:
        return 0


def _checked(frame: Frame, limits: ReadLimits) -> Read:
    """Validate a frame, since the process is not trusted. Raises FrameError, ValueError."""
    reply = Reply.model_validate_json(frame.header)
    if reply.kind == "image":
        check_png(frame.content)
        return Read(reply, "", (), (), b"", frame.content)
    if reply.kind == "scan":
        is_whole = len(frame.content) == reply.width * reply.height > 0
        if not is_whole or not 1 <= reply.page <= reply.pages <= limits.max_pages:
            raise FrameError("an image that is not one")
        return Read(reply, "", (), (), b"", frame.content)
    text_bytes = max(len(frame.content) - reply.binary_bytes, 0)
    text = frame.content[:text_bytes].decode()
    if len(text) > limits.max_chars:
        raise FrameError(f"a text of {len(text):,} characters")
    if len(reply.headings) > limits.max_headings or len(reply.page_starts) > limits.max_pages:
        raise FrameError(f"{len(reply.headings):,} headings and {len(reply.page_starts):,} pages")
    if reply.kind == "document" and not text.strip():
        raise FrameError("a document without text")
    check_pages(text, reply.page_starts)
    check_locations(text, reply.locations)
    if len(reply.blocks) > MAX_BLOCKS:
        raise FrameError(f"{len(reply.blocks):,} blocks")
    places = places_in(text, reply.page_starts, frame.content[text_bytes:])
    return Read(reply, text, headings_in(text, reply.headings), blocks_in(text, reply.blocks), places)
