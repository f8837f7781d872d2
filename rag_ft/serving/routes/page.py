"""Routes of the web page and of evaluation reports."""

from __future__ import annotations

import secrets
import time
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http.rights import Authenticator, identity_of
from rag_ft.serving.http.security import REPORT_PATH
from rag_ft.serving.http.tokens import Identity, Right
from rag_ft.serving.messages import Problem

_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
"""The report contains its own styles and plots; it runs no script and loads nothing."""

_TICKET_S = 60.0
"""Seconds that a link to the report is valid."""


def add_page(app: FastAPI, config: ServeConfig, authenticator: Authenticator) -> None:
    """Add the web page and the evaluation report."""
    folder = files("rag_ft.serving") / "page"
    for path, (name, media_type) in _PAGE.items():
        content = (folder / name).read_bytes()

        async def page(content: bytes = content, media_type: str = media_type) -> Response:
            return Response(content, media_type=media_type)

        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)

    tickets: dict[str, tuple[float, Identity]] = {}

    @app.get("/v1/report", include_in_schema=False)
    async def report_link(request: Request) -> dict[str, str]:
        """Path where a browser, which sends no token when it follows a link, can open the report for a minute."""
        if config.report is None or not config.report.is_file():
            raise Problem(404, "there is no evaluation report: start the server with --report FILE")
        now = time.monotonic()
        for expired in [ticket for ticket, (until, _) in tickets.items() if until < now]:
            del tickets[expired]
        ticket = secrets.token_urlsafe(24)
        tickets[ticket] = now + _TICKET_S, identity_of(request)
        return {"path": f"{REPORT_PATH}{ticket}"}

    @app.api_route(REPORT_PATH + "{ticket}", methods=["GET", "HEAD"], include_in_schema=False)
    async def report(ticket: str) -> Response:
        until, issuer = tickets.get(ticket, (0.0, None))
        issuer = authenticator.current(issuer) if issuer is not None and until >= time.monotonic() else None
        allowed = issuer is not None and issuer.right is Right.ADMIN  # the right may have been withdrawn since
        if not allowed or config.report is None or not config.report.is_file():
            raise Problem(404, "this link to the report has expired: open it from the page again")
        return Response(
            config.report.read_bytes(),
            media_type="text/html; charset=utf-8",
            headers={"content-security-policy": _REPORT_POLICY},
        )
