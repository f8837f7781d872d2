"""What was computed of passages read before, kept for the next question about them: keys and values, candidates."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol


class Part(Protocol):
    """What can be kept: anything that knows how much memory it takes, a tensor among others."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        ...


class PrefixCache:
    """The least recently used go when they take more than `max_bytes` together. May be used by several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        """Times that something asked for was there."""
        self.misses = 0
        self._parts: OrderedDict[Hashable, Part] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Memory that the kept values take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: Hashable) -> bool:
        """Whether something is kept under a name; looking does not count as use."""
        return name in self._parts

    def get(self, name: Hashable) -> Any:
        """What was kept under a name, None if nothing: never written to again, so that it can be read at any time."""
        with self._lock:
            found = self._parts.get(name)
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
                self._parts.move_to_end(name)
            return found

    def put(self, name: Hashable, part: Part) -> None:
        """Keep a part; one that is larger than the whole cache is not kept."""
        if not self.max_bytes:
            return
        with self._lock:
            before = self._parts.pop(name, None)
            if before is not None:
                self._bytes -= before.nbytes
            if part.nbytes > self.max_bytes:
                return
            self._parts[name] = part
            self._bytes += part.nbytes
            while self._bytes > self.max_bytes:
                self._bytes -= self._parts.popitem(last=False)[1].nbytes
