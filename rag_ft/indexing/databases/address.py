"""Addresses of indexes in databases, as people write them: `postgresql://...` and `lancedb:FOLDER`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from rag_ft.errors import UsageError

DEFAULT_NAME = "rag_ft"
"""Name of an index in a database whose address names none."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_POSTGRESQL = ("postgresql://", "postgres://")
_LANCEDB = "lancedb:"
_SHOWN = ("dbname", "host", "hostaddr", "port", "sslmode", "user")
"""Settings of a connection that are no secret."""


def is_database(place: object) -> bool:
    """Whether this is the address of an index in a database, and not a folder."""
    return isinstance(place, str) and place.startswith((*_POSTGRESQL, _LANCEDB))


class PostgresAddress(NamedTuple):
    """An address of PostgreSQL, taken apart."""

    connection: str
    """What the driver gets; may hold a password."""
    shown: str
    """The address without its password, for people and for records."""
    name: str
    """Name of the index in the database."""
    secrets: tuple[str, ...]
    """What must not be shown."""


class LanceAddress(NamedTuple):
    """An index in a LanceDB folder."""

    folder: Path
    name: str
    """Name of the index in the folder."""


def postgres_address(address: str) -> PostgresAddress:
    """Take an address apart. Raises UsageError, whose message holds nothing of the address: it may be a password."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or "@" in parts.netloc.rpartition("@")[0] or port == 0:
        raise UsageError(
            "the address of the database is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE: write special characters"
            " of the password as %XX ('@' is %40, '/' is %2F), or leave it out and set PGPASSWORD"
        )
    login, at, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    query = "&".join(piece for piece in parts.query.split("&") if piece.partition("=")[0] in _SHOWN)
    secrets = {
        password,
        *(piece.partition("=")[2] for piece in parts.query.split("&") if piece.startswith("password=")),
    }
    connection = urlunsplit((parts.scheme, parts.netloc, parts.path, parts.query, ""))
    if not parts.netloc:  # urlunsplit leaves the slashes of an empty host out
        connection = f"{parts.scheme}://{parts.path}{'?' + parts.query if parts.query else ''}"
    shown = f"{parts.scheme}://{user}{at}{host}{parts.path}{'?' + query if query else ''}"
    name = index_name(unquote(parts.fragment))
    hidden = tuple(sorted({form for secret in secrets if secret for form in (secret, unquote(secret))}, key=len)[::-1])
    return PostgresAddress(connection, shown if name == DEFAULT_NAME else f"{shown}#{name}", name, hidden)


def index_name(given: str) -> str:
    """The name of an index in a database, as given after `#`; a default for none. Raises UsageError."""
    name = given or DEFAULT_NAME
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"the name of the index, after '#', is {name[:60]!r}: give up to 40 lower-case letters, digits and '_', a"
            " letter first"
        )
    return name


def lasting_address(address: str) -> str:
    """The same address for a process with another working folder: that of a LanceDB folder by its whole path."""
    folder, sign, name = address.removeprefix(_LANCEDB).partition("#")
    if not address.startswith(_LANCEDB) or not _is_folder(folder):
        return address
    return f"{_LANCEDB}{Path(folder).expanduser().absolute()}{sign}{name}"


def _is_folder(folder: str) -> bool:
    """Whether LanceDB would open a folder of this machine, and not a bucket."""
    return bool(folder) and "://" not in folder


def parsed_address(address: str) -> PostgresAddress | LanceAddress:
    """An address taken apart. Raises UsageError for what is not an address."""
    if address.startswith(_POSTGRESQL):
        return postgres_address(address)
    if address.startswith(_LANCEDB):
        folder, _, name = address.removeprefix(_LANCEDB).partition("#")
        if not _is_folder(folder):
            raise UsageError(
                "an index in LanceDB is kept in a folder of this machine: give lancedb:FOLDER or lancedb:FOLDER#NAME"
            )
        return LanceAddress(Path(folder).expanduser(), index_name(name))
    raise UsageError("this is not the address of a database: give postgresql://... or lancedb:FOLDER")
