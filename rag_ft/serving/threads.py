"""Threads that end with their work, so that only the reader's thread keeps a pool of compute threads.

OpenMP gives each thread that computes in parallel its own pool, for as long as that thread lives. GNU's runtime, which
PyTorch's Linux wheels use, lets the threads of a pool sleep between two products as soon as all pools together have
more threads than there are processors (libgomp's env.c, `gomp_throttled_spin_count_var`). On two cores a second pool
makes reading a third slower for the rest of the process, whether that pool is used again or not.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class EndingThreadExecutor(Executor):
    """Runs one call at a time, in the order given, each in a thread of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._state = threading.Condition()
        self._busy = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """Number of calls that have not started."""
        return len(self._waiting)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._state:
            if self._closed:
                raise RuntimeError(f"{self._name} accepts no more calls")
            self._waiting.append((future, lambda: fn(*args, **kwargs)))
            if not self._busy:
                self._busy = True
                self._start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, seconds: float | None = None) -> None:
        """Accept no more calls, then wait (`seconds` at most) for those given, or cancel those not started."""
        with self._state:
            self._closed = True
            while cancel_futures and self._waiting:
                self._waiting.popleft()[0].cancel()
            if wait:
                self._state.wait_for(lambda: not self._busy, seconds)

    def _start(self) -> None:
        future, call = self._waiting.popleft()
        threading.Thread(target=self._run, args=(future, call), name=self._name, daemon=True).start()

    def _run(self, future: Future[Any], call: Callable[[], Any]) -> None:
        try:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
                    # The error's traceback holds this frame: with the future in it, both, and whatever the call held
                    # (an index), would stay until the next garbage collection.
                    del future
        finally:
            with self._state:
                if self._waiting:
                    self._start()
                else:
                    self._busy = False
                    self._state.notify_all()


def in_ending_thread(call: Callable[[], T]) -> T:
    """The result of a call, run in a thread that ends with it; for loading models before the threads that use them."""
    executor = EndingThreadExecutor("rag-ft-loading")
    try:
        return executor.submit(call).result()
    finally:
        executor.shutdown(wait=False)  # also after Ctrl-C
