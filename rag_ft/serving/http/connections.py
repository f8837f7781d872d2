"""Connections: one whose client does not finish a request's head in time is closed.

uvicorn limits how long an open connection may idle, and the app how long a body may take (security.py). A head that
arrives a byte at a time falls between the two and would hold its connection for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0
"""Time limit for a request's line and headers, from the start of the connection or the end of the last reply."""


class TimedHeadProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a time limit on a request's head."""

    head_seconds = HEAD_SECONDS
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock, before the first byte."""
        super().connection_made(transport)
        self._due = self.loop.call_later(self.head_seconds, transport.close)

    def data_received(self, data: bytes) -> None:
        """Stop the clock while a request is being answered; start it again with the next bytes after the reply.

        Those are the next head, or a body that is no longer wanted. uvicorn's own clock for idle connections stops at
        the first byte.
        """
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_clock()
        elif self._due is None:
            self._due = self.loop.call_later(self.head_seconds, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
