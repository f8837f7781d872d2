"""Personal tokens: a TOML file of hashed tokens, each with a name, groups and a right; reloaded when it changes.

    default_access = ["staff"]      # who may read documents without `access`; default: every token

    [[token]]
    name = "anna"
    hash = "sha256:..."
    groups = ["staff", "legal"]
    rights = "read"                 # read, write or admin
    expires = 2027-01-31            # optional: the last day (UTC), or a time with its zone

A token is 256 random bits, which nobody can guess: a single SHA-256 is enough, and quick to check. With a slow hash, as
for passwords, anyone could keep the server busy by sending wrong tokens.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import os
import re
import secrets
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from rag_ft.errors import UsageError, first_problem
from rag_ft.files import write_atomic
from rag_ft.indexing.access import Audience, Label, groups_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

logger = logging.getLogger(__name__)

_PREFIX = "rft_"
"""Start of every token, by which people and secret scanners recognise one."""

_HASH = r"sha256:[0-9a-f]{64}"
_MOST_BYTES = 10_000_000


class Right(IntEnum):
    """What a token allows; each right includes those before it."""

    READ = 1
    """Ask, search, list and read documents that its groups may read."""
    WRITE = 2
    """Also upload, and remove or replace documents that its groups may read."""
    ADMIN = 3
    """Everything, whatever its groups."""


@dataclass(frozen=True)
class Identity:
    """Who asks: name, right and groups of a token."""

    name: str
    """Name of the token; empty on a server without personal tokens."""
    right: Right
    groups: Annotated[Label, BeforeValidator(groups_of)] = ()
    audience: Audience | None = None
    """Readers whose documents are visible; None: all documents."""
    hash: str = ""


EVERYONE = Identity("", Right.ADMIN)
"""Everyone who reaches a server without personal tokens."""


class TokenEntry(BaseModel):
    """One token in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    hash: Annotated[StrictStr, Field(pattern=rf"^{_HASH}$")]
    groups: Annotated[Label, BeforeValidator(groups_of)] = ()
    rights: Literal["read", "write", "admin"] = "read"
    expires: datetime.date | datetime.datetime | None = None

    @field_validator("expires", mode="before")
    @classmethod
    def _is_a_date(cls, value: object) -> object:
        if isinstance(value, datetime.datetime) and value.tzinfo is None:
            raise ValueError("is a time without a zone: end it with Z, or give a date")
        if value is not None and not isinstance(value, datetime.date):
            raise ValueError("is not a date: write it without quotation marks, for example 2027-01-31")
        return value

    @model_validator(mode="after")
    def _can_write_somewhere(self) -> TokenEntry:
        if self.rights == "write" and not self.groups:
            raise ValueError(
                "rights are 'write' but there are no groups, so nobody could read its uploads: give it groups"
            )
        return self

    def expired(self, now: datetime.datetime) -> bool:
        """Whether the token's last day, or its time, has passed."""
        if isinstance(self.expires, datetime.datetime):
            return now >= self.expires
        return self.expires is not None and now.date() > self.expires


class Tokens(BaseModel):
    """Content of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_access: Annotated[Label | None, BeforeValidator(groups_of)] = None
    token: tuple[TokenEntry, ...] = ()

    @model_validator(mode="after")
    def _are_distinct(self) -> Tokens:
        for field in ("name", "hash"):
            values = [getattr(entry, field) for entry in self.token]
            repeated = [value for value in values if values.count(value) > 1]
            if repeated:
                raise ValueError(f"two tokens have the {field} {repeated[0]!r}: each needs its own")
        return self


def hash_of(token: str) -> str:
    """Hash of a token, as the file holds it."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def parse_tokens(data: bytes, path: Path) -> Tokens:
    """The tokens in the bytes of a file; one bad entry refuses all of them. Raises UsageError."""
    try:
        return Tokens.model_validate(tomllib.loads(data.decode("utf-8")))
    except ValidationError as error:
        raise UsageError(f"{path} is not a valid file of tokens ({first_problem(error)[:200]}): correct it") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML ({str(error)[:120]}): correct it") from error


class _FileState(NamedTuple):
    """Identity and version of a file, by which a change is noticed."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class TokenFile:
    """The tokens in a file, reloaded when it changes. Raises UsageError where it cannot be used at the start.

    A file that becomes invalid later is refused as a whole, with an error in the log; the tokens from before stay
    valid. While the file is missing, no token is valid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._problem = ""
        self._state: _FileState | None = None
        self._tokens = Tokens()
        tokens, self._state = self._read()
        if not tokens.token:
            raise UsageError(f"{path} holds no token: create one with 'rag-ft token add --file {path} --name NAME'")
        self._tokens = tokens

    @property
    def tokens(self) -> Tokens:
        """The current tokens."""
        self._reload()
        return self._tokens

    def identity(self, token: str, *, now: datetime.datetime | None = None) -> Identity | None:
        """Owner of a token; None if it is unknown or has expired."""
        return self.known(hash_of(token), now=now)

    def known(self, hashed: str, *, now: datetime.datetime | None = None) -> Identity | None:
        """Owner of a token given by its hash; None if it is unknown or has expired."""
        self._reload()
        match: TokenEntry | None = None
        for entry in self._tokens.token:  # always all of them: the time taken must not reveal which one matched
            if secrets.compare_digest(entry.hash, hashed):
                match = entry
        if match is None or match.expired(now or datetime.datetime.now(datetime.timezone.utc)):
            return None
        right = Right[match.rights.upper()]
        default = self._tokens.default_access
        audience = Audience(frozenset(match.groups), None if default is None else frozenset(default))
        return Identity(match.name, right, match.groups, None if right is Right.ADMIN else audience, match.hash)

    def _reload(self) -> None:
        """Read the file again if it has changed."""
        try:
            if _file_state(os.stat(self.path)) == self._state:
                return
            self._tokens, self._state = self._read()
            self._problem = ""
        except FileNotFoundError:
            self._tokens, self._state = Tokens(), None
            self._report(f"{self.path} is missing: no token is valid until it is back")
        except (UsageError, OSError) as error:
            self._report(f"{error}; the tokens from before this change stay valid")

    def _report(self, problem: str) -> None:
        """Log a problem, once."""
        if problem != self._problem:
            logger.error("%s", problem)
        self._problem = problem

    def _read(self) -> tuple[Tokens, _FileState]:
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
                    raise UsageError(
                        f"{self.path} is not an ordinary file of up to {_MOST_BYTES / 1e6:.0f} MB: give another one"
                    )
                data = file.read(_MOST_BYTES)
        except FileNotFoundError:
            if self._state is not None:
                raise
            raise UsageError(
                f"there is no file of tokens at {self.path}: create one with"
                f" 'rag-ft token add --file {self.path} --name NAME'"
            ) from None
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be read ({error.strerror or error}): check its permissions"
            ) from error
        if os.name != "nt":
            if status.st_mode & stat.S_IWOTH:
                raise UsageError(f"every user of this machine can write to {self.path}: run chmod 600 {self.path}")
            if status.st_mode & stat.S_IROTH:
                logger.warning("every user of this machine can read %s: run chmod 600 %s", self.path, self.path)
        return parse_tokens(data, self.path), _file_state(status)


def _file_state(status: os.stat_result) -> _FileState:
    return _FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def add_token(
    path: Path, name: str, *, groups: Sequence[str], rights: str, expires: datetime.date | None = None
) -> str:
    """Create a token and add its hash to the file, which is created if missing; the token itself. Raises UsageError."""
    token = _PREFIX + secrets.token_urlsafe(32)
    before = _text(path)
    lines = [
        "[[token]]",
        f'name = "{name}"',
        f'hash = "{hash_of(token)}"',
        f"groups = [{', '.join(_quoted(group) for group in groups)}]",
        f"rights = {_quoted(rights)}",
        *([f"expires = {expires.isoformat()}"] if expires is not None else []),
    ]
    try:
        entry = TokenEntry(
            name=name, hash=hash_of(token), groups=groups_of(list(groups)), rights=rights, expires=expires
        )
    except (ValidationError, UsageError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else f"groups: it {error}"
        raise UsageError(f"this token cannot be created ({problem[:200]})") from None
    known = parse_tokens(before.encode(), path)
    if any(other.name == entry.name for other in known.token):
        raise UsageError(f"{path} already has a token {name!r}: remove it, or give another name")
    text = before.rstrip("\n") + ("\n\n" if before.strip() else "") + "\n".join(lines) + "\n"
    _write(path, text, expected=(*known.token, entry))
    return token


def remove_token(path: Path, name: str) -> None:
    """Remove a token from the file: a running server refuses it from its next request on. Raises UsageError."""
    before = _text(path, must_exist=True)
    known = parse_tokens(before.encode(), path).token
    if all(entry.name != name for entry in known):
        raise UsageError(f"{path} has no token {name!r}: 'rag-ft token list' shows them")
    kept: list[str] = []
    for block in re.split(r"(?m)^(?=[ \t]*\[\[[ \t]*token[ \t]*\]\])", before):
        try:
            names = [entry.get("name") for entry in tomllib.loads(block).get("token", ())]
        except tomllib.TOMLDecodeError:
            names = []
        if names != [name]:
            kept.append(block)
    _write(path, "".join(kept), expected=tuple(entry for entry in known if entry.name != name))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(path: Path, *, must_exist: bool = False) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise UsageError(f"there is no file of tokens at {path}: give another one") from None
        return ""
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}): give another file") from error


def _write(path: Path, text: str, *, expected: tuple[TokenEntry, ...]) -> None:
    """Write the file if it parses to what is expected; permissions are kept, and a new file is its owner's only."""
    try:
        same = parse_tokens(text.encode(), path).token == expected
    except UsageError:
        same = False
    if not same:
        raise UsageError(f"{path} is formatted in a way that this command cannot change: edit it by hand")
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text, mode=mode)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error}): give another path") from error
