"""Files read ahead of whoever takes their documents: by one reader or several, in threads, given back in order.

Embedding computes in this process while files are parsed in others, so that neither waits for the other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from rag_ft.environment import usable_cores
from rag_ft.indexing.sources.events import CorpusEvent, ReadDocument
from rag_ft.indexing.sources.reader import CorpusFile, FileReader
from rag_ft.indexing.sources.remote import RemoteFile

FILES_AHEAD = 256
"""Files that may be listed and read before the first of them is taken."""
_BYTES_AHEAD = 64_000_000
"""Characters of documents, and bytes of their places, that may be read and not dealt with."""
_MOST_READERS = 4
"""Each holds a process with its libraries, 50 MB and more."""
_WAIT_FOR_READER_SECONDS = 1.0
"""A further reader is started when documents were waited for so long in all: its start takes half a second."""


@dataclass(eq=False)
class _Reading:
    """A file that is read, or is to be: what it gave and nobody has taken."""

    file: CorpusFile
    events: list[CorpusEvent] = field(default_factory=list)
    size: int = 0
    """Of these events, as `_BYTES_AHEAD` counts."""
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
    """Readers that read files in the order in which they were started. Use it as a context, which ends them.

    `most`: readers at once; by default four, or as many as there are cores.
    """

    def __init__(self, new_reader: Callable[[], FileReader], *, most: int | None = None) -> None:
        self._new_reader = new_reader
        self._most = most or min(_MOST_READERS, usable_cores())
        self._changed = threading.Condition()
        self._queue: deque[_Reading] = deque()
        self._size = 0
        self._waited_seconds = 0.0
        self._stopped = False
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
            thread.join()

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
        since = time.monotonic()
        self._changed.wait(max(_WAIT_FOR_READER_SECONDS - self._waited_seconds, 0.0))
        self._waited_seconds += time.monotonic() - since
        if self._waited_seconds >= _WAIT_FOR_READER_SECONDS:
            self._waited_seconds = 0.0
            if self._queue and len(self._threads) < self._most:
                self._add_reader()

    def _add_reader(self) -> None:
        thread = threading.Thread(target=self._read, name="rag-ft-read-ahead", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read(self) -> None:
        with self._new_reader() as reader:
            with self._changed:
                self._readers.append(reader)
            while (reading := self._next()) is not None:
                try:
                    for event in reader.events(reading.file):
                        if not self._give(reading, event):
                            return
                except BaseException as error:
                    reading.error = error
                finally:
                    with self._changed:
                        reading.ended = True
                        self._changed.notify_all()

    def _next(self) -> _Reading | None:
        """The next file to read, as soon as there is one; None once all is stopped."""
        with self._changed:
            while not self._queue and not self._stopped:
                self._changed.wait()
            return None if self._stopped else self._queue.popleft()

    def _give(self, reading: _Reading, event: CorpusEvent) -> bool:
        """Add what a file gave, as soon as there is room; False once all is stopped."""
        size = len(event.document.text) + len(event.places) if isinstance(event, ReadDocument) else 0
        # A fetched file is deleted when reading goes on, and whoever takes the document may want it until then.
        held = isinstance(reading.file, RemoteFile) and isinstance(event, ReadDocument) and event.original is not None
        with self._changed:
            while not (self._stopped or self._size < _BYTES_AHEAD or reading.lacks_events):
                self._changed.wait()
            reading.events.append(event)
            reading.size += size
            self._size += size
            self._changed.notify_all()
            while held and not self._stopped and not reading.lacks_events:
                self._changed.wait()
            return not self._stopped
