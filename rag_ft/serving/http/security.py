"""Checks between the network and the routes: size and time of bodies, token, origin, host, headers."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_ft.serving.config import ServeConfig, is_loopback
from rag_ft.serving.http.rights import IDENTITY, Authenticator
from rag_ft.serving.http.tokens import Right

logger = logging.getLogger(__name__)

REPORT_PATH = "/report/"
"""Path of the report, followed by a ticket that only the holder of a token can get."""

ORIGINAL_PATH = "/original/"
"""Path of a document's original, followed by such a ticket."""

UPLOAD_PATH = "/v1/documents"
_MULTIPART_BYTES = 10_000
"""Bytes allowed around the file in the body of an upload."""

_UPLOAD_RETRY_S = 10

_DRAIN_S = 5.0
_DRAIN_BYTES = 32_000_000
"""How long, and how much, the rest of a refused body is read."""

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


class Refused(Exception):
    """A request that is refused, with the status and the reason for its client."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}


class Guard:
    """Middleware around the routes: refuses a request before its body is read, and adds headers to every reply."""

    def __init__(
        self, app: ASGIApp, config: ServeConfig, authenticator: Authenticator, needed: Callable[[Scope], Right | None]
    ) -> None:
        """`authenticator` identifies who asks; `needed` gives the right that a request needs."""
        self._app = app
        self._config = config
        self._authenticator = authenticator
        self._needed = needed
        self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reply to it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        body = _Body(receive, self._body_limit(scope), self._config.body_seconds)

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if body.refused is not None and not started:
                # The framework would report any failure while reading a body as a mistake in the body.
                raise body.refused
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        uploading = _is_upload(scope)
        try:
            self._check(scope)
            if uploading and self._uploading >= self._config.uploads:
                raise Refused(
                    429,
                    f"{self._uploading} uploads are already in progress: try again in {_UPLOAD_RETRY_S} s",
                    {"retry-after": str(_UPLOAD_RETRY_S)},
                )
            self._uploading += uploading
            try:
                await self._app(scope, body.receive, send_with_headers)
            finally:
                self._uploading -= uploading
        except ClientDisconnect:
            return
        except Exception as error:
            refused = error if isinstance(error, Refused) else self._unexpected(error)
            if not started:
                # A client that is still sending would take a closed connection for a network failure.
                await body.drain()
                body.refused = None
                await _reply(send_with_headers, refused)

    @staticmethod
    def _unexpected(error: Exception) -> Refused:
        """The reply to a request on which the server failed; sent from here, so that it has the headers too."""
        logger.error("a request failed", exc_info=error)
        return Refused(500, "the server failed on this request: see its log")

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        try:
            target = _target(headers.getlist("host"))
            foreign = _is_foreign(headers.getlist("origin"), target)
        except ValueError:
            raise Refused(400, "the Host or Origin header is not a valid address") from None
        if is_loopback(self._config.host) and not self._config.needs_token and not (target and target.loopback):
            # A page of another site whose name was made to point to this machine would send its own name.
            raise Refused(403, f"this server answers only to localhost, not to {host[:80]!r}")
        if foreign:
            raise Refused(403, "requests from pages of other sites are refused")
        self._admit(scope, headers)
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise Refused(400, "the Content-Length header is not a number")
        if int(length) > self._body_limit(scope):
            raise Refused(413, _too_large(self._body_limit(scope)))

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Record who asks, for the routes. Raises Refused without a valid token or the right."""
        needed = self._needed(scope)
        if needed is None:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        identity = self._authenticator.identity(token.strip() if scheme.lower() == "bearer" else None)
        if identity is None:
            raise Refused(401, "a bearer token is needed: send 'Authorization: Bearer TOKEN'", _CHALLENGE)
        if identity.right < needed:
            raise Refused(403, f"this token may not do that: a token with the right {needed.name.lower()!r} is needed")
        scope[IDENTITY] = identity

    def _body_limit(self, scope: Scope) -> int:
        limits = self._config
        return limits.max_upload_bytes + _MULTIPART_BYTES if _is_upload(scope) else limits.max_body_bytes


def _is_upload(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and scope["path"] == UPLOAD_PATH)


class _Body:
    """A request's body as it arrives: its bytes are counted, because it may come without a length, and timed."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._seconds = seconds
        self._received = 0
        self._complete = False
        self._deadline: float | None = None
        self.refused: Refused | None = None
        """Why the body was not read to its end."""

    async def receive(self) -> Message:
        """The next message of the body. Raises Refused."""
        if self._complete:
            return await self._receive()  # waits until the client disconnects, which may take long
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._seconds
        try:
            message = await asyncio.wait_for(self._receive(), self._deadline - now)
        except asyncio.TimeoutError:
            self.refused = Refused(408, f"the body did not arrive within {self._seconds:g} s")
            raise self.refused from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._received > self._limit:
                self.refused = Refused(413, _too_large(self._limit))
                raise self.refused
        return message

    async def drain(self) -> None:
        """Read and drop the rest of the body, up to a limit of bytes and time."""

        async def read_rest() -> None:
            while not self._complete and self._received < self._limit + _DRAIN_BYTES:
                message = await self._receive()
                self._received += len(message.get("body", b""))
                self._complete = message["type"] != "http.request" or not message.get("more_body", False)

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(read_rest(), _DRAIN_S)


def _too_large(limit: int) -> str:
    return f"the body is larger than the {limit:,} bytes allowed for this request"


_CHALLENGE = {"www-authenticate": "Bearer"}


_AUTHORITY = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
"""Host and port of a Host header (RFC 9110), without `%`-escapes, an empty port or a user name before `@`."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Authority(NamedTuple):
    """A host, in lower case, and a port."""

    name: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Authority:
        """The authority in a text. Raises ValueError for anything but `host` or `host:port`."""
        match = _AUTHORITY.fullmatch(text)
        if match is None or int(match["port"] or 0) > 65535:
            raise ValueError(f"{text[:80]!r} is not a host")
        if match["name"].startswith("["):
            ipaddress.IPv6Address(match["name"][1:-1])
        return cls(match["name"].lower(), None if match["port"] is None else int(match["port"]))

    @property
    def loopback(self) -> bool:
        """Whether this is the machine's own address or `localhost`; short and packed spellings of an IPv4 address count
        as names of other machines.
        """
        return is_loopback(self.name) and not self.name.startswith("[::ffff:")


def _target(hosts: list[str]) -> Authority | None:
    """The host that a request is for; HTTP/1.0 may leave it out. Raises ValueError."""
    if len(hosts) > 1:
        raise ValueError("several hosts")
    return Authority.parse(hosts[0]) if hosts and hosts[0] else None


def _is_foreign(origins: list[str], target: Authority | None) -> bool:
    """Whether a request comes from a page of another site; `null` counts as one. Raises ValueError."""
    if not origins or origins == ["null"]:
        return bool(origins)
    scheme, separator, rest = origins[0].partition("://")
    if len(origins) > 1 or not separator:
        raise ValueError("not an origin")
    default = _DEFAULT_PORTS.get(scheme.lower())
    origin = Authority.parse(rest)
    if default is None or target is None:
        return True
    return (origin.name, origin.port or default) != (target.name, target.port or default)


async def _reply(send: Send, refused: Refused) -> None:
    body = json.dumps({"error": error_body(refused.status, refused.reason)}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    # The rest of the body is not read, so the connection ends here.
    headers["connection"] = "close"
    await send(
        {
            "type": "http.response.start",
            "status": refused.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "unavailable_error",
    504: "timeout_error",
    507: "unavailable_error",
}


def error_body(status: int, message: str, param: str | None = None) -> dict[str, str | None]:
    """An error in the form that OpenAI's clients know; every route uses it."""
    return {"message": message, "type": _TYPES.get(status, "server_error"), "param": param, "code": str(status)}
