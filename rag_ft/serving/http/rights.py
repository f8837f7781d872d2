"""Which right each route needs, and what becomes of a document that somebody uploads."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from rag_ft.errors import UsageError
from rag_ft.indexing.access import ACCESS, labelled
from rag_ft.indexing.index import Index
from rag_ft.schema import Document
from rag_ft.serving.config import ServeConfig
from rag_ft.serving.http.tokens import EVERYONE, Identity, Right, TokenFile

RIGHTS: dict[tuple[str, str], Right | None] = {
    ("GET", "/"): None,
    ("GET", "/page.js"): None,
    ("GET", "/page.css"): None,
    ("GET", "/icon.svg"): None,
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/report/{ticket}"): None,
    ("GET", "/openapi.json"): Right.READ,
    ("GET", "/v1/about"): Right.READ,
    ("POST", "/v1/ask"): Right.READ,
    ("POST", "/v1/search"): Right.READ,
    ("POST", "/v1/chat/completions"): Right.READ,
    ("GET", "/v1/models"): Right.READ,
    ("GET", "/v1/models/{name:path}"): Right.READ,
    ("GET", "/v1/documents"): Right.READ,
    ("GET", "/v1/documents/{document_id:path}"): Right.READ,
    ("POST", "/v1/documents"): Right.WRITE,
    ("DELETE", "/v1/documents/{document_id:path}"): Right.WRITE,
    ("GET", "/v1/report"): Right.ADMIN,
    ("GET", "/metrics"): Right.ADMIN,
}
"""By method and the route's path; None: nobody needs a token for it. A route that is not here is an administrator's."""

IDENTITY = "rag_ft.identity"
"""Where a request's scope holds who asks."""


def needed_right(routes: Iterable[BaseRoute], scope: Scope) -> Right | None:
    """The right that a request needs; READ where no route takes it, so that only who has a token learns that."""
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    for route in routes:
        if isinstance(route, Route) and route.matches(scope)[0] is Match.FULL:
            return RIGHTS.get((method, route.path), Right.ADMIN)
    return Right.READ


class Door:
    """Tells who asks, by the token; for a server without one everybody is the same."""

    def __init__(self, config: ServeConfig) -> None:
        self._shared = config.token
        self._file = TokenFile(config.tokens) if config.tokens is not None else None

    def identity(self, token: str | None) -> Identity | None:
        """Who brings this bearer token (None: none); None for nobody."""
        if self._file is not None:
            return self._file.identity(token) if token else None
        if self._shared is None:
            return EVERYONE
        right = self._shared.get_secret_value().encode()
        return EVERYONE if token is not None and secrets.compare_digest(token.encode(), right) else None

    def again(self, identity: Identity) -> Identity | None:
        """Somebody who was let in before, as that token is now."""
        return identity if self._file is None else self._file.known(identity.hash)


def identity_of(request: HTTPConnection) -> Identity:
    """Who sent a request."""
    identity: Identity = request.scope[IDENTITY]
    return identity


def uploaded_as(view: Index, name: str) -> str | None:
    """The id of a document of this name among those that somebody may see; None where there is none."""
    if name in set(view.documents()):
        return name
    for entry in view.entries():
        if entry.metadata.get("uploaded") is True and PurePosixPath(entry.id).name == name:
            return entry.id
    return None


def received(document: Document, identity: Identity, chosen: Sequence[str] | None) -> Document:
    """An uploaded document with the label that it gets. Raises UsageError.

    Of the groups that its uploader chose (left out: all of his own), those that the document itself names, if it does.
    An administrator may choose any; without a choice, and without groups of his own, the document stays as it is.
    """
    if identity.right is not Right.ADMIN:
        foreign = sorted(set(chosen or ()) - set(identity.groups))
        if foreign:
            raise UsageError(
                f"{ACCESS} names {foreign[0][:64]!r}, a group that this token does not have:"
                f" choose among {', '.join(identity.groups)}"
            )
    ceiling = tuple(chosen) if chosen else identity.groups or None
    document = labelled(document, ceiling)
    if identity.audience is not None and not identity.audience.may_read(document.metadata):
        raise UsageError(f"the document's own {ACCESS!r} names none of the groups that may read it: change it there")
    return document


def named(document: Document, taken: str | None, identity: Identity) -> Document:
    """An uploaded document with its id: that of the one it replaces, or a new one.

    Whoever sees only a part gets an id that nobody else can have chosen: a plain name could be that of a document which
    is hidden, and whatever was done then (a refusal, another name, a replacement) would tell of it or harm it.
    """
    if taken is not None:
        name = taken
    elif identity.audience is None:
        name = document.id
    else:
        name = f"uploads/{secrets.token_hex(8)}/{document.id}"
    return document if name == document.id else document.model_copy(update={"id": name})
