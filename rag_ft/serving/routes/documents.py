"""Routes that list, show, add and remove documents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import FastAPI, File, Query, Request, UploadFile

from rag_ft.errors import UsageError
from rag_ft.indexing.access import groups_of
from rag_ft.indexing.index import Index
from rag_ft.serving.engine import Removed
from rag_ft.serving.http.rights import identity_of, uploaded_id
from rag_ft.serving.http.tokens import Identity
from rag_ft.serving.messages import (
    ERROR_REPLIES,
    DocumentEntry,
    DocumentsReply,
    DocumentText,
    OriginalKind,
    Problem,
    RemovalReply,
    UploadReply,
    no_document,
)
from rag_ft.serving.routes.originals import has_pages
from rag_ft.serving.routes.streams import until_disconnected
from rag_ft.serving.server import Server
from rag_ft.serving.uploads import check_name, parse_upload

T = TypeVar("T")


def add_documents(app: FastAPI, server: Server) -> None:
    """Add the routes that list, show, upload and remove documents."""
    _add_reading(app, server)
    _add_changes(app, server)


def _add_reading(app: FastAPI, server: Server) -> None:
    @app.get("/v1/documents")
    async def documents(
        request: Request,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> DocumentsReply:
        """The documents of the index that this token may read."""
        index = await server.view(identity_of(request))
        entries = index.entries()
        return DocumentsReply(
            documents=[
                DocumentEntry(
                    id=entry.id,
                    title=entry.title,
                    source=entry.source,
                    passages=entry.passages,
                    uploaded=entry.metadata.get("uploaded") is True,
                    original=_original_of(index, entry.id),
                )
                for entry in entries[offset : offset + limit]
            ],
            total=len(entries),
            index=index.fingerprint,
        )

    @app.get("/v1/documents/{document_id:path}", responses=ERROR_REPLIES)
    async def document(
        request: Request,
        document_id: str,
        start: Annotated[int, Query(ge=0)] = 0,
        end: Annotated[int | None, Query(ge=0)] = None,
    ) -> DocumentText:
        """The text of a document, or the part of it between two offsets."""
        index = await server.view(identity_of(request))
        try:
            document = index.document(document_id)
        except UsageError as error:
            raise no_document(document_id) from error
        return DocumentText(
            id=document.id,
            title=document.title,
            source=document.source,
            text=document.text[start:end],
            start=min(start, len(document.text)),
            length=len(document.text),
        )


def _original_of(index: Index, document_id: str) -> OriginalKind | None:
    kept = index.original(document_id)
    return None if kept is None else "pages" if has_pages(kept) else "file"


def _add_changes(app: FastAPI, server: Server) -> None:
    def in_turn(call: Callable[[], T]) -> Awaitable[T]:
        """Run a change in a thread, after the changes before it."""
        return asyncio.get_running_loop().run_in_executor(server.changes, call)

    def check_changes_allowed() -> None:
        if server.config.watch is not None:
            raise Problem(403, "this server's documents come from a folder that it watches: change the files there")
        if not server.config.allow_changes:
            raise Problem(403, "this server is read-only: it was started with --read-only")
        if (reason := server.engine.not_changeable()) is not None:
            raise Problem(403, reason)

    @app.post("/v1/documents", status_code=201, responses=ERROR_REPLIES)
    async def upload(
        request: Request,
        file: Annotated[UploadFile, File()],
        replace: bool = False,
        access: Annotated[list[str] | None, Query()] = None,
    ) -> UploadReply:
        """Add a file (of a format that `rag-ft index build` reads); it can be asked about when this returns.

        `access`: a group that may read it; repeat for several. Default: all groups of the token.
        """
        check_changes_allowed()
        config, identity = server.config, identity_of(request)
        try:
            groups = groups_of(access) if access else None
        except UsageError as error:
            raise Problem(422, f"access {error}", "access") from error
        if len((await request.form()).getlist("file")) != 1:
            raise Problem(422, "the form has several fields 'file': send one file at a time", "file")
        name = check_name(file.filename or "")
        data = await file.read()
        if len(data) > config.max_upload_bytes:
            raise Problem(413, f"the file is larger than the {config.max_upload_bytes:,} bytes allowed", "file")
        change = in_turn(lambda: _take(server, name, data, identity, replace=replace, groups=groups))
        return await until_disconnected(request, change)

    @app.delete("/v1/documents/{document_id:path}", responses=ERROR_REPLIES)
    async def remove(request: Request, document_id: str) -> RemovalReply:
        """Erase a document from the index: vectors, passages, words and text."""
        check_changes_allowed()
        audience = identity_of(request).audience

        def erase() -> Removed:
            try:
                return server.engine.remove(document_id, audience=audience)
            except UsageError:
                if document_id in set(server.engine.view(audience).documents()):
                    raise
                # An earlier change or another process has erased it; or it is hidden from this audience.
                raise no_document(document_id) from None

        removed = await in_turn(erase)
        return RemovalReply(removed=document_id, index=removed.index, trained_adapters=removed.trained)


def _take(
    server: Server, name: str, data: bytes, identity: Identity, *, replace: bool, groups: tuple[str, ...] | None
) -> UploadReply:
    """Read an uploaded file and add it to the index. Raises Problem, DocumentError, UsageError."""
    config = server.config
    read = parse_upload(
        name,
        data,
        seconds=config.parse_seconds,
        memory_bytes=config.parse_memory_bytes,
        max_chars=config.max_text_chars,
    )
    try:
        added = server.engine.add(
            read, replace=replace, identity=identity, access=groups, keep_original=config.keep_originals
        )
    except UsageError:
        if replace or uploaded_id(server.engine.view(identity.audience), read.document.id) is None:
            raise
        message = f"there is already a document {read.document.id!r}: give another file name, or replace=true"
        raise Problem(409, message, "file") from None
    return UploadReply(
        id=added.id,
        title=read.document.title,
        passages=added.passages,
        characters=len(read.document.text),
        index=added.index,
    )
