"""Routes with which people look through question records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, Query, Request

from rag_ft.errors import DatasetError, QueueFullError
from rag_ft.files import is_disk_full
from rag_ft.indexing.index import Index
from rag_ft.serving.http.rights import identity_of
from rag_ft.serving.http.tokens import Identity
from rag_ft.serving.messages import DISK_FULL, ERROR_REPLIES, Problem, ReviewReply, ReviewRequest
from rag_ft.serving.review import ReviewDesk, reviewer_of
from rag_ft.serving.server import Server

logger = logging.getLogger(__name__)

_RETRY_S = 1
_MOST_ZOOM = 16
_UNUSABLE = "the verdicts cannot be read or written, and this one was not kept: the server's log says why"


def add_review(app: FastAPI, server: Server) -> None:
    """Add the routes that show question records and take verdicts on them. Raises DatasetError."""
    desk = None if server.config.review is None else ReviewDesk(server.config.review)

    async def in_turn(identity: Identity, call: Callable[[ReviewDesk, Index, bool], ReviewReply]) -> ReviewReply:
        if desk is None:
            raise Problem(404, "there are no records to review: start the server with --review FILE")
        if server.reviews.waiting >= server.config.queue:
            raise QueueFullError(server.reviews.waiting, _RETRY_S)

        def run() -> ReviewReply:
            server.engine.refresh()
            try:
                return call(desk, server.engine.view(identity.audience), identity.audience is None)
            except DatasetError as error:  # its message names a path of this machine
                logger.error("%s", error)
                full = is_disk_full(error)
                raise Problem(507, DISK_FULL) if full else Problem(503, _UNUSABLE) from error

        # Completed even where the client goes away: a verdict that was given is kept.
        return await asyncio.get_running_loop().run_in_executor(server.reviews, run)

    @app.get("/v1/review", responses=ERROR_REPLIES)
    async def next_record(
        request: Request,
        by: str = "",
        id: str | None = None,
        zoom: Annotated[int, Query(ge=1, le=_MOST_ZOOM)] = 1,
    ) -> ReviewReply:
        """The next question record to judge, or the one with an id; `zoom`: how many times as much text around it."""
        identity = identity_of(request)
        name = reviewer_of(identity, by)
        return await in_turn(
            identity, lambda desk, view, whole: desk.reply(name, view, whole=whole, zoom=zoom, record_id=id)
        )

    @app.post("/v1/review", responses=ERROR_REPLIES)
    async def judge(request: Request, body: ReviewRequest) -> ReviewReply:
        """Keep a verdict on a record, or take it back; the reply shows the next record, or the one taken back."""
        identity = identity_of(request)
        name = reviewer_of(identity, body.by)
        if body.question is not None:
            server.check_question(body.question)
        return await in_turn(identity, lambda desk, view, whole: desk.judge(name, view, body, whole=whole))
