"""Rights: which one each route needs, who asks, and the id and label that an uploaded document gets."""

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
    ("GET", "/review"): None,
    ("GET", "/page.js"): None,
    ("GET", "/feedback.js"): None,
    ("GET", "/marking.js"): None,
    ("GET", "/review.js"): None,
    ("GET", "/shared.js"): None,
    ("GET", "/page.css"): None,
    ("GET", "/icon.svg"): None,
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/report/{ticket}"): None,
    ("GET", "/openapi.json"): Right.READ,
    ("GET", "/v1/about"): Right.READ,
    ("POST", "/v1/ask"): Right.READ,
    ("POST", "/v1/search"): Right.READ,
    ("POST", "/v1/feedback"): Right.READ,
    ("GET", "/v1/review"): Right.WRITE,
    ("POST", "/v1/review"): Right.WRITE,
    ("POST", "/v1/chat/completions"): Right.READ,
    ("GET", "/v1/models"): Right.READ,
    ("GET", "/v1/models/{name:path}"): Right.READ,
    ("GET", "/v1/documents"): Right.READ,
    ("GET", "/v1/documents/{document_id:path}"): Right.READ,
    ("POST", "/v1/documents"): Right.WRITE,
    ("DELETE", "/v1/documents/{document_id:path}"): Right.WRITE,
    ("GET", "/v1/pages/{document_id:path}"): Right.READ,
    ("GET", "/v1/originals/{document_id:path}"): Right.READ,
    ("GET", "/v1/links/{document_id:path}"): Right.READ,
    ("GET", "/original/{ticket}"): None,
    ("GET", "/v1/report"): Right.ADMIN,
    ("GET", "/metrics"): Right.ADMIN,
}
"""Right needed, by method and route; None: no token is needed. A route that is not listed needs an administrator."""

IDENTITY = "rag_ft.identity"
"""Key in a request's scope that holds who asks."""


def needed_right(routes: Iterable[BaseRoute], scope: Scope) -> Right | None:
    """The right that a request needs; READ if no route matches, so that only holders of a token learn that."""
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    for route in routes:
        if isinstance(route, Route) and route.matches(scope)[0] is Match.FULL:
            return RIGHTS.get((method, route.path), Right.ADMIN)
    return Right.READ


class Authenticator:
    """Identifies who asks by the token; on a server without tokens everyone is the same."""

    def __init__(self, config: ServeConfig) -> None:
        self._shared = config.token
        self._file = TokenFile(config.tokens) if config.tokens is not None else None

    def identity(self, token: str | None) -> Identity | None:
        """Owner of a bearer token, where None means that none was sent; None if it is nobody's."""
        if self._file is not None:
            return self._file.identity(token) if token else None
        if self._shared is None:
            return EVERYONE
        expected = self._shared.get_secret_value().encode()
        return EVERYONE if token is not None and secrets.compare_digest(token.encode(), expected) else None

    def current(self, identity: Identity) -> Identity | None:
        """An identity seen before, with the rights that its token has now; None if the token is no longer valid."""
        return identity if self._file is None else self._file.known(identity.hash)


def identity_of(request: HTTPConnection) -> Identity:
    """The identity that sent a request."""
    identity: Identity = request.scope[IDENTITY]
    return identity


def uploaded_id(view: Index, name: str) -> str | None:
    """Id of the visible document with this file name; None if there is none."""
    if name in set(view.documents()):
        return name
    for entry in view.entries():
        if entry.metadata.get("uploaded") is True and PurePosixPath(entry.id).name == name:
            return entry.id
    return None


def label_upload(document: Document, identity: Identity, chosen: Sequence[str] | None) -> Document:
    """An uploaded document with its label. Raises UsageError.

    The label is the groups that the uploader chose (default: all groups of the token), narrowed to those that the
    document itself names, if it names any. An administrator may choose any group; without a choice, and without groups
    of the token, the document keeps its own label.
    """
    if identity.right is not Right.ADMIN:
        not_owned = sorted(set(chosen or ()) - set(identity.groups))
        if not_owned:
            raise UsageError(
                f"{ACCESS} names {not_owned[0][:64]!r}, a group that this token does not have:"
                f" choose from {', '.join(identity.groups)}"
            )
    ceiling = tuple(chosen) if chosen else identity.groups or None
    document = labelled(document, ceiling)
    if identity.audience is not None and not identity.audience.may_read(document.metadata):
        raise UsageError(f"the {ACCESS!r} in the document names none of the groups that may read it: change it there")
    return document


def name_upload(document: Document, existing: str | None, identity: Identity) -> Document:
    """An uploaded document with its id: that of the document it replaces, or a new one.

    An uploader who sees only a part of the index gets an id that nobody else can have chosen. A plain name could be
    that of a hidden document, and every reaction (a refusal, another name, a replacement) would reveal or damage it.
    """
    if existing is not None:
        name = existing
    elif identity.audience is None:
        name = document.id
    else:
        name = f"uploads/{secrets.token_hex(8)}/{document.id}"
    return document if name == document.id else document.model_copy(update={"id": name})
