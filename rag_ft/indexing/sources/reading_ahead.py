"""Files read ahead of whoever takes their documents: by one reader or several, in threads, given back in order.

Embedding computes in this process while files are parsed in others, so that neither waits for the other.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from rag_ft.environment import usable_cores
from rag_ft.errors import CorpusError
from rag_ft.indexing.sources.events import CorpusEvent, ReadDocument
from rag_ft.indexing.sources.reader import CorpusFile, FileReader
from rag_ft.indexing.sources.remote import RemoteFile

logger = logging.getLogger(__name__)

FILES_AHEAD = 256
"""Files that may be listed and read before the first of them is taken."""
_SIZE_AHEAD = 64_000_000
"""What may be read and not yet dealt with, as `_size_of` counts: characters and bytes."""
_SIZE_OF_EVENT, _SIZE_OF_PART = 2_000, 200
"""What an event takes besides its text, and each of a document's headings, blocks, pages and locations."""
_MOST_READERS = 4
"""Each holds a process with its libraries, 50 MB and more."""
_WAIT_FOR_READER_SECONDS = 1.0
"""A further reader is started when documents were waited for so long in all: its start takes half a second."""
_END_SECONDS = 5.0
"""How long a reader is waited for in the end; one that fetches a file from elsewhere cannot be interrupted."""


@dataclass(eq=False)
class _Reading:
    """A file that is read, or is to be: what it gave and nobody has taken."""

    file: CorpusFile
    events: list[CorpusEvent] = field(default_factory=list)
    size: int = 0
    """Of these events."""
    taken_size: int = 0
    """Of the events that were taken last."""
    ended: bool = False
    error: BaseException | None = None
    is_waited_for: bool = False
    """Whether all that was taken is dealt with, and more is asked for."""

    @property
    def lacks_events(self) -> bool:
        """Whether whoever takes its events can do nothing but wait."""
        return self.is_waited_for and not self.events


class ReadersAhead:
    """Has files read by several readers, and gives their events in the order in which the files were started.

    Use it as a context, which ends the readers. `most`: readers at once; by default four, or as many as there are
    cores. `hold_fetched`: go on with a file from elsewhere only when its document was dealt with, since its copy on
    this machine is deleted then.
    """

    def __init__(
        self, new_reader: Callable[[], FileReader], *, most: int | None = None, hold_fetched: bool = True
    ) -> None:
        self._new_reader = new_reader
        self._most = most or min(_MOST_READERS, usable_cores())
        self._hold_fetched = hold_fetched
        self._changed = threading.Condition()
        self._queue: deque[_Reading] = deque()
        self._size = 0
        self._waited_seconds = 0.0
        self._stopped = False
        self._error: BaseException | None = None
        """What ended a reader that should have gone on."""
        self._readers: list[FileReader] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> ReadersAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._stopped = True
            readers = tuple(self._readers)
            self._changed.notify_all()
        for reader in readers:
            reader.stop()
        for thread in self._threads:
            if thread is not threading.current_thread():  # which may collect a generator that nobody closed
                thread.join(_END_SECONDS)

    def start(self, file: CorpusFile) -> Iterator[CorpusEvent]:
        """Have a file read after those before it; its events, and what reading it raises, as they come."""
        reading = _Reading(file)
        with self._changed:
            self._queue.append(reading)
            self._changed.notify_all()
        if not self._threads:
            self._add_reader()
        return self._events(reading)

    def _events(self, reading: _Reading) -> Iterator[CorpusEvent]:
        while events := self._taken(reading):
            yield from events
        if reading.error is not None:
            raise reading.error

    def _taken(self, reading: _Reading) -> list[CorpusEvent]:
        """What a file has given since; waits for something, and is empty at its end."""
        with self._changed:
            reading.is_waited_for = True
            self._size -= reading.taken_size
            self._changed.notify_all()
            while not reading.events and not reading.ended:
                self._wait_for_events()
            reading.is_waited_for = False
            events, reading.events = reading.events, []
            reading.taken_size, reading.size = reading.size, 0
        return events

    def _wait_for_events(self) -> None:
        """Wait for a change, and start a further reader once this has taken long enough in all."""
        if self._error is not None:
            raise self._error
        since = time.monotonic()
        self._changed.wait(max(_WAIT_FOR_READER_SECONDS - self._waited_seconds, 0.0))
        self._waited_seconds += time.monotonic() - since
        if self._waited_seconds >= _WAIT_FOR_READER_SECONDS:
            self._waited_seconds = 0.0
            if self._queue and len(self._threads) < self._most:
                self._add_reader()

    def _add_reader(self) -> None:
        is_first = not self._threads
        thread = threading.Thread(target=self._run, args=(is_first,), name="rag-ft-read-ahead", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            if is_first:
                raise CorpusError(f"documents are read by a thread, which cannot be started here ({error})") from error
            self._most = len(self._threads)
            return
        self._threads.append(thread)

    def _run(self, is_first: bool) -> None:
        try:
            with self._new_reader() as reader:
                with self._changed:
                    self._readers.append(reader)
                if not is_first:
                    reader.start()
                while (reading := self._next()) is not None and self._read(reader, reading):
                    pass
        except BaseException as error:
            if not is_first and isinstance(error, CorpusError):
                logger.info("no further process reads documents: %s", error)
                self._most = len(self._threads)
                return
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> _Reading | None:
        """The next file to read, as soon as there is one; None once all is stopped."""
        with self._changed:
            while not self._queue and not self._stopped:
                self._changed.wait()
            return None if self._stopped else self._queue.popleft()

    def _read(self, reader: FileReader, reading: _Reading) -> bool:
        """Read a file to its end; False once all is stopped."""
        try:
            return all(self._give(reading, event) for event in reader.events(reading.file))
        except BaseException as error:
            reading.error = error
            return True
        finally:
            with self._changed:
                reading.ended = True
                self._changed.notify_all()

    def _give(self, reading: _Reading, event: CorpusEvent) -> bool:
        """Add what a file gave, as soon as there is room; False once all is stopped."""
        size = _size_of(event)
        is_file = isinstance(event, ReadDocument) and event.original is not None
        held = is_file and isinstance(reading.file, RemoteFile) and self._hold_fetched
        with self._changed:
            while not (self._stopped or self._size < _SIZE_AHEAD or reading.lacks_events):
                self._changed.wait()
            reading.events.append(event)
            reading.size += size
            self._size += size
            self._changed.notify_all()
            while held and not self._stopped and not reading.lacks_events:
                self._changed.wait()
            return not self._stopped


def _size_of(event: CorpusEvent) -> int:
    """About the bytes that an event holds."""
    if not isinstance(event, ReadDocument):
        return _SIZE_OF_EVENT
    document = event.document
    metadata = len(json.dumps(document.metadata)) if document.metadata else 0
    parts = len(document.headings) + len(document.blocks) + len(document.page_starts) + len(document.locations)
    return _SIZE_OF_EVENT + len(document.text) + len(event.places) + metadata + _SIZE_OF_PART * parts
