"""Links for browsers, which send no token when they follow one: a path with a ticket that is valid for a minute."""

from __future__ import annotations

import secrets
import time
from typing import Generic, TypeVar

from rag_ft.serving.http.rights import Authenticator
from rag_ft.serving.http.tokens import Identity

T = TypeVar("T")

TICKET_S = 60.0
"""Seconds that a ticket is valid."""


class Tickets(Generic[T]):
    """Tickets for one kind of link, each with who asked for it and for what. Used on the event loop alone."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._issued: dict[str, tuple[float, Identity, T]] = {}

    def issue(self, identity: Identity, wanted: T) -> str:
        """A new ticket."""
        now = time.monotonic()
        for expired in [ticket for ticket, (until, _, _) in self._issued.items() if until < now]:
            del self._issued[expired]
        ticket = secrets.token_urlsafe(24)
        self._issued[ticket] = now + TICKET_S, identity, wanted
        return ticket

    def redeem(self, ticket: str) -> tuple[Identity, T] | None:
        """Who asked and for what; None for a ticket that has expired, or whose token is no longer valid.

        The identity has the rights that its token has now.
        """
        if ticket not in self._issued:
            return None
        until, identity, wanted = self._issued[ticket]
        now_valid = self._authenticator.current(identity) if until >= time.monotonic() else None
        return None if now_valid is None else (now_valid, wanted)
