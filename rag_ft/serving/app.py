"""The HTTP application: routes, and nothing that decides what an answer is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

import rag_ft
from rag_ft.answering.reader import Reader
from rag_ft.errors import QueueFullError, RagFtError, UsageError
from rag_ft.indexing.index import Index
from rag_ft.serving import openai
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.engine import REFRESH_INTERVAL_S, Engine
from rag_ft.serving.http.metrics import Measured
from rag_ft.serving.http.openapi import describe
from rag_ft.serving.http.rights import Authenticator, needed_right
from rag_ft.serving.http.security import UPLOAD_PATH, Guard, error_body
from rag_ft.serving.messages import Problem, problem_of
from rag_ft.serving.routes.chat import add_chat
from rag_ft.serving.routes.documents import add_documents
from rag_ft.serving.routes.feedback import add_feedback_route
from rag_ft.serving.routes.originals import add_originals
from rag_ft.serving.routes.page import add_page
from rag_ft.serving.routes.questions import add_questions
from rag_ft.serving.routes.review import add_review
from rag_ft.serving.routes.status import add_status
from rag_ft.serving.server import Server
from rag_ft.serving.watching import FolderWatch

_GRACE_S = 5.0
"""Seconds to wait at the end for index changes in progress."""


def create_app(index: Index, reader: Reader, config: ServeConfig | None = None) -> FastAPI:
    """The application, ready for any ASGI server: the page at `/`, the API under `/v1`.

    `app.state.server` holds the queue and the index in use. Raises UsageError where an adapter has the name that stands
    for the one that the server starts with, or where `index` is only a part (`Index.visible_to`). Raises also
    CorpusError where `config.watch` cannot be watched, and DatasetError where `config.review` cannot be read.
    """
    config = config or ServeConfig()
    if openai.DEFAULT_MODEL in reader.adapters and reader.adapter != openai.DEFAULT_MODEL:
        raise UsageError(
            f"the name {openai.DEFAULT_MODEL!r} is reserved for the adapter that the server starts with: give this one"
            " another name"
        )
    server = Server(Engine(index, reader), config)
    watch = None
    if config.watch is not None:
        watch = FolderWatch(
            server.engine, config.watch, poll=config.poll, run=lambda build: server.changes.submit(build).result()
        )
    authenticator = Authenticator(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.batcher.start()
        if config.takes_changes:
            server.changes.submit(server.engine.sweep)
        refreshing = asyncio.create_task(_keep_refreshing(server))
        if watch is not None:
            watch.start()
        yield
        refreshing.cancel()
        if watch is not None:
            await asyncio.to_thread(watch.stop)
        await server.batcher.close()
        # Requests have been waited for already. A change that is still writing leaves the old index intact if it is
        # killed.
        server.changes.shutdown(cancel_futures=True, seconds=_GRACE_S)
        server.feedback.shutdown(seconds=_GRACE_S)  # each takes milliseconds
        server.reviews.shutdown(seconds=_GRACE_S)
        server.pages.shutdown(cancel_futures=True, seconds=_GRACE_S)
        server.searches.shutdown(cancel_futures=True, seconds=_GRACE_S)

    app = FastAPI(
        title="rag_ft",
        version=rag_ft.__version__,
        description="Answers from a team's own documents, each with the quote that it rests on.",
        lifespan=lifespan,
        docs_url=None,  # that page loads scripts from other sites
        redoc_url=None,
    )
    app.state.server = server
    _add_errors(app)
    add_questions(app, server)
    add_feedback_route(app, server)
    add_review(app, server)
    add_chat(app, server)
    add_documents(app, server)
    add_status(app, server)
    add_originals(app, server, authenticator)
    add_page(app, config, authenticator)
    describe(app, token=config.needs_token)
    app.add_middleware(
        Guard, config=config, authenticator=authenticator, needed=lambda scope: needed_right(app.routes, scope)
    )
    app.add_middleware(Measured, metrics=server.metrics)  # added last, so outermost
    return app


async def _keep_refreshing(server: Server) -> None:
    """Load other processes' changes to the index, also while nobody asks a question."""
    while True:
        await asyncio.sleep(REFRESH_INTERVAL_S)
        with contextlib.suppress(QueueFullError):
            await server.run_blocking(server.engine.refresh)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> JSONResponse:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RagFtError)
    @app.exception_handler(OSError)
    async def on_known_error(request: Request, error: Exception) -> JSONResponse:
        return await on_problem(request, problem_of(error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.url.path != UPLOAD_PATH and first["loc"] == ("body",) and kind != "application/json":
            message = "send the body as JSON, with 'Content-Type: application/json'"
            return JSONResponse({"error": error_body(415, message)}, 415)
        if first["type"] == "json_invalid":
            return JSONResponse({"error": error_body(400, "the body is not valid JSON")}, 400)
        where = ".".join(str(step) for step in first["loc"] if step != "body")[:80]
        message = f"{where or 'the body'}: {first['msg'].removeprefix('Value error, ')[:200]}"
        if request.url.path == UPLOAD_PATH and where == "file":
            message = "send a multipart form with one field 'file' that has a file name"
        return JSONResponse({"error": error_body(422, message, where or None)}, 422)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:  # the framework names the methods of only one route at this path
            headers["allow"] = ", ".join(_methods(app, request.url.path))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
        if isinstance(error.__cause__, OSError):  # a large file is put on disk while its form is read
            return await on_known_error(request, error.__cause__)
        return JSONResponse({"error": error_body(error.status_code, str(error.detail))}, error.status_code, headers)


def _methods(app: FastAPI, path: str) -> list[str]:
    """Methods that a path accepts."""
    methods = {
        method for route in app.routes if _matches(route, path) for method in getattr(route, "methods", None) or ()
    }
    return sorted({*methods, "OPTIONS"})


def _matches(route: Any, path: str) -> bool:
    pattern = getattr(route, "path_regex", None)
    return pattern is not None and pattern.match(path) is not None
