"""Routes that ask and search."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rag_ft.schema import Answer, Hit
from rag_ft.serving.http.rights import identity_of
from rag_ft.serving.messages import ERROR_REPLIES, AskRequest, SearchReply, SearchRequest
from rag_ft.serving.routes.streams import EventStream, answer_events, client_of, start_task, until_disconnected
from rag_ft.serving.server import Server


def add_questions(app: FastAPI, server: Server) -> None:
    """Add the routes that ask and search."""

    @app.post("/v1/ask", response_model=Answer, responses=ERROR_REPLIES)
    async def ask(request: Request, body: AskRequest) -> Any:
        """Answer a question, with the quote that the answer rests on, or null."""
        question = server.ask(body, identity_of(request))
        if body.stream:
            passages: asyncio.Queue[Sequence[Hit]] = asyncio.Queue()
            task = await start_task(server.answer(question, client_of(request), passages.put_nowait))
            return EventStream(answer_events(task, passages), task)
        answer = await until_disconnected(request, server.answer(question, client_of(request)))
        return Response(answer.model_dump_json(), media_type="application/json")

    @app.post("/v1/search", response_model=SearchReply, responses=ERROR_REPLIES)
    async def search(request: Request, body: SearchRequest) -> SearchReply:
        """Find the passages for a question, best first, without asking the reader."""
        server.check_question(body.query, "query")
        k, audience = server.passage_count(body.k), identity_of(request).audience

        def retrieve() -> SearchReply:
            server.engine.refresh()
            index = server.engine.view(audience)  # hits and fingerprint come from one state
            retriever = index.as_retriever(k=k, where=body.where, **server.engine.reader.reranking)
            hits = retriever.retrieve(body.query.strip())
            return SearchReply(hits=hits, index=index.fingerprint, incomplete=hits.incomplete)

        return await until_disconnected(request, server.run_blocking(retrieve))
