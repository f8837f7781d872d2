"""Routes that list, add and remove documents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import FastAPI, File, Query, Request, UploadFile

from rag_ft.errors import UsageError
from rag_ft.indexing.access import groups_of
from rag_ft.serving.engine import Removed
from rag_ft.serving.http.rights import identity_of, uploaded_as
from rag_ft.serving.messages import (
    ERROR_REPLIES,
    DocumentEntry,
    DocumentsReply,
    DocumentText,
    Problem,
    RemovalReply,
    UploadReply,
)
from rag_ft.serving.routes.streams import until_disconnected
from rag_ft.serving.server import Server
from rag_ft.serving.uploads import check_name, parse_upload

T = TypeVar("T")


def add_documents(app: FastAPI, server: Server) -> None:
    """List, read, upload and remove documents."""

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

    @app.post("/v1/documents", status_code=201, responses=ERROR_REPLIES)
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

        return await until_disconnected(request, in_turn(take))

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

    @app.delete("/v1/documents/{document_id:path}", responses=ERROR_REPLIES)
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
