"""Connections: a client that does not finish a request's head in time is hung up on.

uvicorn limits how long a kept connection may idle, and the app how long a body may take (security.py); a head that
comes a byte at a time is between the two, and would hold its connection for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
"""In which a request's line and headers must have arrived, from the connection's or the request's first byte."""


class TimedHeadProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a time limit on a request's head."""

    head_seconds = HEAD_SECONDS
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock starts before the first byte."""
        super().connection_made(transport)
        self._due = self.loop.call_later(self.head_seconds, transport.close)

    def data_received(self, data: bytes) -> None:
        """It stops when a request is being answered, and starts again with what comes after its answer: the next head,
        or a body that nobody waits for any more. uvicorn's own clock for idle connections stops at the first byte.
        """
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._no_longer_due()
        elif self._due is None:
            self._due = self.loop.call_later(self.head_seconds, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._no_longer_due()
        super().connection_lost(exc)

    def _no_longer_due(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
