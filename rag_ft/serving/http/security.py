"""What stands between the network and the routes: size and time of bodies, token, origin, host, headers."""

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
from rag_ft.serving.http.rights import IDENTITY, Door
from rag_ft.serving.http.tokens import Right

logger = logging.getLogger(__name__)

REPORT_PATH = "/report/"
"""What follows is a ticket that only somebody with the token can have."""

UPLOAD_PATH = "/v1/documents"
_MULTIPART_BYTES = 10_000
"""Around the file in an upload's body."""

_UPLOAD_RETRY_S = 10

_DRAIN_S = 5.0
_DRAIN_BYTES = 32_000_000

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
    """A request that is not answered; `status` and the reason for its client."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers or {}


class Guard:
    """The layer around the routes: refuses before anything is read, and puts the headers on whatever is replied."""

    def __init__(self, app: ASGIApp, config: ServeConfig, door: Door, needed: Callable[[Scope], Right | None]) -> None:
        """`door` tells who asks, `needed` which right a request takes."""
        self._app = app
        self._config = config
        self._door = door
        self._needed = needed
        self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reply to it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        body = _Body(receive, self._most(scope), self._config.body_seconds)

        async def dressed(message: Message) -> None:
            nonlocal started
            if body.refused is not None and not started:
                # The framework takes whatever goes wrong while it reads a body for a mistake in the body.
                raise body.refused
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        uploading = self._uploads(scope)
        try:
            self._check(scope)
            if uploading and self._uploading >= self._config.uploads:
                raise Refused(
                    429,
                    f"{self._uploading} uploads are on their way already: try again in {_UPLOAD_RETRY_S} s",
                    {"retry-after": str(_UPLOAD_RETRY_S)},
                )
            self._uploading += uploading
            try:
                await self._app(scope, body.receive, dressed)
            finally:
                self._uploading -= uploading
        except ClientDisconnect:
            return
        except Exception as error:
            refused = error if isinstance(error, Refused) else self._unexpected(error)
            if not started:
                # A client that is still sending would take a closed connection for a fault of the network.
                await body.drain()
                body.refused = None
                await _reply(dressed, refused)

    @staticmethod
    def _unexpected(error: Exception) -> Refused:
        """What a mistake of ours is told as; replied here, so that such replies have the headers, too."""
        logger.error("a request failed", exc_info=error)
        return Refused(500, "the server failed on this request; its log says why")

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        try:
            named = _named(headers.getlist("host"))
            foreign = _foreign(headers.getlist("origin"), named)
        except ValueError:
            raise Refused(400, "the Host or the Origin header is no address") from None
        if is_loopback(self._config.host) and not self._config.needs_token and not (named and named.loopback):
            # A page of another site whose name was made to point to this machine would come with its own name.
            raise Refused(403, f"this server answers to localhost only, not to {host[:80]!r}")
        if foreign:
            raise Refused(403, "requests from pages of another site are not answered")
        self._admit(scope, headers)
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise Refused(400, "the content length is not a number")
        if int(length) > self._most(scope):
            raise Refused(413, _too_large(self._most(scope)))

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Note who asks, for the routes; refuse who may not."""
        needed = self._needed(scope)
        if needed is None:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        identity = self._door.identity(given.strip() if scheme.lower() == "bearer" else None)
        if identity is None:
            raise Refused(401, "a bearer token is needed: send 'Authorization: Bearer TOKEN'", _CHALLENGE)
        if identity.right < needed:
            raise Refused(403, f"this token may not do that: it takes one with the right {needed.name.lower()!r}")
        scope[IDENTITY] = identity

    def _most(self, scope: Scope) -> int:
        limits = self._config
        return limits.max_upload_bytes + _MULTIPART_BYTES if self._uploads(scope) else limits.max_body_bytes

    @staticmethod
    def _uploads(scope: Scope) -> bool:
        return bool(scope["method"] == "POST" and scope["path"] == UPLOAD_PATH)


class _Body:
    """A request's body as it comes: its bytes are counted, for it may come without a length, and not waited for for
    ever.
    """

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive = receive
        self._most = most
        self._seconds = seconds
        self._taken = 0
        self._whole = False
        self._until: float | None = None
        self.refused: Refused | None = None
        """Why it was not read to its end."""

    async def receive(self) -> Message:
        """The next piece. Raises Refused."""
        if self._whole:
            return await self._receive()  # waits for the client to go: that may last
        now = asyncio.get_running_loop().time()
        self._until = self._until or now + self._seconds
        try:
            message = await asyncio.wait_for(self._receive(), self._until - now)
        except asyncio.TimeoutError:
            self.refused = Refused(408, f"the body did not arrive within {self._seconds:g} s")
            raise self.refused from None
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._taken > self._most:
                self.refused = Refused(413, _too_large(self._most))
                raise self.refused
        return message

    async def drain(self) -> None:
        """Take what still comes and drop it: a little of it, and not for long."""

        async def take() -> None:
            while not self._whole and self._taken < self._most + _DRAIN_BYTES:
                message = await self._receive()
                self._taken += len(message.get("body", b""))
                self._whole = message["type"] != "http.request" or not message.get("more_body", False)

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(take(), _DRAIN_S)


def _too_large(most: int) -> str:
    return f"the body is larger than the {most:,} bytes that this request may have"


_CHALLENGE = {"www-authenticate": "Bearer"}


_AUTHORITY = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
"""Host and port as RFC 9110 has them in a Host header, without what nobody needs there: `%`-escapes and an empty port.
A user's name before `@` is no part of it."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Authority(NamedTuple):
    """A host and a port, as they were written but for upper case."""

    name: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Authority:
        """Raises ValueError for what is no `host` or `host:port`."""
        match = _AUTHORITY.fullmatch(text)
        if match is None or int(match["port"] or 0) > 65535:
            raise ValueError(f"{text[:80]!r} is no host")
        if match["name"].startswith("["):
            ipaddress.IPv6Address(match["name"][1:-1])
        return cls(match["name"].lower(), None if match["port"] is None else int(match["port"]))

    @property
    def loopback(self) -> bool:
        """Whether it is this machine's own address or `localhost`; short and packed ways to write an IPv4 address
        are names of others.
        """
        return is_loopback(self.name) and not self.name.startswith("[::ffff:")


def _named(hosts: list[str]) -> Authority | None:
    """Whom a request is for; HTTP/1.0 need not say."""
    if len(hosts) > 1:
        raise ValueError("several hosts")
    return Authority.parse(hosts[0]) if hosts and hosts[0] else None


def _foreign(origins: list[str], named: Authority | None) -> bool:
    """Whether a request comes from a page of another site. `null` is such a page, too."""
    if not origins or origins == ["null"]:
        return bool(origins)
    scheme, separator, rest = origins[0].partition("://")
    if len(origins) > 1 or not separator:
        raise ValueError("no origin")
    default = _DEFAULT_PORTS.get(scheme.lower())
    origin = Authority.parse(rest)
    if default is None or named is None:
        return True
    return (origin.name, origin.port or default) != (named.name, named.port or default)


async def _reply(send: Send, refused: Refused) -> None:
    body = json.dumps({"error": error_body(refused.status, refused.reason)}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    # What is left of the body is not read: the connection ends here.
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
    """An error as OpenAI's clients know it; every route uses it."""
    return {"message": message, "type": _TYPES.get(status, "server_error"), "param": param, "code": str(status)}
