"""Server-sent events about a task that is cancelled when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from rag_ft.schema import Answer, Hit
from rag_ft.serving.http.rights import identity_of
from rag_ft.serving.messages import Problem, problem_of

T = TypeVar("T")

KEEPALIVE_S = 10.0
"""Seconds between two comments in a stream with nothing else to send, so that no proxy takes it for dead."""


def client_of(request: Request) -> str:
    """Name of the client, by which the queue takes turns: the personal token, else the machine's address."""
    identity = identity_of(request)
    if identity.name:
        return f"token {identity.name}"
    return request.client.host if request.client is not None else ""


async def until_disconnected(request: Request, work: Awaitable[T]) -> T:
    """The result of work that is cancelled if the client disconnects; then raises Problem, which nobody will read."""
    task = asyncio.ensure_future(work)

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.ensure_future(disconnected())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Problem(499, "the client has disconnected")
        return task.result()
    finally:
        watch.cancel()
        task.cancel()
        del task  # it holds an error whose traceback holds this frame


async def start_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A started task for a stream to report on. Raises what the work fails with at once, while a status can be sent."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)  # after this it is in the queue, or was refused
    if task.done():
        task.result()
    return task


class EventStream(StreamingResponse):
    """Server-sent events about a task, which is cancelled when the client disconnects."""

    def __init__(self, events: AsyncIterator[bytes], task: asyncio.Task[Any]) -> None:
        # A proxy must not hold the events back.
        super().__init__(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._task = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._task.cancel()


async def answer_events(task: asyncio.Task[Answer], passages: asyncio.Queue[Sequence[Hit]]) -> AsyncIterator[bytes]:
    """Events `passages`, then `answer` or `error`, with keep-alive comments in between."""
    waiting: asyncio.Future[Sequence[Hit]] | None = None
    try:
        sent = False
        while not task.done():
            waiting = asyncio.ensure_future(passages.get())
            await asyncio.wait({task, waiting}, timeout=KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                sent = True
                yield _passages_event(waiting.result())
            else:
                waiting.cancel()
                if not task.done():
                    yield format_sse_event(comment="alive")
        if not sent and not passages.empty():
            yield _passages_event(passages.get_nowait())
        try:
            yield format_sse_event(event="answer", data_str=task.result().model_dump_json())
        except Exception as error:
            yield format_sse_event(event="error", data_str=json_text(problem_of(error).body))
    finally:
        if waiting is not None:
            waiting.cancel()


def _passages_event(hits: Sequence[Hit]) -> bytes:
    return format_sse_event(event="passages", data_str="[" + ",".join(hit.model_dump_json() for hit in hits) + "]")


def json_text(value: Any) -> str:
    """A value as JSON, written as in the routes' replies."""
    return JSONResponse(value).body.decode()  # type: ignore[union-attr]
