"""The HTTP application: routes, and nothing that decides what an answer is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, File, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

import rag_ft
from rag_ft.access import groups_of
from rag_ft.errors import (
    ClosingError,
    DeadlineError,
    IndexStoreError,
    QueueFullError,
    RagFtError,
    UsageError,
    WeightsError,
)
from rag_ft.files import is_disk_full
from rag_ft.index import Index
from rag_ft.reader import Reader
from rag_ft.schema import Answer, Hit
from rag_ft.serving import openai
from rag_ft.serving.batching import Ask, Batcher
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.described import ERRORS, describe
from rag_ft.serving.engine import LOOK_AGAIN_S, Engine, Removed
from rag_ft.serving.metrics import Measured, Metrics
from rag_ft.serving.parsing import check_name, parse_upload
from rag_ft.serving.rights import Door, identity_of, needed_right, uploaded_as
from rag_ft.serving.security import REPORT_PATH, UPLOAD_PATH, Guard, error_body
from rag_ft.serving.threads import EndingThreadExecutor, in_ending_thread
from rag_ft.serving.tokens import Identity, Right
from rag_ft.weights import NO_ADAPTER

logger = logging.getLogger(__name__)

_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
"""The report brings its styles and plots inside; it runs nothing and reaches nothing."""

_ALIVE_S = 10.0
"""Between two comments in a stream that has nothing else to say, so that nobody between takes it for dead."""

_TICKET_S = 60.0

_GRACE_S = 5.0
"""That changes of the index are waited for at the end."""

T = TypeVar("T")


class AskRequest(BaseModel):
    """A question."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"question": "What does gradient checkpointing cost?", "k": 3}]},
    )

    question: Annotated[str, Field(min_length=1)]
    k: Annotated[int | None, Field(ge=1, strict=True)] = None
    """Passages to read."""
    where: dict[str, JsonValue] | None = None
    """Only documents that match: field or metadata key → value, or a list of which any will do."""
    adapter: str | None = None
    """One of `/v1/models`; left out: the one that the server started with."""
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    """The confidence under which the answer is null; 0 answers always. Left out: the adapter's own."""
    stream: bool = False
    """Server-sent events: `passages` as soon as they are found, then `answer` or `error`."""


class SearchRequest(BaseModel):
    """A search without a reader."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": "gradient checkpointing", "k": 5}]}
    )

    query: Annotated[str, Field(min_length=1)]
    k: Annotated[int | None, Field(ge=1, strict=True)] = None
    where: dict[str, JsonValue] | None = None


class SearchReply(BaseModel):
    """Passages, best first."""

    hits: list[Hit]
    index: str
    """Fingerprint of the index that was searched."""


class DocumentEntry(BaseModel):
    """A document of the index."""

    id: str
    title: str
    source: str
    passages: int
    uploaded: bool


class DocumentsReply(BaseModel):
    """The documents, sorted by id, a page at a time."""

    documents: list[DocumentEntry]
    total: int
    index: str


class DocumentText(BaseModel):
    """A document with the text that offsets refer to."""

    id: str
    title: str
    source: str
    text: str
    start: int
    """Offset of `text` in the document, where only a part was asked for."""
    length: int
    """Characters of the whole document."""


class UploadReply(BaseModel):
    """A document that can be asked about from now on."""

    id: str
    title: str
    passages: int
    characters: int
    index: str


class RemovalReply(BaseModel):
    """A document that is gone from the index."""

    removed: str
    index: str
    trained_adapters: tuple[str, ...]
    """Adapters that were trained on it, and may still recite it."""


class Server:
    """What the routes share."""

    def __init__(self, engine: Engine, config: ServeConfig) -> None:
        self.engine = engine
        self.config = config
        self.batcher = Batcher(
            engine.answer,
            queue=config.queue,
            batch=config.batch,
            deadline_seconds=config.deadline_seconds,
            side=in_ending_thread(lambda: engine.reader.side_threads),  # may try the model
        )
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: len(engine.index), engine.reader.passage_cache)
        self.batcher.on_batch = self.metrics.batch
        # One after another: a parser may take a gigabyte, and the index has one writer.
        self.changes = EndingThreadExecutor("rag-ft-changes")
        self.searches = EndingThreadExecutor("rag-ft-search")

    async def view(self, identity: Identity) -> Index:
        """The index as it is now, as far as somebody may see it. Raises QueueFullError."""
        if self.engine.stale:  # what another process has hidden since must not be listed
            await self.aside(self.engine.refresh)
        return self.engine.view(identity.audience)

    def aside(self, call: Callable[[], T]) -> Awaitable[T]:
        """What takes a moment and changes nothing, off the event loop. Raises QueueFullError."""
        if self.searches.waiting >= self.config.queue:
            raise QueueFullError(self.searches.waiting, 1)
        return asyncio.get_running_loop().run_in_executor(self.searches, call)

    def models(self) -> list[str]:
        """Names that a request's adapter or model may have."""
        return [*self.engine.reader.adapters, NO_ADAPTER]

    def adapter(self, name: str | None) -> str:
        """The adapter of a name. Raises Problem."""
        if name is None or name == openai.DEFAULT_MODEL:
            return self.engine.reader.adapter
        if name not in self.models():
            raise Problem(404, f"there is no adapter {name[:80]!r}: use one of {', '.join(self.models())}", "adapter")
        return name

    def ask(self, request: AskRequest, identity: Identity) -> Ask:
        """Somebody's question with its defaults. Raises Problem."""
        self.check_question(request.question)
        return Ask(
            request.question.strip(),
            self.passages(request.k),
            self.adapter(request.adapter),
            request.threshold,
            request.where,
            identity.audience,
        )

    def check_question(self, question: str, field: str = "question") -> None:
        """Raise Problem for a question that is too long or empty; `field`: what its client calls it."""
        if len(question) > self.config.max_question_chars:
            raise Problem(
                413,
                f"the {field} has {len(question):,} characters, more than the {self.config.max_question_chars:,}"
                " allowed: shorten it",
                field,
            )
        if not question.strip():
            raise Problem(422, f"the {field} is empty", field)

    def passages(self, k: int | None) -> int:
        """How many to read. Raises Problem."""
        if k is not None and k > self.config.max_k:
            raise Problem(422, f"k is {k}, more than the {self.config.max_k} allowed", "k")
        return self.config.k if k is None else k

    async def answer(self, ask: Ask, client: str, on_passages: Callable[[Sequence[Hit]], None] | None = None) -> Answer:
        """The answer, counted."""
        answer = await self.batcher.answer(ask, client, on_passages)
        self.metrics.answer(answer, ask.adapter or NO_ADAPTER)
        return answer


class Problem(Exception):
    """A request that cannot be served, as its client is told."""

    def __init__(
        self, status: int, message: str, param: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": error_body(status, message, param)}
        self.headers = headers


def problem_of(error: Exception) -> Problem:
    """An error of the library as the client is told it: the one place that decides on statuses."""
    if isinstance(error, Problem):
        return error
    message = str(error)
    if isinstance(error, QueueFullError):
        return Problem(429, message, headers={"retry-after": str(error.retry_after)})
    if isinstance(error, DeadlineError):
        return Problem(504, message)
    if isinstance(error, ClosingError):
        return Problem(503, message, headers={"retry-after": "5"})
    if isinstance(error, OSError | IndexStoreError) and is_disk_full(error):
        logger.error("%s", error)
        return Problem(507, _DISK_FULL)
    if isinstance(error, IndexStoreError):
        return Problem(503, message)
    if isinstance(error, WeightsError):
        return Problem(500, message)
    if isinstance(error, RagFtError):
        return Problem(422, message)
    logger.error("a request failed", exc_info=error)
    return Problem(500, "the server failed on this request; its log says why")


_DISK_FULL = "the server's disk is full and nothing was changed: free some space there, then send the request again"


def create_app(index: Index, reader: Reader, config: ServeConfig | None = None) -> FastAPI:
    """The application, ready for any ASGI server: the page at `/`, the API under `/v1`.

    The index's embedder and the reader are in memory already when it starts to listen. `app.state.server` holds the
    queue and the index in use. Raises UsageError where an adapter has the name that stands for the first one.
    """
    config = config or ServeConfig()
    if openai.DEFAULT_MODEL in reader.adapters and reader.adapter != openai.DEFAULT_MODEL:
        raise UsageError(
            f"the name {openai.DEFAULT_MODEL!r} stands for the adapter that the server starts with: give the other one"
            " another name"
        )
    server = Server(Engine(index, reader), config)
    door = Door(config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.batcher.start()
        if config.allow_changes:
            server.changes.submit(server.engine.sweep)
        looking = asyncio.create_task(_keep_looking(server))
        yield
        looking.cancel()
        await server.batcher.close()
        # The server has waited for requests already. What still writes an index leaves the old one whole when it ends.
        server.changes.shutdown(cancel_futures=True, seconds=_GRACE_S)
        server.searches.shutdown(cancel_futures=True, seconds=_GRACE_S)

    app = FastAPI(
        title="rag_ft",
        version=rag_ft.__version__,
        description="Answers from a team's own documents, with the quote that each rests on.",
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.server = server
    _add_errors(app)
    _add_questions(app, server)
    _add_openai(app, server)
    _add_documents(app, server)
    _add_state(app, server)
    _add_page(app, config, door)
    describe(app, token=config.needs_token)
    app.add_middleware(Guard, config=config, door=door, needed=lambda scope: needed_right(app.routes, scope))
    app.add_middleware(Measured, metrics=server.metrics)  # the last one is the outermost
    return app


async def _keep_looking(server: Server) -> None:
    """Take up other processes' changes of the index also while nothing but searches and lists is asked for."""
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        with contextlib.suppress(QueueFullError):
            await server.aside(server.engine.refresh)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RagFtError)
    @app.exception_handler(OSError)
    async def known(request: Request, error: Exception) -> JSONResponse:
        return await problem(request, problem_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.url.path != UPLOAD_PATH and first["loc"] == ("body",) and kind != "application/json":
            said = "send the body as JSON, with 'Content-Type: application/json'"
            return JSONResponse({"error": error_body(415, said)}, 415)
        if first["type"] == "json_invalid":
            return JSONResponse({"error": error_body(400, "the body is not JSON")}, 400)
        where = ".".join(str(step) for step in first["loc"] if step != "body")[:80]
        message = f"{where or 'the body'}: {first['msg'].removeprefix('Value error, ')[:200]}"
        if request.url.path == UPLOAD_PATH and where == "file":
            message = "send a file: a multipart form with one field 'file', which has a file name"
        return JSONResponse({"error": error_body(422, message, where or None)}, 422)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        if error.status_code == 405:  # the framework names the methods of one of the routes at this path
            headers["allow"] = ", ".join(_methods(app, request.url.path))
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
        if isinstance(error.__cause__, OSError):  # a form with a large file is put on disk while it is read
            return await known(request, error.__cause__)
        return JSONResponse({"error": error_body(error.status_code, str(error.detail))}, error.status_code, headers)


def _methods(app: FastAPI, path: str) -> list[str]:
    """The methods that a path can be asked with."""
    here = {method for route in app.routes if _at(route, path) for method in getattr(route, "methods", None) or ()}
    return sorted({*here, "OPTIONS"})


def _at(route: Any, path: str) -> bool:
    pattern = getattr(route, "path_regex", None)
    return pattern is not None and pattern.match(path) is not None


def _client(request: Request) -> str:
    """Who takes turns with the others: each personal token, else each machine."""
    identity = identity_of(request)
    if identity.name:
        return f"token {identity.name}"
    return request.client.host if request.client is not None else ""


async def _while_there(request: Request, work: Awaitable[T]) -> T:
    """The result of work that is given up when the client goes. Raises Problem then, which nobody will read."""
    task = asyncio.ensure_future(work)

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Problem(499, "the client has gone")
        return task.result()
    finally:
        watch.cancel()
        task.cancel()
        del task  # it holds an error whose traceback holds this frame


def _add_questions(app: FastAPI, server: Server) -> None:
    @app.post("/v1/ask", response_model=Answer, responses=_ERRORS)
    async def ask(request: Request, body: AskRequest) -> Any:
        """The answer to a question, with the quote that it rests on, or null."""
        wanted = server.ask(body, identity_of(request))
        if body.stream:
            passages: asyncio.Queue[Sequence[Hit]] = asyncio.Queue()
            task = await _begun(server.answer(wanted, _client(request), passages.put_nowait))
            return _Stream(_events(task, passages), task)
        answer = await _while_there(request, server.answer(wanted, _client(request)))
        return Response(answer.model_dump_json(), media_type="application/json")

    @app.post("/v1/search", response_model=SearchReply, responses=_ERRORS)
    async def search(request: Request, body: SearchRequest) -> SearchReply:
        """The passages for a question, best first, without asking the reader."""
        server.check_question(body.query, "query")
        k, audience = server.passages(body.k), identity_of(request).audience

        def found() -> SearchReply:
            server.engine.refresh()
            index = server.engine.view(audience)  # the hits and the fingerprint are of one state
            hits = index.as_retriever(k=k, where=body.where).retrieve(body.query.strip())
            return SearchReply(hits=hits, index=index.fingerprint)

        return await _while_there(request, server.aside(found))


async def _begun(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Work that a stream will tell about, under way. Raises what it is refused for at once, while a status can."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)  # it has its place in the queue then, or has none
    if task.done():
        task.result()
    return task


class _Stream(StreamingResponse):
    """Server-sent events about a task, which is given up when the client goes."""

    def __init__(self, events: AsyncIterator[bytes], task: asyncio.Task[Any]) -> None:
        # A proxy must not hold the events back.
        super().__init__(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._task = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._task.cancel()


async def _events(task: asyncio.Task[Answer], passages: asyncio.Queue[Sequence[Hit]]) -> AsyncIterator[bytes]:
    """`passages`, then `answer` or `error`; a comment now and then in between."""
    found: asyncio.Future[Sequence[Hit]] | None = None
    try:
        told = False
        while not task.done():
            found = asyncio.ensure_future(passages.get())
            await asyncio.wait({task, found}, timeout=_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if found.done():
                told = True
                yield _passages_event(found.result())
            else:
                found.cancel()
                if not task.done():
                    yield format_sse_event(comment="alive")
        if not told and not passages.empty():
            yield _passages_event(passages.get_nowait())
        try:
            yield format_sse_event(event="answer", data_str=task.result().model_dump_json())
        except Exception as error:
            yield format_sse_event(event="error", data_str=_json(problem_of(error).body))
    finally:
        if found is not None:
            found.cancel()


def _passages_event(hits: Sequence[Hit]) -> bytes:
    return format_sse_event(event="passages", data_str="[" + ",".join(hit.model_dump_json() for hit in hits) + "]")


def _json(value: Any) -> str:
    return JSONResponse(value).body.decode()  # type: ignore[union-attr]


def _add_openai(app: FastAPI, server: Server) -> None:
    def entry(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 0, "owned_by": "rag_ft"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The adapters, as OpenAI lists models; `rag-ft` is the one that the server started with."""
        return {"object": "list", "data": [entry(name) for name in (openai.DEFAULT_MODEL, *server.models())]}

    @app.get("/v1/models/{name:path}", responses=_ERRORS)
    async def model(name: str) -> dict[str, Any]:
        """One of them."""
        if name not in (openai.DEFAULT_MODEL, *server.models()):
            raise Problem(404, f"there is no model {name[:80]!r}: GET /v1/models lists them", "model")
        return entry(name)

    @app.post("/v1/chat/completions", responses=_ERRORS)
    async def chat(request: Request, body: openai.ChatRequest) -> Any:
        """OpenAI's chat completions: the last user message is asked of the documents, `model` names an adapter."""
        body.check()
        question = body.question
        server.check_question(question, "messages")
        if body.model not in (openai.DEFAULT_MODEL, *server.models()):
            raise Problem(404, f"there is no model {body.model[:80]!r}: GET /v1/models lists them", "model")
        audience = identity_of(request).audience
        ask = Ask(question, server.config.k, server.adapter(body.model), audience=audience)
        name, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

        async def finished() -> tuple[Answer, str]:
            answer = await server.answer(ask, _client(request))
            return answer, openai.content_of(answer, body.response_format)

        if not body.stream:
            answer, content = await _while_there(request, finished())
            return JSONResponse(openai.completion_of(answer, content, name=name, model=body.model, created=created))
        task = await _begun(finished())
        with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)

        async def pieces() -> AsyncIterator[bytes]:
            try:
                while not task.done():
                    await asyncio.wait({task}, timeout=_ALIVE_S)
                    if not task.done():
                        yield format_sse_event(comment="alive")
                answer, content = task.result()
                for chunk in openai.chunks_of(
                    answer, content, name=name, model=body.model, created=created, with_usage=with_usage
                ):
                    yield format_sse_event(data_str=_json(chunk))
            except Exception as error:
                yield format_sse_event(data_str=_json(problem_of(error).body))
            yield format_sse_event(data_str="[DONE]")

        return _Stream(pieces(), task)


def _add_documents(app: FastAPI, server: Server) -> None:
    def in_turn(call: Callable[[], T]) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(server.changes, call)

    def may_change() -> None:
        if not server.config.allow_changes:
            raise Problem(403, "this server takes no changes: it was started with --read-only")

    @app.get("/v1/documents")
    async def documents(
        request: Request,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> DocumentsReply:
        """The documents of the index, as far as this token may read them."""
        index = await server.view(identity_of(request))
        rows = index.entries()
        return DocumentsReply(
            documents=[
                DocumentEntry(
                    id=row.id,
                    title=row.title,
                    source=row.source,
                    passages=row.passages,
                    uploaded=row.metadata.get("uploaded") is True,
                )
                for row in rows[offset : offset + limit]
            ],
            total=len(rows),
            index=index.fingerprint,
        )

    @app.post("/v1/documents", status_code=201, responses=_ERRORS)
    async def upload(
        request: Request,
        file: Annotated[UploadFile, File()],
        replace: bool = False,
        access: Annotated[list[str] | None, Query()] = None,
    ) -> UploadReply:
        """Take in a file (the types of `rag-ft index build`); it can be asked about when this returns.

        `access`: the groups that may read it, repeated for several; left out: all groups of the token.
        """
        may_change()
        config, identity = server.config, identity_of(request)
        try:
            chosen = groups_of(access) if access else None
        except UsageError as error:
            raise Problem(422, f"access {error}", "access") from error
        if len((await request.form()).getlist("file")) != 1:
            raise Problem(422, "send one file at a time: the form has several fields 'file'", "file")
        name = check_name(file.filename or "")
        data = await file.read()
        if len(data) > config.max_upload_bytes:
            raise Problem(413, f"the file is larger than the {config.max_upload_bytes:,} bytes allowed", "file")

        def take() -> UploadReply:
            document = parse_upload(
                name,
                data,
                seconds=config.parse_seconds,
                memory_bytes=config.parse_memory_bytes,
                max_chars=config.max_text_chars,
            )
            try:
                added = server.engine.add(document, replace=replace, identity=identity, access=chosen)
            except UsageError:
                if replace or uploaded_as(server.engine.view(identity.audience), document.id) is None:
                    raise
                said = f"there is a document {document.id!r} already: give another file name, or replace=true"
                raise Problem(409, said, "file") from None
            return UploadReply(
                id=added.id,
                title=document.title,
                passages=added.passages,
                characters=len(document.text),
                index=added.index,
            )

        return await _while_there(request, in_turn(take))

    @app.get("/v1/documents/{document_id:path}", responses=_ERRORS)
    async def document(
        request: Request,
        document_id: str,
        start: Annotated[int, Query(ge=0)] = 0,
        end: Annotated[int | None, Query(ge=0)] = None,
    ) -> DocumentText:
        """The text of a document, or the part of it between two offsets."""
        index = await server.view(identity_of(request))
        try:
            found = index.document(document_id)
        except UsageError as error:
            raise Problem(404, f"there is no document {document_id[:80]!r}") from error
        return DocumentText(
            id=found.id,
            title=found.title,
            source=found.source,
            text=found.text[start:end],
            start=min(start, len(found.text)),
            length=len(found.text),
        )

    @app.delete("/v1/documents/{document_id:path}", responses=_ERRORS)
    async def remove(request: Request, document_id: str) -> RemovalReply:
        """Erase a document from the index: vectors, passages, words and text."""
        may_change()
        audience = identity_of(request).audience

        def erase() -> Removed:
            try:
                return server.engine.remove(document_id, audience=audience)
            except UsageError:
                if document_id in set(server.engine.view(audience).documents()):
                    raise
                # The change before it, or another process, has erased it; or it is not for this audience.
                raise Problem(404, f"there is no document {document_id[:80]!r}") from None

        gone = await in_turn(erase)
        return RemovalReply(removed=document_id, index=gone.index, trained_adapters=gone.trained)


def _add_state(app: FastAPI, server: Server) -> None:
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process answers at all."""
        return {"status": "ok"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Whether questions are taken, and from a whole index."""
        await server.aside(lambda: server.engine.refresh(now=True))  # may load an index
        reason = server.engine.missing or (None if server.batcher.alive else "the server is going down")
        if reason is not None:
            return JSONResponse({"status": "not ready", "reason": reason}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts and times in Prometheus' text format."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/about")
    async def about(request: Request) -> dict[str, Any]:
        """What the page needs to know: who asks, adapters, limits, whether documents may be changed."""
        identity = identity_of(request)
        reader, index = server.engine.reader, await server.view(identity)
        return {
            "name": identity.name,
            "groups": list(identity.groups),
            "rights": identity.right.name.lower(),
            "model": reader.loaded.weights.name,
            "device": reader.loaded.plan.line,
            "adapter": reader.adapter,
            "adapters": server.models(),
            "documents": index.manifest.counts.documents,
            "passages": len(index),
            "changes": server.config.allow_changes and identity.right >= Right.WRITE,
            "k": server.config.k,
            "max_k": server.config.max_k,
            "max_question_chars": server.config.max_question_chars,
            "max_upload_bytes": server.config.max_upload_bytes,
            "report": identity.right is Right.ADMIN
            and server.config.report is not None
            and server.config.report.is_file(),
        }


def _add_page(app: FastAPI, config: ServeConfig, door: Door) -> None:
    folder = files("rag_ft.serving") / "page"
    for path, (name, media_type) in _PAGE.items():
        content = (folder / name).read_bytes()

        async def page(content: bytes = content, media_type: str = media_type) -> Response:
            return Response(content, media_type=media_type)

        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)

    tickets: dict[str, tuple[float, Identity]] = {}

    @app.get("/v1/report", include_in_schema=False)
    async def report_link(request: Request) -> dict[str, str]:
        """Where a browser, which sends no token when it follows a link, can open the report in the next minute."""
        if config.report is None or not config.report.is_file():
            raise Problem(404, "there is no evaluation report: start the server with --report FILE")
        now = time.monotonic()
        for old in [one for one, (until, _) in tickets.items() if until < now]:
            del tickets[old]
        ticket = secrets.token_urlsafe(24)
        tickets[ticket] = now + _TICKET_S, identity_of(request)
        return {"path": f"{REPORT_PATH}{ticket}"}

    @app.api_route(REPORT_PATH + "{ticket}", methods=["GET", "HEAD"], include_in_schema=False)
    async def report(ticket: str) -> Response:
        until, giver = tickets.get(ticket, (0.0, None))
        giver = door.again(giver) if giver is not None and until >= time.monotonic() else None
        may = giver is not None and giver.right is Right.ADMIN  # still
        if not may or config.report is None or not config.report.is_file():
            raise Problem(404, "this link to the report has expired: open it from the page again")
        return Response(
            config.report.read_bytes(),
            media_type="text/html; charset=utf-8",
            headers={"content-security-policy": _REPORT_POLICY},
        )


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(BaseModel):
    """An error, in OpenAI's form."""

    error: ErrorDetail


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": ERRORS[status]} for status in (422,)
}
"""The framework makes the model's schema of these; `describe` adds the others, route by route."""
