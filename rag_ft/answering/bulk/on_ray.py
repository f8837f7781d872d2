"""Blocks answered by the workers of a Ray cluster, each with a reader of its own.

A worker has one block at a time. The process that runs `answer_questions` hands out blocks, and keeps what comes back:
a block whose worker died goes to another one, and nothing else is read again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from pydantic import JsonValue

from rag_ft.answering.bulk.blocks import answer_block, identity_of, question_range
from rag_ft.answering.bulk.questions import Block
from rag_ft.answering.pipeline import Pipeline
from rag_ft.errors import EngineError, RagFtError, UsageError, first_line
from rag_ft.extras import require_extra

logger = logging.getLogger(__name__)

MOST_DEATHS = 3
"""Workers that may die over the same block, after which the block is to blame."""
CONNECT_S = 5.0
START_S = 600.0
"""Seconds in which the first of the workers that are starting must be ready; loading a model takes some."""
PROBE_S = 30.0
"""Seconds in which what listens at an address must answer as a cluster; starting to ask takes some of them."""
_AUTO = "auto"
_CLIENT = "ray://"
_AUTH_MODE = "RAY_AUTH_MODE"


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
        require_extra("ray", "answering on a Ray cluster")
        if workers is not None and workers < 1:
            raise UsageError(f"workers is {workers} but must be 1 or more")
        for name, need in (("cpus", cpus), ("gpus", gpus)):
            if not 0 <= need < math.inf:
                raise UsageError(f"{name} is {need:g} but must be 0 or more: what one worker needs of the cluster")
        self._load = load
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._wanted = workers
        self._needs = {"num_cpus": cpus, "num_gpus": gpus}
        self._ray: Any = None
        self._auth_mode: str | None = None
        self._ours = False
        """Whether the connection is this engine's, and ends with it."""
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
        self._connect()
        try:
            for _ in range(self._room()):
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
        worker = self._ray.remote(**self._needs, max_restarts=0)(_Worker).remote(self._load)
        self._workers.append(worker)
        self._starting[worker.identity.remote()] = worker

    def _room(self) -> int:
        """Number of workers to start. Raises EngineError where the cluster has no room for one."""
        has = self._ray.cluster_resources()
        rooms = [
            int(has.get(name, 0) // need)
            for name, need in (("CPU", self._needs["num_cpus"]), ("GPU", self._needs["num_gpus"]))
            if need
        ]
        room = min(rooms, default=1)
        if room < 1:
            raise EngineError(
                f"the Ray cluster has {has.get('CPU', 0):g} processors and {has.get('GPU', 0):g} GPUs, and a worker"
                f" needs {self._needs['num_cpus']:g} and {self._needs['num_gpus']:g}: add machines, or ask for less"
            )
        return room if self._wanted is None else min(room, self._wanted)

    def _connect(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self._ray = ray
        if ray.is_initialized():
            return
        if self._address is not None and self._address != _AUTO:
            _check_reachable(self._address)
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}
        if self._address is None:
            cpus = max(os.cpu_count() or 1, self._wanted or 1)
            options |= {"include_dashboard": False, "num_cpus": cpus}
        else:
            options["address"] = self._address
        self._auth_mode = os.environ.get(_AUTH_MODE)  # Ray sets it for a cluster of its own
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises ConnectionError, ValueError and RuntimeError, among others
            where = "on this machine" if self._address is None else f"at {self._address}"
            raise EngineError(f"no Ray cluster can be used {where} ({first_line(error)}): {_START}") from error
        self._ours = True

    def _disconnect(self) -> None:
        with contextlib.suppress(Exception):  # a cluster that is gone has no workers to end
            for worker in self._workers:
                self._ray.kill(worker)
        self._workers, self._idle, self._starting = [], [], {}
        if self._ours:
            self._ray.shutdown()
            self._ours = False
            if self._auth_mode is None:
                os.environ.pop(_AUTH_MODE, None)


_START = "start one with 'ray start --head', or leave the address out to use this machine"


class _WorkerDied(Exception):
    """A worker's process has ended in the middle of a call."""


def _check_reachable(address: str) -> None:
    """Raise EngineError where no cluster listens: Ray itself would try for minutes, and then end this process."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"the address {address!r} is not HOST:PORT: give the cluster's head, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise EngineError(f"no Ray cluster answers at {address} ({error.strerror or error}): {_START}") from error
    if address.startswith(_CLIENT):
        return
    probe = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run([*probe, "--skip-version-check"], capture_output=True, timeout=PROBE_S)
        status, said = done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        status, said = 1, b""
    if b"InvalidAuthToken" in said:
        raise EngineError(
            f"the Ray cluster at {address} asks for another token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to its"
            " token, as 'ray get-auth-token' prints it there"
        )
    if status:
        raise EngineError(f"what listens at {address} does not answer as a Ray cluster: give the address of its head")
