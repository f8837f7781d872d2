"""Routes about the server itself: health, settings, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from rag_ft.serving.http.rights import identity_of
from rag_ft.serving.http.tokens import Right
from rag_ft.serving.server import Server


def add_status(app: FastAPI, server: Server) -> None:
    """Add the routes for health, settings and metrics."""

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process is alive."""
        return {"status": "ok"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Whether questions are accepted, and the index on disk is usable."""
        await server.run_blocking(lambda: server.engine.refresh(now=True))  # may load an index
        reason = server.engine.missing or (None if server.batcher.alive else "the server is shutting down")
        if reason is not None:
            return JSONResponse({"status": "not ready", "reason": reason}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counts and times in Prometheus' text format."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/about")
    async def about(request: Request) -> dict[str, Any]:
        """Settings for the page: who asks, adapters, limits, whether documents may be changed."""
        identity = identity_of(request)
        reader, index = server.engine.reader, await server.view(identity)
        changeable = server.engine.not_changeable() is None
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
            "incomplete": list(index.incomplete),
            "changes": changeable and server.config.takes_changes and identity.right >= Right.WRITE,
            "feedback": changeable and server.config.allow_changes,
            "review": server.config.review is not None and identity.right >= Right.WRITE,
            "k": server.config.k,
            "max_k": server.config.max_k,
            "max_question_chars": server.config.max_question_chars,
            "max_upload_bytes": server.config.max_upload_bytes,
            "report": identity.right is Right.ADMIN
            and server.config.report is not None
            and server.config.report.is_file(),
        }
