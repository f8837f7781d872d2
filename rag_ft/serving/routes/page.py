"""Routes of the web page and of evaluation reports."""

from __future__ import annotations

import secrets
import time
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http.rights import Door, identity_of
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
"""The report brings its styles and plots inside; it runs nothing and reaches nothing."""


_TICKET_S = 60.0


def add_page(app: FastAPI, config: ServeConfig, door: Door) -> None:
    """The web page, and the reports of evaluations."""
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
