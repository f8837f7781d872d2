"""Settings of the server: address, limits, secrets."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from rag_ft.indexing.formats.limits import MEGABYTE


class ServeConfig(BaseModel):
    """Settings of one server. Raises ValueError for an address that other machines can reach, without a token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    token: SecretStr | None = None
    """Bearer token for every request except `/healthz`, `/readyz` and the page's own files."""
    tokens: Path | None = None
    """File of personal tokens (`serving.http.tokens`), instead of a shared one: each sees what its groups may read."""
    allow_changes: bool = True
    """Whether documents may be uploaded and deleted, and feedback given."""
    watch: Path | None = None
    """Folder that the index is kept equal to while it is served; documents then cannot be uploaded or deleted."""
    poll: bool = False
    """Whether the watched folder gives no notices of changes and is looked through instead."""
    k: Annotated[int, Field(ge=1)] = 3
    """Passages for a question that gives no k."""
    max_k: Annotated[int, Field(ge=1)] = 20
    max_question_chars: Annotated[int, Field(ge=1)] = 2_000
    max_body_bytes: Annotated[int, Field(ge=1)] = 256_000
    """Maximum size of a request's body, uploads aside."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = 25 * MEGABYTE
    body_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Time limit for a request's body to arrive."""
    parse_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Time limit for reading an uploaded file, in wall time and in processor time."""
    parse_memory_bytes: Annotated[int, Field(ge=1)] = 1_500 * MEGABYTE
    page_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0
    """Time limit for drawing a page of a PDF."""
    keep_originals: bool = False
    """Whether uploaded files are kept beside the index."""
    max_text_chars: Annotated[int, Field(ge=1)] = 5_000_000
    """Maximum characters of an uploaded document's text."""
    uploads: Annotated[int, Field(ge=1)] = 8
    """Maximum uploads in progress, from first byte to reply: each holds up to its size in memory and on disk."""
    queue: Annotated[int, Field(ge=1)] = 64
    """Maximum questions waiting, and maximum searches waiting; one more is refused with 429."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Maximum questions read together."""
    deadline_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    """Time limit for an answer; after it the client gets error 504 and the question leaves the queue."""
    report: Path | None = None
    """Evaluation report (HTML) that the page links to."""

    review: Path | None = None
    """Question records that people look through at `/review`; the verdicts are kept beside the file."""

    @model_validator(mode="after")
    def _a_review_is_a_change(self) -> ServeConfig:
        if self.review is not None and not self.allow_changes:
            raise ValueError("a read-only server takes no verdicts on records: drop --read-only, or --review")
        return self

    @model_validator(mode="after")
    def _k_within_its_own_limit(self) -> ServeConfig:
        if self.k > self.max_k:
            raise ValueError(f"k is {self.k}, more than the {self.max_k} allowed")
        return self

    @model_validator(mode="after")
    def _open_address_needs_token(self) -> ServeConfig:
        if self.token is not None and len(self.token.get_secret_value()) < MIN_TOKEN:
            raise ValueError(f"the token must have at least {MIN_TOKEN} characters: create a long random one")
        if self.token is not None and self.tokens is not None:
            raise ValueError(
                "a shared token and a file of personal tokens are both given: unset RAG_FT_TOKEN, or drop the file"
            )
        if not self.needs_token and not is_loopback(self.host):
            raise ValueError(
                f"other machines can reach the address {self.host}, so a token is required: set RAG_FT_TOKEN, give a"
                " file of tokens, or listen on 127.0.0.1"
            )
        return self

    @property
    def takes_changes(self) -> bool:
        """Whether documents may be uploaded and deleted: a build would take back what was changed otherwise."""
        return self.allow_changes and self.watch is None

    @property
    def needs_token(self) -> bool:
        """Whether requests must carry a token."""
        return self.token is not None or self.tokens is not None


MIN_TOKEN = 16
"""Minimum characters of a shared token."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost counts as reachable by others."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
