"""The route that takes what people say of answers."""

from __future__ import annotations

import asyncio
import datetime

from fastapi import FastAPI, Request

from rag_ft.errors import EvidenceMovedError, QueueFullError, UsageError
from rag_ft.indexing.index import Index
from rag_ft.questions.feedback import Feedback
from rag_ft.serving.http.rights import identity_of
from rag_ft.serving.http.tokens import Identity
from rag_ft.serving.messages import ERROR_REPLIES, FeedbackReply, FeedbackRequest, Problem, no_document
from rag_ft.serving.server import Server

_MOST_TURNS = 20
_RETRY_S = 1


def add_feedback_route(app: FastAPI, server: Server) -> None:
    """Add the route that keeps feedback beside the index."""

    @app.post("/v1/feedback", responses=ERROR_REPLIES)
    async def feedback(request: Request, body: FeedbackRequest) -> FeedbackReply:
        """Keep what somebody says of an answer, or withdraw it; the same answer again replaces what was said before."""
        if not server.config.allow_changes:
            raise Problem(403, "this server is read-only and keeps no feedback: it was started with --read-only")
        if (reason := server.engine.not_changeable()) is not None:
            raise Problem(403, reason)
        if len(body.history) > _MOST_TURNS:
            raise Problem(422, f"history has {len(body.history):,} questions: give at most {_MOST_TURNS}", "history")
        for question in body.history:
            server.check_question(question, "history")
        server.check_question(body.question)
        if server.feedback.waiting >= server.config.queue:
            raise QueueFullError(server.feedback.waiting, _RETRY_S)
        # Completed even where the client goes away: what somebody said is kept.
        call = asyncio.get_running_loop().run_in_executor(server.feedback, _keep, server, body, identity_of(request))
        entry = await call
        answer = None if entry is None else entry.right_answer
        return FeedbackReply(
            id=None if entry is None else entry.id,
            verdict=body.verdict,
            answer=None if answer is None else answer.quote,
        )


def _keep(server: Server, body: FeedbackRequest, identity: Identity) -> Feedback | None:
    """Keep the feedback if its giver may read the documents that it names. Raises Problem, UsageError."""
    server.engine.refresh()

    def check_visible(index: Index) -> None:
        view = index if identity.audience is None else index.visible_to(identity.audience)
        for piece in (body.evidence, body.better):
            if piece is not None:
                try:
                    view.document_fingerprint(piece.document_id)
                except UsageError as error:
                    raise no_document(piece.document_id) from error

    if body.verdict != "withdraw":  # what somebody said can be withdrawn whatever became of the document
        check_visible(server.engine.index)
    try:
        return server.engine.index.add_feedback(
            body.question,
            body.verdict,
            body.evidence,
            history=body.history,
            answered=body.answered,
            better=body.better,
            kind=body.kind,
            yes=body.yes,
            access=identity.audience,
            by=identity.name,
            on=datetime.datetime.now(datetime.timezone.utc).date(),
        )
    except EvidenceMovedError as error:
        raise Problem(409, str(error), "evidence") from error
    except UsageError:
        if body.verdict != "withdraw":
            check_visible(server.engine.index.newest())  # the document was removed or hidden in between
        raise
