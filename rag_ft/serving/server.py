"""The state behind the routes: engine, queue, threads, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rag_ft.errors import QueueFullError
from rag_ft.indexing.index import Index
from rag_ft.indexing.query import checked_history
from rag_ft.models.weights import NO_ADAPTER
from rag_ft.schema import Answer, Hit
from rag_ft.serving import openai
from rag_ft.serving.batching import Ask, Batcher
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.engine import Engine
from rag_ft.serving.http.metrics import Metrics
from rag_ft.serving.http.tokens import Identity
from rag_ft.serving.messages import AskRequest, Problem
from rag_ft.serving.threads import EndingThreadExecutor, in_ending_thread

T = TypeVar("T")


class Server:
    """What the routes share."""

    def __init__(self, engine: Engine, config: ServeConfig) -> None:
        self.engine = engine
        self.config = config
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: len(engine.index), engine.reader.passage_cache)
        self.batcher = Batcher(
            engine.answer,
            queue=config.queue,
            batch=config.batch,
            deadline_seconds=config.deadline_seconds,
            side=in_ending_thread(lambda: engine.reader.side_threads),  # may try the model
            on_batch=self.metrics.batch,
        )
        # One after another: a parser may take a gigabyte, and the index has one writer.
        self.changes = EndingThreadExecutor("rag-ft-changes")
        # Not among the changes: who gives feedback does not wait for an upload.
        self.feedback = EndingThreadExecutor("rag-ft-feedback")
        # One after another, too: each verdict is a line of a file.
        self.reviews = EndingThreadExecutor("rag-ft-review")
        self.pages = EndingThreadExecutor("rag-ft-pages")
        self.searches = EndingThreadExecutor("rag-ft-search")

    async def view(self, identity: Identity) -> Index:
        """The current index, as far as this identity may see it. Raises QueueFullError."""
        if self.engine.stale:  # documents hidden by another process since must not be listed
            await self.run_blocking(self.engine.refresh)
        return self.engine.view(identity.audience)

    def run_blocking(self, call: Callable[[], T]) -> Awaitable[T]:
        """Run a short call that changes nothing in a thread, off the event loop. Raises QueueFullError."""
        if self.searches.waiting >= self.config.queue:
            raise QueueFullError(self.searches.waiting, 1)
        return asyncio.get_running_loop().run_in_executor(self.searches, call)

    def models(self) -> list[str]:
        """Adapter names that a request may give."""
        return [*self.engine.reader.adapters, NO_ADAPTER]

    def adapter(self, name: str | None) -> str:
        """The adapter that a request names; None: the one that the server started with. Raises Problem."""
        if name is None or name == openai.DEFAULT_MODEL:
            return self.engine.reader.adapter
        if name not in self.models():
            raise Problem(404, f"there is no adapter {name[:80]!r}: use one of {', '.join(self.models())}", "adapter")
        return name

    def ask(self, request: AskRequest, identity: Identity) -> Ask:
        """A request's question with the defaults filled in. Raises Problem."""
        self.check_question(request.question)
        return Ask(
            request.question.strip(),
            self.passage_count(request.k),
            self.adapter(request.adapter),
            request.threshold,
            request.where,
            identity.audience,
            checked_history(request.history),
        )

    def check_question(self, question: str, field: str = "question") -> None:
        """Raise Problem for a question that is too long or empty; `field`: its name in the request."""
        if len(question) > self.config.max_question_chars:
            raise Problem(
                413,
                f"the {field} has {len(question):,} characters, more than the {self.config.max_question_chars:,}"
                " allowed: shorten it",
                field,
            )
        if not question.strip():
            raise Problem(422, f"the {field} is empty", field)

    def passage_count(self, k: int | None) -> int:
        """Number of passages to read. Raises Problem."""
        if k is not None and k > self.config.max_k:
            raise Problem(422, f"k is {k}, more than the {self.config.max_k} allowed", "k")
        return self.config.k if k is None else k

    async def answer(self, ask: Ask, client: str, on_passages: Callable[[Sequence[Hit]], None] | None = None) -> Answer:
        """The answer to a question, counted in the metrics."""
        answer = await self.batcher.answer(ask, client, on_passages)
        self.metrics.answer(answer, ask.adapter or NO_ADAPTER)
        return answer
