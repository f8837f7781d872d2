"""Routes of the web page and of evaluation reports."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http.rights import Authenticator, identity_of
from rag_ft.serving.http.security import REPORT_PATH
from rag_ft.serving.http.tickets import Tickets
from rag_ft.serving.http.tokens import Right
from rag_ft.serving.messages import Problem

_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/review": ("review.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/feedback.js": ("feedback.js", "text/javascript; charset=utf-8"),
    "/marking.js": ("marking.js", "text/javascript; charset=utf-8"),
    "/review.js": ("review.js", "text/javascript; charset=utf-8"),
    "/shared.js": ("shared.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
"""The report contains its own styles and plots; it runs no script and loads nothing."""


def add_page(app: FastAPI, config: ServeConfig, authenticator: Authenticator) -> None:
    """Add the web page and the evaluation report."""
    folder = files("rag_ft.serving") / "page"
    for path, (name, media_type) in _PAGE.items():
        content = (folder / name).read_bytes()

        async def page(content: bytes = content, media_type: str = media_type) -> Response:
            return Response(content, media_type=media_type)

        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)

    tickets: Tickets[None] = Tickets(authenticator)

    @app.get("/v1/report", include_in_schema=False)
    async def report_link(request: Request) -> dict[str, str]:
        """Path where a browser, which sends no token when it follows a link, can open the report for a minute."""
        if config.report is None or not config.report.is_file():
            raise Problem(404, "there is no evaluation report: start the server with --report FILE")
        ticket = tickets.issue(identity_of(request), None)
        return {"path": f"{REPORT_PATH}{ticket}"}

    @app.api_route(REPORT_PATH + "{ticket}", methods=["GET", "HEAD"], include_in_schema=False)
    async def report(ticket: str) -> Response:
        redeemed = tickets.redeem(ticket)
        allowed = redeemed is not None and redeemed[0].right is Right.ADMIN  # it may have been withdrawn since
        if not allowed or config.report is None or not config.report.is_file():
            raise Problem(404, "this link to the report has expired: open it from the page again")
        return Response(
            config.report.read_bytes(),
            media_type="text/html; charset=utf-8",
            headers={"content-security-policy": _REPORT_POLICY},
        )
