"""Routes that give out originals, where the index keeps them: a page of a PDF as an image, and the file itself."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from functools import partial
from pathlib import PurePath
from typing import Annotated, NamedTuple
from urllib.parse import quote

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, Response

from rag_ft.errors import QueueFullError, UsageError
from rag_ft.indexing.formats import ReadLimits, Unreadable
from rag_ft.indexing.index import Index
from rag_ft.indexing.parsing.input import open_ordinary, pieces_of
from rag_ft.indexing.parsing.wire import Request as ReadRequest
from rag_ft.indexing.parsing.worker import Worker, WorkerNotReady
from rag_ft.indexing.storage.originals import KeptFile
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http.rights import Authenticator, identity_of
from rag_ft.serving.http.security import ORIGINAL_PATH
from rag_ft.serving.http.tickets import Tickets
from rag_ft.serving.messages import ERROR_REPLIES, Problem
from rag_ft.serving.routes.streams import until_disconnected
from rag_ft.serving.server import Server

MAX_WIDTH = 2_000
_RETRY_S = 5
_CACHED_BYTES = 64_000_000
"""Images of pages that are kept in memory: several readers ask for the same page, and a window is resized."""

_LOCKED = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
"""A document is not trusted: it runs no script, loads nothing, and counts as a page of another site."""
_OWN_VIEWER = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""For PDF: browsers' viewers do not open in a sandbox, and run nothing of the file in the page's name."""


class _Shown(NamedTuple):
    """How a browser is to show a file."""

    media_type: str
    policy: str
    inline: bool


_UNKNOWN = _Shown("application/octet-stream", _LOCKED, False)
_TEXT = _Shown("text/plain; charset={encoding}", _LOCKED, True)
_WEB_PAGE = _Shown("text/html", _LOCKED, True)
_SHOWN = {
    ".pdf": _Shown("application/pdf", _OWN_VIEWER, True),
    ".txt": _TEXT,
    ".text": _TEXT,
    ".md": _TEXT,
    ".markdown": _TEXT,
    ".html": _WEB_PAGE,
    ".htm": _WEB_PAGE,
}
"""How files are shown, by suffix; all others are downloaded."""

_CONTENTS: dict[str, dict[str, str]] = {
    shown.media_type.partition(";")[0]: {} for shown in (*_SHOWN.values(), _UNKNOWN)
}


def add_originals(app: FastAPI, server: Server, authenticator: Authenticator) -> None:
    """Add the routes of pages and files."""
    pages = _Pages(server.config)
    tickets: Tickets[str] = Tickets(authenticator)

    @app.get(
        "/v1/pages/{document_id:path}",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}, "description": "The page as a PNG"}, **ERROR_REPLIES},
    )
    async def page(
        request: Request,
        document_id: str,
        page: Annotated[int, Query(ge=1)] = 1,
        width: Annotated[int, Query(ge=50, le=MAX_WIDTH)] = 1000,
    ) -> Response:
        """A page of a PDF, counted from 1, drawn `width` pixels wide. Boxes of citations fit it when scaled with it."""
        kept = _original(await server.view(identity_of(request)), document_id)
        if PurePath(kept.name).suffix.lower() != ".pdf":
            raise Problem(404, f"{document_id[:80]!r} is not a PDF: only these have pages to draw")
        image = pages.cached(kept, page, width)
        if image is None:
            if server.pages.waiting >= server.config.queue:
                raise QueueFullError(server.pages.waiting, _RETRY_S)
            draw = asyncio.get_running_loop().run_in_executor(server.pages, pages.draw, kept, page, width)
            image = await until_disconnected(request, draw)
        return Response(image, media_type="image/png")

    @app.get(
        "/v1/originals/{document_id:path}",
        response_class=FileResponse,
        responses={200: {"content": _CONTENTS, "description": "The file"}, **ERROR_REPLIES},
    )
    async def original(request: Request, document_id: str) -> Response:
        """The file that a document was read from."""
        kept = _original(await server.view(identity_of(request)), document_id)
        return _file(kept, _shown(kept)._replace(inline=False))

    @app.get("/v1/links/{document_id:path}", include_in_schema=False)
    async def link(request: Request, document_id: str) -> dict[str, str]:
        """Path where a browser, which sends no token when it follows a link, can open the file for a minute."""
        identity = identity_of(request)
        _original(await server.view(identity), document_id)
        return {"path": f"{ORIGINAL_PATH}{tickets.issue(identity, document_id)}"}

    @app.api_route(ORIGINAL_PATH + "{ticket}", methods=["GET", "HEAD"], include_in_schema=False)
    async def linked(ticket: str) -> Response:
        redeemed = tickets.redeem(ticket)
        if redeemed is None:
            raise Problem(404, "this link to the file has expired: open it from the page again")
        identity, document_id = redeemed
        # What the token may read now, not what it could read when it got the link.
        kept = _original(await server.view(identity), document_id)
        return _file(kept, _shown(kept))


def _original(index: Index, document_id: str) -> KeptFile:
    """A document's original. Raises Problem."""
    try:
        kept = index.original(document_id)
    except UsageError as error:
        raise Problem(404, f"there is no document {document_id[:80]!r}") from error
    if kept is None:
        raise Problem(404, f"the original of {document_id[:80]!r} is not kept: build the index with --keep-originals")
    return kept


def has_pages(kept: KeptFile | None) -> bool:
    """Whether pages of an original can be drawn."""
    return kept is not None and PurePath(kept.name).suffix.lower() == ".pdf"


def _shown(kept: KeptFile) -> _Shown:
    return _SHOWN.get(PurePath(kept.name).suffix.lower(), _UNKNOWN)


def _file(kept: KeptFile, shown: _Shown) -> Response:
    name = quote(kept.name.encode("utf-8", "replace"), safe="")
    disposition = "inline" if shown.inline else "attachment"
    return FileResponse(
        kept.path,
        headers={
            "content-type": shown.media_type.format(encoding=kept.encoding),
            "content-disposition": f"{disposition}; filename*=UTF-8''{name}",
            "content-security-policy": shown.policy,
        },
    )


class _Pages:
    """Draws pages, each in a process of its own that can read nothing else, and keeps some images. Safe for threads."""

    def __init__(self, config: ServeConfig) -> None:
        self._limits = ReadLimits(seconds=config.page_seconds, memory_bytes=config.parse_memory_bytes)
        self._images: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def cached(self, kept: KeptFile, page: int, width: int) -> bytes | None:
        """The image, if it was drawn lately."""
        with self._lock:
            image = self._images.get((kept.sha256, page, width))
            if image is not None:
                self._images.move_to_end((kept.sha256, page, width))
            return image

    def draw(self, kept: KeptFile, page: int, width: int) -> bytes:
        """Draw a page. Raises Problem."""
        image = self.cached(kept, page, width)  # somebody before us in the queue may have asked for the same
        if image is not None:
            return image
        try:
            with (
                open_ordinary(kept.path, self._limits.file_bytes) as (file, size),
                Worker(self._limits, start_seconds=self._limits.seconds) as worker,
            ):
                request = ReadRequest(kind="page", name=kept.name, numbers=(page, width))
                (read,) = worker.read(request, partial(pieces_of, file), size)
        except FileNotFoundError:
            raise Problem(404, "the original was removed just now") from None
        except WorkerNotReady:
            raise Problem(503, f"the page could not be drawn within {self._limits.seconds:g} s") from None
        except Unreadable as error:
            raise Problem(422, f"the page cannot be drawn: the file {error}") from error
        if read.reply.kind != "image":
            raise Problem(404 if "has no page" in read.reply.reason else 422, f"the file {read.reply.reason}", "page")
        self._keep((kept.sha256, page, width), read.image)
        return read.image

    def _keep(self, key: tuple[str, int, int], image: bytes) -> None:
        with self._lock:
            self._bytes += len(image) - len(self._images.pop(key, b""))
            self._images[key] = image
            while self._bytes > _CACHED_BYTES:
                self._bytes -= len(self._images.popitem(last=False)[1])
