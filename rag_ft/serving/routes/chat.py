"""Routes of the OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.sse import format_sse_event

from rag_ft.schema import Answer
from rag_ft.serving import openai
from rag_ft.serving.batching import Ask
from rag_ft.serving.http.rights import identity_of
from rag_ft.serving.messages import ERROR_REPLIES, Problem, problem_of
from rag_ft.serving.routes.streams import KEEPALIVE_S, EventStream, client_of, json_text, start_task, until_disconnected
from rag_ft.serving.server import Server


def add_chat(app: FastAPI, server: Server) -> None:
    """Add the OpenAI-compatible routes."""

    def entry(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "rag_ft"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The adapters, as OpenAI lists models; `rag-ft` is the adapter that the server started with."""
        return {"object": "list", "data": [entry(name) for name in (openai.DEFAULT_MODEL, *server.models())]}

    @app.get("/v1/models/{name:path}", responses=ERROR_REPLIES)
    async def model(name: str) -> dict[str, Any]:
        """An adapter, as OpenAI shows a model."""
        if name not in (openai.DEFAULT_MODEL, *server.models()):
            raise Problem(404, f"there is no model {name[:80]!r}: GET /v1/models lists them", "model")
        return entry(name)

    @app.post("/v1/chat/completions", responses=ERROR_REPLIES)
    async def chat(request: Request, body: openai.ChatRequest) -> Any:
        """OpenAI's chat completions: the documents answer the last user message, a follow-up of those before it."""
        body.check()
        prompt = body.prompt
        question = body.question if prompt is None else prompt.question
        server.check_question(question, "messages")
        if body.model not in (openai.DEFAULT_MODEL, *server.models()):
            raise Problem(404, f"there is no model {body.model[:80]!r}: GET /v1/models lists them", "model")
        audience = identity_of(request).audience
        if prompt is None:
            ask = Ask(question, server.config.k, server.adapter(body.model), audience=audience, history=body.history)
        else:
            count = server.passage_count(len(prompt.passages))
            ask = Ask(question, count, server.adapter(body.model), passages=prompt.passages)
        name, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

        async def answered() -> tuple[Answer, str]:
            answer = await server.answer(ask, client_of(request))
            content = openai.content_of if prompt is None else openai.completion_content
            return answer, content(answer, body.response_format)

        if not body.stream:
            answer, content = await until_disconnected(request, answered())
            return JSONResponse(openai.completion_of(answer, content, name=name, model=body.model, created=created))
        task = await start_task(answered())
        with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)

        async def events() -> AsyncIterator[bytes]:
            try:
                while not task.done():
                    await asyncio.wait({task}, timeout=KEEPALIVE_S)
                    if not task.done():
                        yield format_sse_event(comment="alive")
                answer, content = task.result()
                for chunk in openai.chunks_of(
                    answer, content, name=name, model=body.model, created=created, with_usage=with_usage
                ):
                    yield format_sse_event(data_str=json_text(chunk))
            except Exception as error:
                yield format_sse_event(data_str=json_text(problem_of(error).body))
            yield format_sse_event(data_str="[DONE]")

        return EventStream(events(), task)
