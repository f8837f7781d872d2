from __future__ import annotations

from pathlib import Path

import pytest

from rag_ft.errors import UsageError
from rag_ft.indexing.databases.address import LanceAddress, index_name, is_database, parsed_address, postgres_address


def test_only_addresses_are_databases() -> None:
    for address in (
        "postgresql://host/db",
        "postgres://u@host/db#name",
        "lancedb:folder",
        "postgresql:///db?host=/tmp",
    ):
        assert is_database(address)
    for folder in ("indexes/docs", "/postgresql", "lancedb", None, 3):
        assert not is_database(folder)


@pytest.mark.parametrize(
    ("address", "connection", "shown"),
    [
        ("postgresql://u:s3c%40ret@h:5433/db", "postgresql://u:s3c%40ret@h:5433/db", "postgresql://u@h:5433/db"),
        ("postgres://u:pw@h/db#docs", "postgres://u:pw@h/db", "postgres://u@h/db#docs"),
        ("postgresql:///db?host=/tmp/x", "postgresql:///db?host=/tmp/x", "postgresql:///db?host=/tmp/x"),
        (
            "postgresql://h/db?user=u&password=hidden&sslmode=require",
            "postgresql://h/db?user=u&password=hidden&sslmode=require",
            "postgresql://h/db?user=u&sslmode=require",
        ),
        ("postgresql://h/db?sslpassword=x1y", "postgresql://h/db?sslpassword=x1y", "postgresql://h/db"),
    ],
)
def test_a_password_reaches_the_driver_and_is_never_shown(address: str, connection: str, shown: str) -> None:
    taken = postgres_address(address)
    assert (taken.connection, taken.shown) == (connection, shown)
    for secret in taken.secrets:
        assert secret not in taken.shown
    assert taken.name == ("docs" if "#" in address else "rag_ft")


def test_the_secret_is_known_as_written_and_as_meant() -> None:
    assert set(postgres_address("postgresql://u:s3c%40ret@h/db").secrets) == {"s3c%40ret", "s3c@ret"}


@pytest.mark.parametrize(
    "address", ["postgresql://u:sec@ret@h/db", "postgresql://u:p@h:sec/db", "postgresql://[u:sec@h"]
)
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(UsageError, match="is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE") as raised:
        postgres_address(address)
    assert "sec" not in str(raised.value)


@pytest.mark.parametrize("name", ["Docs", "a-b", "1a", "a" * 41, "a;drop"])
def test_a_name_of_an_index_is_a_plain_word(name: str) -> None:
    with pytest.raises(UsageError, match="up to 40 lower-case letters"):
        index_name(name)


def test_an_address_is_taken_apart_by_the_database_that_it_names() -> None:
    assert parsed_address("postgresql://h/db#docs") == postgres_address("postgresql://h/db#docs")
    assert parsed_address("lancedb:/data/lance#docs") == LanceAddress(Path("/data/lance"), "docs")
    assert parsed_address("lancedb:~/lance") == LanceAddress(Path.home() / "lance", "rag_ft")


@pytest.mark.parametrize("address", ["lancedb:", "lancedb:s3://bucket/x", "mysql://h/db"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="give"):
        parsed_address(address)
