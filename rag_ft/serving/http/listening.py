"""Listening: a socket at an address, and uvicorn with this server's limits."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from rag_ft.errors import RagFtError
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http.connections import TimedHeadProtocol

MOST_CONNECTIONS = 1000
"""Connections beyond this number are refused at once: each holds memory."""

_KEEP_ALIVE_S = 15
"""Seconds that an idle connection is kept open."""


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not listening yet; port 0 takes a free one. Raises RagFtError."""

    def cannot_listen(error: OSError) -> RagFtError:
        return RagFtError(
            f"the server cannot listen at {host}:{port} ({error.strerror}): give another --port or --host"
        )

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise cannot_listen(error) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise cannot_listen(error) from error
    return bound


class AnnouncingServer(uvicorn.Server):
    """uvicorn's server, which reports its addresses once it listens; with port 0 nobody could know them before."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[str], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then report each address as a URL."""
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                host, port = listener.getsockname()[:2]
                name = f"[{host}]" if ":" in host else host
                self._on_listening(f"http://{name}:{port}")


def run_server(
    app: ASGIApp, config: ServeConfig, bound: socket.socket, on_listening: Callable[[str], None] = lambda url: None
) -> None:
    """Serve the application on a bound socket until the process is interrupted or terminated.

    `on_listening` gets the server's URL once it accepts connections. Questions already accepted are answered before it
    ends.
    """
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        log_config=None,  # its messages go through our own log, which is safe for a terminal
        log_level="warning",
        http=TimedHeadProtocol,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(config.deadline_seconds) + 1,
    )
    AnnouncingServer(settings, on_listening).run(sockets=[bound])
