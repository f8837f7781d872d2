"""Blocks answered by the workers of a Ray cluster, each with a reader of its own.

A worker has one block at a time. The process that runs `answer_questions` hands out blocks, and keeps what comes back:
a block whose worker died goes to another one, and nothing else is read again.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from pydantic import JsonValue

from rag_ft.answering.bulk.blocks import answer_block, identity_of, question_range
from rag_ft.answering.bulk.questions import Block
from rag_ft.answering.pipeline import Pipeline
from rag_ft.cluster import Cluster
from rag_ft.errors import EngineError, RagFtError, first_line

logger = logging.getLogger(__name__)

MOST_DEATHS = 3
"""Workers that may die over the same block, after which the block is to blame."""
START_S = 600.0
"""Seconds in which the first of the workers that are starting must be ready; loading a model takes some."""


class _Worker:
    """What runs on the cluster: a pipeline, loaded when it is first needed."""

    def __init__(self, load: Callable[[], Pipeline]) -> None:
        self._load = load
        self._pipeline: Pipeline | None = None

    def identity(self) -> dict[str, JsonValue]:
        """Load the pipeline; everything that decides its answers."""
        if self._pipeline is None:
            self._pipeline = self._load()
        return identity_of(self._pipeline)

    def answer(self, block: Block) -> str:
        """The lines of a block."""
        if self._pipeline is None:
            self._pipeline = self._load()
        return answer_block(self._pipeline, block)


class RayEngine:
    """A `BlockEngine` on a Ray cluster; use it as a context, which ends its workers.

    `load` makes the pipeline on each worker: a function at the top level of a module that the cluster's machines have,
    or `functools.partial` of one, with paths that they all see. `address`: host:port of a running cluster, or `auto`;
    None: the one in RAY_ADDRESS, else a cluster of this machine's processors, which ends with the context. `workers`:
    None stands for as many as the cluster has room for; they start when they are first needed. Raises
    MissingExtraError, UsageError, EngineError.
    """

    def __init__(
        self,
        load: Callable[[], Pipeline],
        *,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
    ) -> None:
        """`cpus`, `gpus`: what each worker needs of the cluster."""
        self._cluster = Cluster("answering on a Ray cluster", address, workers, cpus=cpus, gpus=gpus)
        self._load = load
        self._ray: Any = None
        self._identity: dict[str, JsonValue] | None = None
        self._starting: dict[Any, Any] = {}
        """Workers that are being loaded, by the reference of their identity."""
        self._idle: list[Any] = []
        self._workers: list[Any] = []
        """All that were started."""
        self._failed_starts = 0

    def __enter__(self) -> RayEngine:
        return self

    def _start(self) -> None:
        """Connect to the cluster, and start the workers."""
        self._cluster.connect()
        self._ray = self._cluster.ray
        try:
            for _ in range(self._cluster.room()):
                self._start_worker()
        except BaseException:
            self._disconnect()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect()

    def identity(self) -> Mapping[str, JsonValue]:
        """The fingerprints of index and pipeline, from the first worker that is ready.

        Connects to the cluster if that was not yet done: by then, `answer_questions` has looked through the questions.
        """
        if not self._workers:
            self._start()
        while self._identity is None:
            self._wait([])
        return self._identity

    def answer(self, blocks: Iterable[Block]) -> Iterator[tuple[int, str]]:
        """The lines of each block, as the workers finish them."""
        waiting, again = iter(blocks), deque[Block]()
        running: dict[Any, tuple[Any, Block]] = {}
        deaths: dict[int, int] = {}
        following = next(waiting, None)
        while following is not None or running:
            while following is not None and self._idle:
                worker = self._idle.pop()
                running[worker.answer.remote(following)] = (worker, following)
                following = again.popleft() if again else next(waiting, None)
            for reference in self._wait(list(running)):
                worker, block = running.pop(reference)
                try:
                    lines = self._result(reference)
                except _WorkerDied as death:
                    deaths[block.number] = deaths.get(block.number, 0) + 1
                    if deaths[block.number] == MOST_DEATHS:
                        raise EngineError(
                            f"{MOST_DEATHS} workers died over the questions {question_range(block.questions)}"
                            f" ({death}): give workers more memory or make blocks smaller, then run the same command"
                            " again, which resumes"
                        ) from death
                    logger.warning("a worker died (%s): its block goes to another one", death)
                    again.append(block)
                    self._start_worker()
                else:
                    self._idle.append(worker)
                    yield block.number, lines
            if following is None and again:
                following = again.popleft()

    def _wait(self, running: list[Any]) -> list[Any]:
        """References of finished blocks, perhaps none; workers that are ready become idle."""
        waited = [*running, *self._starting]
        timeout = None if running else START_S
        ready, _ = self._ray.wait(waited, num_returns=1, timeout=timeout)
        if not ready:
            raise EngineError(
                f"no worker of the Ray cluster was ready within {START_S:.0f} s: see 'ray status' for what is missing"
            )
        for reference in ready:
            worker = self._starting.pop(reference, None)
            if worker is not None:
                self._welcome(worker, reference)
        return [reference for reference in ready if reference in running]

    def _welcome(self, worker: Any, reference: Any) -> None:
        """Make a worker that has loaded index and reader idle; one that died over it is replaced, a few times."""
        try:
            identity = self._result(reference)
        except _WorkerDied as death:
            self._failed_starts += 1
            if self._failed_starts == MOST_DEATHS:
                raise EngineError(
                    f"{MOST_DEATHS} workers died while they loaded index and reader ({death}): give workers more"
                    " memory, then run the same command again, which resumes"
                ) from death
            self._start_worker()
            return
        self._failed_starts = 0
        if self._identity is not None and identity != self._identity:
            raise EngineError(
                "the workers have different indexes or readers: give paths that all machines of the cluster see, with"
                " the same files"
            )
        self._identity = identity
        self._idle.append(worker)

    def _result(self, reference: Any) -> Any:
        """What a call on a worker gave. Raises what it raised, _WorkerDied."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, RagFtError):
                raise error.cause from None
            cause = error.cause or error
            raise EngineError(
                f"a worker failed ({type(cause).__name__}: {first_line(cause)}): see its log on the cluster"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise _WorkerDied(type(error).__name__) from error

    def _start_worker(self) -> None:
        needs = {"num_cpus": self._cluster.cpus, "num_gpus": self._cluster.gpus}
        worker = self._ray.remote(**needs, max_restarts=0)(_Worker).remote(self._load)
        self._workers.append(worker)
        self._starting[worker.identity.remote()] = worker

    def _disconnect(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has no workers to end
            for worker in self._workers:
                self._ray.kill(worker)
        self._workers, self._idle, self._starting = [], [], {}
        self._cluster.disconnect()


class _WorkerDied(Exception):
    """A worker's process has ended in the middle of a call."""
