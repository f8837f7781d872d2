"""Calls to many shards at once, each with a time limit."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)

_IDLE_S = 10.0
"""Seconds after which a thread without work ends."""


class Outcome(NamedTuple, Generic[Key, T]):
    """What came of the calls."""

    results: dict[Key, T]
    errors: dict[Key, Exception]
    """TimeoutError for a call that took too long, or would have to wait for one that does."""


class Crew:
    """Threads that are started as they are needed, end when idle, and never keep the process from ending.

    A call that takes too long is left to its thread. Until that ends, no other call for the same key is started: a
    shard on a disk that hangs costs the threads of the questions that first met it and no more.
    """

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._idle = 0
        """Threads that wait for work, less tasks that wait for a thread."""
        self._late: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def call(self, calls: Mapping[Key, Callable[[], T]], limit_s: float) -> Outcome[Key, T]:
        """Make all calls at once, and wait for each until the limit is over."""
        outcome: Outcome[Key, T] = Outcome({}, {})
        futures: dict[Key, Future[T]] = {}
        for key, call in calls.items():
            if self._is_late(key):
                outcome.errors[key] = TimeoutError("it is still busy with an earlier call")
            else:
                futures[key] = self._submit(call)
        end = time.monotonic() + limit_s
        for key, future in futures.items():
            try:
                outcome.results[key] = future.result(max(0.0, end - time.monotonic()))
            except (FutureTimeoutError, TimeoutError) as error:  # two kinds before Python 3.11
                if future.done():  # an error of the call itself
                    outcome.errors[key] = error
                else:
                    outcome.errors[key] = TimeoutError(f"it took more than {limit_s:g} s")
                    with self._lock:
                        self._late[key] = future
            except Exception as error:
                outcome.errors[key] = error
        return outcome

    def _is_late(self, key: Hashable) -> bool:
        with self._lock:
            future = self._late.get(key)
            if future is not None and future.done():
                del self._late[key]
                return False
            return future is not None

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._lock:
            waiting = self._idle > 0
            self._idle -= waiting
            self._tasks.put((future, call))
        if not waiting:
            threading.Thread(target=self._work, name="rag-ft-shard", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            try:
                future, call = self._tasks.get(timeout=_IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._idle > 0:
                        self._idle -= 1
                        return
                continue  # a task is on its way to this thread
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
            with self._lock:
                self._idle += 1
            del future, call
