"""Personal tokens: a TOML file of hashed tokens, each with a name, groups and a right; read again when it changes.

    default_access = ["staff"]      # who may read documents without `access`; left out: every token

    [[token]]
    name = "anna"
    hash = "sha256:..."
    groups = ["staff", "legal"]
    rights = "read"                 # read, write or admin
    expires = 2027-01-31            # if wanted: the last day (UTC), or a time with its zone

A token is 256 random bits, which nobody can guess or try out: one SHA-256 of it is enough, and is checked in no time,
where a slow hash for passwords would let anybody keep the server busy with wrong ones.
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
"""By which people, and programs that look for secrets in texts, know a token."""

_HASH = r"sha256:[0-9a-f]{64}"
_MOST_BYTES = 10_000_000


class Right(IntEnum):
    """What a token is good for; each includes those before it."""

    READ = 1
    """Ask, search, list and read what its groups may read."""
    WRITE = 2
    """Upload, and remove or replace what its groups may read."""
    ADMIN = 3
    """Everything, whatever its groups."""


@dataclass(frozen=True)
class Identity:
    """Who asks."""

    name: str
    """Empty where there are no personal tokens."""
    right: Right
    groups: Annotated[Label, BeforeValidator(groups_of)] = ()
    audience: Audience | None = None
    """What may be seen; None: everything."""
    hash: str = ""


EVERYONE = Identity("", Right.ADMIN)
"""Whoever reaches a server without personal tokens: it has nobody to tell apart."""


class TokenEntry(BaseModel):
    """One token of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    hash: Annotated[StrictStr, Field(pattern=rf"^{_HASH}$")]
    groups: Annotated[Label, BeforeValidator(groups_of)] = ()
    rights: Literal["read", "write", "admin"] = "read"
    expires: datetime.date | datetime.datetime | None = None

    @field_validator("expires", mode="before")
    @classmethod
    def _is_a_date(cls, given: object) -> object:
        if isinstance(given, datetime.datetime) and given.tzinfo is None:
            raise ValueError("is a time without a zone: end it with Z, or give a date")
        if given is not None and not isinstance(given, datetime.date):
            raise ValueError("is no date: write it without quotation marks, as 2027-01-31")
        return given

    @model_validator(mode="after")
    def _can_write_somewhere(self) -> TokenEntry:
        if self.rights == "write" and not self.groups:
            raise ValueError("rights are 'write' without groups, so that nobody could read its uploads: give it groups")
        return self

    def expired(self, now: datetime.datetime) -> bool:
        """Whether its time is over."""
        if isinstance(self.expires, datetime.datetime):
            return now >= self.expires
        return self.expires is not None and now.date() > self.expires


class Tokens(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_access: Annotated[Label | None, BeforeValidator(groups_of)] = None
    token: tuple[TokenEntry, ...] = ()

    @model_validator(mode="after")
    def _told_apart(self) -> Tokens:
        for field in ("name", "hash"):
            values = [getattr(entry, field) for entry in self.token]
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise ValueError(f"two tokens have the {field} {twice[0]!r}: each needs its own")
        return self


def hash_of(token: str) -> str:
    """What the file holds of a token."""
    return "sha256:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def parse_tokens(data: bytes, path: Path) -> Tokens:
    """The tokens of a file's bytes; all of them or none. Raises UsageError."""
    try:
        return Tokens.model_validate(tomllib.loads(data.decode("utf-8")))
    except ValidationError as error:
        raise UsageError(f"{path} is no valid file of tokens ({first_problem(error)[:200]}): mend it") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML ({str(error)[:120]}): mend it") from error


class _Seen(NamedTuple):
    """What tells that a file is another, or was written to."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class TokenFile:
    """The tokens of a file as it is now. Raises UsageError where it cannot be used at the start.

    A file that becomes invalid later is refused as a whole, with an error in the log: the tokens before it go on. Where
    the file is gone no token is good.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._refused = ""
        self._seen: _Seen | None = None
        self._tokens = Tokens()
        tokens, self._seen = self._read()
        if not tokens.token:
            raise UsageError(f"{path} holds no token: make one with 'rag-ft token add --file {path} --name NAME'")
        self._tokens = tokens

    @property
    def tokens(self) -> Tokens:
        """What the file says now."""
        self._look()
        return self._tokens

    def identity(self, token: str, *, now: datetime.datetime | None = None) -> Identity | None:
        """Whose token it is; None where it is nobody's, or its time is over."""
        return self.known(hash_of(token), now=now)

    def known(self, hashed: str, *, now: datetime.datetime | None = None) -> Identity | None:
        """`identity` of a token that came before, by its hash."""
        self._look()
        found: TokenEntry | None = None
        for entry in self._tokens.token:  # all of them: the time does not tell which one it was
            if secrets.compare_digest(entry.hash, hashed):
                found = entry
        if found is None or found.expired(now or datetime.datetime.now(datetime.timezone.utc)):
            return None
        right = Right[found.rights.upper()]
        default = self._tokens.default_access
        seen = Audience(frozenset(found.groups), None if default is None else frozenset(default))
        return Identity(found.name, right, found.groups, None if right is Right.ADMIN else seen, found.hash)

    def _look(self) -> None:
        """Take up a change of the file."""
        try:
            if _seen(os.stat(self.path)) == self._seen:
                return
            self._tokens, self._seen = self._read()
            self._refused = ""
        except FileNotFoundError:
            self._tokens, self._seen = Tokens(), None
            self._say(f"{self.path} is gone: no token is good until it is back")
        except (UsageError, OSError) as error:
            self._say(f"{error}; the tokens before this change go on")

    def _say(self, why: str) -> None:
        if why != self._refused:
            logger.error("%s", why)
        self._refused = why

    def _read(self) -> tuple[Tokens, _Seen]:
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
                    raise UsageError(f"{self.path} is no ordinary file of tokens: give another one")
                data = file.read(_MOST_BYTES)
        except FileNotFoundError:
            if self._seen is not None:
                raise
            raise UsageError(
                f"there is no file of tokens at {self.path}: make one with"
                f" 'rag-ft token add --file {self.path} --name NAME'"
            ) from None
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read ({error.strerror or error}): allow it") from error
        if os.name != "nt":
            if status.st_mode & stat.S_IWOTH:
                raise UsageError(f"{self.path} can be written by anybody on this machine: chmod 600 {self.path}")
            if status.st_mode & stat.S_IROTH:
                logger.warning("%s can be read by anybody on this machine: chmod 600 %s", self.path, self.path)
        return parse_tokens(data, self.path), _seen(status)


def _seen(status: os.stat_result) -> _Seen:
    return _Seen(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def add_token(
    path: Path, name: str, *, groups: Sequence[str], rights: str, expires: datetime.date | None = None
) -> str:
    """A new token, of which only the hash is written to the file, made if it is not there. Raises UsageError."""
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
        said = first_problem(error) if isinstance(error, ValidationError) else f"groups: it {error}"
        raise UsageError(f"this token cannot be made ({said[:200]})") from None
    known = parse_tokens(before.encode(), path)
    if any(other.name == entry.name for other in known.token):
        raise UsageError(f"{path} has a token {name!r} already: remove it, or give another name")
    text = before.rstrip("\n") + ("\n\n" if before.strip() else "") + "\n".join(lines) + "\n"
    _write(path, text, expected=(*known.token, entry))
    return token


def remove_token(path: Path, name: str) -> None:
    """Take a token out of the file: a running server refuses it from its next request on. Raises UsageError."""
    before = _text(path, there=True)
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


def _text(path: Path, *, there: bool = False) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if there:
            raise UsageError(f"there is no file of tokens at {path}: give another one") from None
        return ""
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}): give another file") from error


def _write(path: Path, text: str, *, expected: tuple[TokenEntry, ...]) -> None:
    """Write the file if it says what it should; it stays as readable as it was, and a new one is its owner's only."""
    try:
        same = parse_tokens(text.encode(), path).token == expected
    except UsageError:
        same = False
    if not same:
        raise UsageError(f"{path} is written in a way that cannot be changed by this command: edit it by hand")
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text, mode=mode)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error}): give another place") from error
