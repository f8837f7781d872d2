"""Counts and times for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_ft.answering.forward.prefix_cache import PrefixCache
from rag_ft.schema import Answer


class Metrics:
    """Measurements of one server, in a registry of its own."""

    def __init__(self, waiting: Callable[[], int], passages: Callable[[], int], kept: PrefixCache) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "rag_ft_requests", "Requests by route and status.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "rag_ft_request_seconds",
            "Seconds per request, including waiting.",
            ["route"],
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128),
            registry=self._registry,
        )
        self._batch = Histogram(
            "rag_ft_batch_questions",
            "Questions per batch.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self._model = Counter("rag_ft_model_seconds", "Seconds spent answering batches.", registry=self._registry)
        self._answers = Counter(
            "rag_ft_answers", "Answers by outcome and adapter.", ["outcome", "adapter"], registry=self._registry
        )
        self._tokens = Counter("rag_ft_tokens", "Tokens by kind.", ["kind"], registry=self._registry)
        Gauge("rag_ft_queue_questions", "Questions in the queue.", registry=self._registry).set_function(waiting)
        Gauge("rag_ft_index_passages", "Passages in the index.", registry=self._registry).set_function(passages)
        self._registry.register(_KeptPassages(kept))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is a template, so that ids and garbage create no new series."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, questions: int, seconds: float) -> None:
        """Count a batch."""
        self._batch.observe(questions)
        self._model.inc(seconds)

    def answer(self, answer: Answer, adapter: str) -> None:
        """Count an answer."""
        outcome = "incomplete" if not answer.complete else "abstained" if answer.abstained else "answered"
        self._answers.labels(outcome, adapter).inc()
        self._tokens.labels("prompt").inc(answer.usage.prompt_tokens)
        self._tokens.labels("completion").inc(answer.usage.completion_tokens)

    def text(self) -> bytes:
        """All measurements in Prometheus' text format."""
        return generate_latest(self._registry)


class _KeptPassages(Collector):
    """Measurements of the cache of passages already read, which does its own counting."""

    def __init__(self, kept: PrefixCache) -> None:
        self._kept = kept

    def collect(self) -> Iterator[Metric]:
        """Size of the cache, and its hits and misses."""
        size = GaugeMetricFamily("rag_ft_passage_cache_bytes", "Memory of the cache of passages already read.")
        size.add_metric([], self._kept.bytes)
        yield size
        lookups = CounterMetricFamily(
            "rag_ft_passage_cache_lookups", "Lookups in the cache of passages already read.", labels=["outcome"]
        )
        lookups.add_metric(["hit"], self._kept.hits)
        lookups.add_metric(["miss"], self._kept.misses)
        yield lookups


class Measured:
    """Middleware that counts and times every request, including refused ones."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 499  # kept if nothing was replied: the client had disconnected

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.request(route, status, time.perf_counter() - started)
