"""Files → documents in a process of their own, so that no file costs more than its limits and none stops the others.

One process reads file after file; it is started anew when a file has ended it, and now and then to give memory back.
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
from rag_ft.indexing.formats.limits import ReadLimits
from rag_ft.indexing.parsing.sandbox import KEPT_FROM_MEMORY
from rag_ft.indexing.parsing.wire import (
    MAX_HEADER_BYTES,
    Frame,
    FrameError,
    Ready,
    Reply,
    Request,
    check_pages,
    headings_in,
    read_frame,
    write_frame,
    write_header,
)
from rag_ft.schema import Heading

START_SECONDS = 60.0
"""In which the process must be ready to read; it takes about half a second."""

_FILES_PER_PROCESS = 1_000
_MEMORY_SHARE = 0.25
"""Of the memory allowed, that a process between two files may hold: parsers keep some of it."""
_TICK_SECONDS = 0.05
_END_SECONDS = 1.0
_CPU_TIME_OVER = 24
"""Number of the signal SIGXCPU, which Windows does not have."""

_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""Without which Python itself does not start on some systems. All others, tokens and keys among them, stay out."""

_NO_PROCESS = "documents are read in a process of their own, and none can be started here"

# The folders that modules come from are those of this process, less any that hang on the current folder.
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; from rag_ft.indexing.parsing.child import main; main(int(sys.argv[1]))"
)


class WorkerFailed(Unreadable):
    """A file ended the process that read it: it took too long, needed too much memory, or a parser crashed."""


class WorkerNotReady(CorpusError):
    """A process to read documents was started, and was not ready in time."""


class Read(NamedTuple):
    """A validated reply: a document's parts with its text, or a failure."""

    reply: Reply
    text: str
    headings: tuple[Heading, ...]


class Worker:
    """A process that reads documents, started when it is first needed.

    Used as a context: at its end the process is gone, whatever happened. Not for several threads at once.
    """

    def __init__(self, limits: ReadLimits | None = None, *, start_seconds: float = START_SECONDS) -> None:
        self.limits = limits or ReadLimits()
        self.kept_from: tuple[str, ...] = ()
        """What the running process cannot reach or exceed (`sandbox`'s names); depends on the platform."""
        self._start_seconds = start_seconds
        self._process: _Process | None = None
        self._files = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    @property
    def process_id(self) -> int | None:
        """Of the process that reads now; None before the first file and after the last."""
        return self._process.id if self._process is not None else None

    def read(self, request: Request, content: Callable[[], Iterable[bytes]], size: int) -> Iterator[Read]:
        """The answers to a request about `size` bytes, which `content` gives in pieces.

        Raises WorkerFailed where reading ended the process, Unreadable where `content` does, CorpusError where no
        process can be started.
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
                # What an earlier file left behind may be the reason: then a fresh process reads this one.
                if attempt == 1 and used and not answered:
                    self.close()
                    continue
                raise WorkerFailed(crash.reason) from crash
            finally:
                if process.busy:  # it failed, or nobody wants the rest
                    self.close()

    def _ready(self) -> _Process:
        process = self._process
        if process is not None:
            worn = self._files >= _FILES_PER_PROCESS or process.memory() > self.limits.memory_bytes * _MEMORY_SHARE
            if not worn and process.alive():
                return process
            self.close()
        self._files = 0
        self._process = process = _Process(self.limits, self._start_seconds)
        self.kept_from = process.kept_from
        return process


class _Crash(Exception):
    """The process is gone, or says what no sound one would."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Process:
    """One reading process, with a watch that ends it when its time is over."""

    def __init__(self, limits: ReadLimits, start_seconds: float) -> None:
        self.busy = True
        """Whether an answer is still to come: such a process is of no use for another request."""
        self._limits = limits
        try:
            self._popen = subprocess.Popen(
                _command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                cwd=os.path.abspath(os.sep),
                # Ctrl-C is for the parent alone, which ends the process in its own time.
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

    def memory(self) -> int:
        """Bytes that it holds now; none where it is gone."""
        return _resident_bytes(self._popen.pid)

    def ask(self, request: Request, content: Iterable[bytes], size: int, limits: ReadLimits) -> Iterator[Read]:
        """Send a request and give its answers. The clock runs while the process is waited for, and not in between."""
        self.busy = True
        left = limits.seconds
        begun = time.monotonic()
        self._watch.allow(left)
        self._send(request, content, size)
        try:
            while True:
                frame = read_frame(self._replies, max_header=MAX_HEADER_BYTES, max_content=4 * limits.max_chars)
                self._watch.pause()
                left -= time.monotonic() - begun
                read = _checked(frame, limits)
                if read.reply.kind == "no_memory":
                    raise WorkerFailed(_too_much_memory(limits))
                if read.reply.kind == "end":
                    self.busy = False
                    return
                yield read
                begun = time.monotonic()
                self._watch.allow(max(left, _TICK_SECONDS))
        except (EOFError, OSError, FrameError, ValueError) as error:  # pydantic's and UnicodeDecodeError among them
            if isinstance(error, EOFError):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._popen.wait(_END_SECONDS)  # how it ended by itself says why
            self.end()
            self._say_why(error)

    def _send(self, request: Request, content: Iterable[bytes], size: int) -> None:
        """Send it all, or as much as is taken: how a process ends that takes no more is seen where it is read from."""
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
        """Raise what ended the process. It has ended."""
        limits, status = self._limits, self._popen.returncode
        if self._watch.timed_out or status == -_CPU_TIME_OVER:
            raise WorkerFailed(f"could not be read within {limits.seconds:g} s and was refused") from error
        if self._watch.too_large:
            raise WorkerFailed(_too_much_memory(limits)) from error
        if not isinstance(error, EOFError | OSError):
            what = str(error) if isinstance(error, FrameError) else "no document"
            raise WorkerFailed(f"gives more than is read, or nothing that can be ({what})") from error
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        memory = f"{limits.memory_bytes / 1e6:,.0f} MB"
        raise _Crash(
            f"made the parser crash ({how}) and was refused: it is damaged, or needs more than {memory} of memory"
        ) from error

    def end(self) -> None:
        """End the process, and wait until it is gone. It has nothing to lose."""
        self._watch.stop()
        self._popen.kill()  # before its pipes are closed: what is left to write would wait for it
        self._popen.wait()
        for stream in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                stream.close()


class _Watch:
    """Ends a process when the time allowed is over, or where the system does not bound its memory, when it has more.

    A thread, because nothing else interrupts a read from a pipe on every platform.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.timed_out = False
        self.too_large = False
        self.memory_bytes: int | None = None
        """How much it may hold, where the system does not see to that."""
        self._process = process
        self._deadline: float | None = None
        self._changed = threading.Condition()
        self._stopped = False
        self._ticking = False
        self._thread = threading.Thread(target=self._run, name="rag-ft-read-watch", daemon=True)
        self._thread.start()

    def allow(self, seconds: float) -> None:
        """The time begins to run."""
        with self._changed:
            idle, self._deadline = self._deadline is None, time.monotonic() + seconds
            if idle and not self._ticking:
                self._changed.notify()

    def pause(self) -> None:
        """The time stands still."""
        self._deadline = None

    def stop(self) -> None:
        """End of the watch."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._stopped:
                deadline = self._deadline
                # While files are read one after another it ticks on, so that no request has to wake it.
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
        _cannot_start("this Python does not say where its program is, or is packed into one")
    # A relative folder would be looked for where the documents may be.
    own = str(Path(rag_ft.__file__).parent.parent)
    path = [entry for entry in sys.path if os.path.isabs(entry)]
    path = path if own in path else [*path, own]
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
    """A frame as an answer. Raises FrameError, ValueError: the process is not to be trusted."""
    reply = Reply.model_validate_json(frame.header)
    text = frame.content.decode()
    if len(text) > limits.max_chars:
        raise FrameError(f"a text of {len(text):,} characters")
    if len(reply.headings) > limits.max_headings or len(reply.page_starts) > limits.max_pages:
        raise FrameError(f"{len(reply.headings):,} headings and {len(reply.page_starts):,} pages")
    if reply.kind == "document" and not text.strip():
        raise FrameError("a document without text")
    check_pages(text, reply.page_starts)
    return Read(reply, text, headings_in(text, reply.headings))
