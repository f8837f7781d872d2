"""Run independent pieces of work side by side, each on one processor.

Threads that share a product wait for each other at its end, and what is too small to share is left to one of them. Two
questions that are read at the same time, each by one thread, avoid both: on two cores they take an eighth less time
than in one batch on both (`python benchmarks/reading_speed.py`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path

MOST_THREADS = 8
"""Most threads that are used: with more, a batch has too few questions to keep each of them busy."""


def run_side_by_side(work: Sequence[Callable[[], object]], threads: int) -> None:
    """Run all pieces, `threads` at a time, each in a thread that computes on one processor; the first error is raised.

    Pieces that have not started by then are cancelled. Call it only where `can_compute_alone`.
    """
    futures = [_workers(threads).submit(piece) for piece in work]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
    for future in futures:
        if not future.cancelled():
            future.result()


def even_parts(costs: Sequence[float], most: int) -> list[list[int]]:
    """Indices of pieces of work, in order, cut into at most `most` runs of about the same cost; none is empty."""
    total = sum(costs)
    parts: list[list[int]] = [[] for _ in range(most)]
    cost_before = 0.0
    for i, cost in enumerate(costs):
        parts[min(most - 1, int((cost_before + cost / 2) * most / total)) if total else 0].append(i)
        cost_before += cost
    return [part for part in parts if part]


@cache
def can_compute_alone() -> bool:
    """Whether the number of processors to compute on can be set for each thread alone.

    PyTorch has one number for the whole process (`torch.set_num_threads` also sets it for future threads), so it is set
    in OpenMP and MKL instead.
    """
    import torch

    return _openmp() is not None and (_mkl() is not None or not torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "rag-ft-side", initializer=compute_alone)


if hasattr(os, "register_at_fork"):  # a child process has none of its parent's threads
    os.register_at_fork(after_in_child=_workers.cache_clear)


def compute_alone() -> None:
    """Let this thread compute on one processor from now on."""
    import torch

    torch.get_num_threads()  # else the first product sets this thread's number to that of the process
    openmp, mkl = _openmp(), _mkl()
    if openmp is not None:
        openmp(1)
    if mkl is not None:
        mkl(1)


@cache
def _openmp() -> Callable[[int], None] | None:
    """OpenMP's function that sets how many threads the calling thread computes with, in PyTorch's own runtime."""
    return getattr(_pytorch(), "omp_set_num_threads", None)


@cache
def _mkl() -> Callable[[int], int] | None:
    """MKL's function that sets how many threads the calling thread computes with, in PyTorch's own MKL."""
    return getattr(_pytorch(), "MKL_Set_Num_Threads_Local", None)


def _pytorch() -> ctypes.CDLL | None:
    """PyTorch's library for CPUs, which also gives the functions of the libraries it was linked with; None where it has
    another name or place.
    """
    import torch

    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    return ctypes.CDLL(str(path)) if path.exists() else None
