"""Questions that arrive together are answered together: a bounded queue in front of the one model.

A question that arrives alone gets all processors. Several are divided into a few batches that are read side by side,
each on one processor; questions that arrive meanwhile join the next batch.

Clients take turns, so that a hundred questions from one client do not hold up a single question from another: when the
queue is full, a client with fewer questions in it takes the slot of the last question of the client with most. A
question whose client has disconnected, or whose deadline has passed, leaves the queue unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import JsonValue

from rag_ft.errors import ClosingError, DeadlineError, QueueFullError
from rag_ft.indexing.access import Audience
from rag_ft.models.cores import compute_alone
from rag_ft.schema import Answer, Hit, Passage

BATCH_PASSAGES = 48
"""Maximum passages in a batch: a question with twenty passages does not share one with seven others."""

GATHER_S = 0.03
"""Seconds that a batch waits for clients that have just been answered: they tend to ask again at once, and the first
would otherwise be read alone while the others wait."""

_SMOOTHING = 0.2
_FIRST_GUESS_S = 1.5
"""Seconds per question, before any was measured."""


@dataclass(frozen=True)
class Ask:
    """One question with everything its answer depends on."""

    question: str
    k: int
    adapter: str | None = None
    threshold: float | None = None
    where: dict[str, JsonValue] | None = None
    audience: Audience | None = None
    """Answer only from what these readers may read; None: from everything."""
    history: tuple[str, ...] = ()
    """Earlier questions of the conversation, oldest first."""
    passages: tuple[Passage, ...] | None = None
    """Read these; None: search the index."""


@dataclass(eq=False)
class _Job:
    ask: Ask
    client: str
    future: asyncio.Future[Answer]
    on_passages: Callable[[Sequence[Hit]], None] | None = None


Run = Callable[[Sequence[Ask], Callable[[int, Sequence[Hit]], None]], list[Answer | Exception]]
"""Answers a batch, in a thread. Gets the questions, and a callback for each question's position and passages as soon as
they are retrieved."""


class Batcher:
    """The queue, and the worker that empties it. Use it from one event loop, between `start` and `close`."""

    def __init__(
        self,
        run: Run,
        *,
        queue: int,
        batch: int,
        deadline_seconds: float,
        side: int = 1,
        on_batch: Callable[[int, float], None] = lambda questions, seconds: None,
    ) -> None:
        """`side`: batches that can be read side by side, each in a thread that computes on one processor; with 1 there
        is one batch at a time, which gets all processors. `on_batch` is called after each batch with its number of
        questions and its seconds.
        """
        self._run = run
        self._capacity = queue
        self._batch = batch
        self._deadline = deadline_seconds
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._count = 0
        self._arrived = asyncio.Event()
        self._together = ThreadPoolExecutor(1, "rag-ft-reader")
        self._alone = ThreadPoolExecutor(side, "rag-ft-reader-side", initializer=compute_alone)
        self._side = self._free = side
        """Batches that may be read at a time, and how many more may start now."""
        self._reading = 0
        """Questions being read by the model."""
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._seconds_each = _FIRST_GUESS_S
        self._expected = 0
        """Questions in the next batch, if every client that was just answered asks again."""
        self._expected_until = 0.0
        self._on_batch = on_batch

    @property
    def waiting(self) -> int:
        """Questions in the queue, not counting those being read."""
        return self._count

    @property
    def alive(self) -> bool:
        """Whether questions are accepted."""
        return self._task is not None and not self._task.done() and not self._closing

    def start(self) -> None:
        """Start the worker; call it inside a running event loop."""
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Answer the questions in the queue, accept no more, then stop."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._together.shutdown()
        self._alone.shutdown()

    async def answer(self, ask: Ask, client: str, on_passages: Callable[[Sequence[Hit]], None] | None = None) -> Answer:
        """The answer, once the question has had its turn. Cancelling the call frees its slot.

        Raises QueueFullError, DeadlineError, ClosingError and whatever answering raises.
        """
        if self._closing or self._task is None:
            raise ClosingError("the server is shutting down: try again later")
        if self._count >= self._capacity:
            self._make_room(client)
        job = _Job(ask, client, asyncio.get_running_loop().create_future(), on_passages)
        self._waiting.setdefault(client, deque()).append(job)
        self._count += 1
        self._arrived.set()
        try:
            return await asyncio.wait_for(job.future, self._deadline)
        except asyncio.TimeoutError:  # not the built-in one before Python 3.11
            raise DeadlineError(
                f"no answer within {self._deadline:g} s: try again when fewer questions are waiting"
            ) from None
        finally:
            self._leave(job)

    def _make_room(self, client: str) -> None:
        """Drop the newest question of the client with most, if that leaves it at least as many as `client` will have.

        Raises QueueFullError if no client has that many.
        """
        full = QueueFullError(self._count, max(1, round(self._count * self._seconds_each)))
        longest = max(self._waiting.values(), key=len)
        if len(longest) < len(self._waiting.get(client, ())) + 2:
            raise full
        last = longest.pop()
        self._count -= 1
        if not last.future.done():
            last.future.set_exception(full)

    def _leave(self, job: _Job) -> None:
        """Remove a job from the queue if it is still there."""
        line = self._waiting.get(job.client)
        if line is not None and job in line:
            line.remove(job)
            self._count -= 1
            if not line:
                del self._waiting[job.client]

    def _next(self) -> list[_Job]:
        """The next batch: one question per client in turn, up to this batch's share of all questions present."""
        chosen: list[_Job] = []
        passages = 0
        most = min(self._batch, math.ceil((self._count + self._reading) / self._side))
        while self._waiting and len(chosen) < most:
            client, line = next(iter(self._waiting.items()))
            job = line[0]
            if chosen and passages + job.ask.k > BATCH_PASSAGES:
                break
            line.popleft()
            self._count -= 1
            del self._waiting[client]
            if line:
                self._waiting[client] = line  # at the end: the others come first
            if not job.future.done():
                chosen.append(job)
                passages += job.ask.k
        return chosen

    async def _gather(self) -> None:
        """Wait briefly until the batch is as full as it is likely to get; never for a single client."""
        loop = asyncio.get_running_loop()
        while self._count < self._expected and not self._closing:
            left = self._expected_until - loop.time()
            if left <= 0:
                return
            self._arrived.clear()
            with contextlib.suppress(asyncio.TimeoutError):  # not the built-in one before Python 3.11
                await asyncio.wait_for(self._arrived.wait(), left)

    async def _work(self) -> None:
        batches: set[asyncio.Task[None]] = set()
        while True:
            if self._free:
                await self._gather()
                alone = self._count + self._reading == 1
                jobs = self._next()
                if jobs:
                    takes = self._side if alone else 1
                    self._free -= takes
                    self._reading += len(jobs)
                    task = asyncio.create_task(self._read(jobs, takes))
                    batches.add(task)
                    task.add_done_callback(batches.discard)
                    continue
                if self._closing and self._free == self._side:
                    return
            self._arrived.clear()
            await self._arrived.wait()

    async def _read(self, jobs: list[_Job], takes: int) -> None:
        """Answer a batch that counts as `takes` of those read at a time; if that is all of them, on all processors."""
        loop = asyncio.get_running_loop()

        def on_passages(position: int, hits: Sequence[Hit]) -> None:
            callback = jobs[position].on_passages
            if callback is not None:
                loop.call_soon_threadsafe(callback, hits)

        started = time.monotonic()
        thread = self._together if takes == self._side else self._alone
        try:
            outcomes = await loop.run_in_executor(thread, self._run, [job.ask for job in jobs], on_passages)
        except Exception as error:  # a failed batch must not stop the worker
            outcomes = [error] * len(jobs)
        seconds = time.monotonic() - started
        self._expected = min(self._batch, self._count + len(jobs))
        self._expected_until = loop.time() + GATHER_S
        at_a_time = (self._side - self._free) / takes
        self._seconds_each += _SMOOTHING * (seconds / len(jobs) / at_a_time - self._seconds_each)
        self._free += takes
        self._reading -= len(jobs)
        self._arrived.set()
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)
        self._on_batch(len(jobs), seconds)
