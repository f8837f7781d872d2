"""How the server is run: addresses, limits, secrets."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

MEGABYTE = 1_000_000


class ServeConfig(BaseModel):
    """Settings of one server. Raises ValueError for an open address without a token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    token: SecretStr | None = None
    """Bearer token that every request but `/healthz`, `/readyz` and the page's own files must bring."""
    tokens: Path | None = None
    """A file of personal tokens (`serving.tokens`), in place of the one that all share: each sees what its groups may
    read."""
    allow_changes: bool = True
    """Whether documents may be uploaded and deleted."""
    k: Annotated[int, Field(ge=1)] = 3
    """Passages for a question that does not say how many."""
    max_k: Annotated[int, Field(ge=1)] = 20
    max_question_chars: Annotated[int, Field(ge=1)] = 2_000
    max_body_bytes: Annotated[int, Field(ge=1)] = 256_000
    """Of any request but an upload."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = 25 * MEGABYTE
    body_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """In which a request's body must have arrived."""
    parse_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """In which an uploaded file must have been read, in wall time and in processor time."""
    parse_memory_bytes: Annotated[int, Field(ge=1)] = 1_500 * MEGABYTE
    max_text_chars: Annotated[int, Field(ge=1)] = 5_000_000
    """Of an uploaded document, after it was read."""
    uploads: Annotated[int, Field(ge=1)] = 8
    """Uploads that may be on their way at once, from the first byte to the reply: each holds up to its size in memory
    and on disk."""
    queue: Annotated[int, Field(ge=1)] = 64
    """Questions that may wait, and searches likewise; one more is refused with 429."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Questions that are read together at most."""
    deadline_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    """In which a question must be answered; later its client has the error 504 and its place is free."""
    report: Path | None = None
    """An evaluation report (HTML) that the page links to."""

    @model_validator(mode="after")
    def _k_within_its_own_limit(self) -> ServeConfig:
        if self.k > self.max_k:
            raise ValueError(f"k is {self.k}, more than the {self.max_k} passages that a question may have")
        return self

    @model_validator(mode="after")
    def _open_address_needs_token(self) -> ServeConfig:
        if self.token is not None and len(self.token.get_secret_value()) < MIN_TOKEN:
            raise ValueError(f"the token must have {MIN_TOKEN} characters or more: make a long random one")
        if self.token is not None and self.tokens is not None:
            raise ValueError(
                "there are a shared token and a file of personal ones: unset RAG_FT_TOKEN, or leave the file"
            )
        if not self.needs_token and not is_loopback(self.host):
            raise ValueError(
                f"the address {self.host} can be reached from other machines, so a token is required:"
                " set RAG_FT_TOKEN, give a file of tokens, or listen on 127.0.0.1"
            )
        return self

    @property
    def needs_token(self) -> bool:
        """Whether requests must bring a token."""
        return self.token is not None or self.tokens is not None


MIN_TOKEN = 16


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than localhost counts as open."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
