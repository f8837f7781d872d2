"""What was computed from passages read before, kept for the next question: keys and values, candidates."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol


class Part(Protocol):
    """What can be kept: anything that knows how much memory it takes, such as a tensor."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes, in bytes."""
        ...


class PrefixCache:
    """Keeps at most `max_bytes` of parts and drops the least recently used ones. Safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        """Number of lookups that found their part."""
        self.misses = 0
        """Number of lookups that did not."""
        self._parts: OrderedDict[Hashable, Part] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Memory that the kept parts take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, key: Hashable) -> bool:
        """Whether a part is kept under a key; looking does not count as use."""
        return key in self._parts

    def get(self, key: Hashable) -> Any:
        """The part kept under a key, else None. It is never written to again, so that it can be read at any time."""
        with self._lock:
            part = self._parts.get(key)
            if part is None:
                self.misses += 1
            else:
                self.hits += 1
                self._parts.move_to_end(key)
            return part

    def put(self, key: Hashable, part: Part) -> None:
        """Keep a part, unless it is larger than the whole cache."""
        if not self.max_bytes:
            return
        with self._lock:
            before = self._parts.pop(key, None)
            if before is not None:
                self._bytes -= before.nbytes
            if part.nbytes > self.max_bytes:
                return
            self._parts[key] = part
            self._bytes += part.nbytes
            while self._bytes > self.max_bytes:
                self._bytes -= self._parts.popitem(last=False)[1].nbytes
