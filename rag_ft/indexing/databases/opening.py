"""From an address to the database that holds the index; only the driver of the one that is asked for is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_ft.indexing.databases.address import PostgresAddress, parsed_address

if TYPE_CHECKING:
    from rag_ft.indexing.databases.store import DatabaseStore


def open_store(address: str) -> DatabaseStore:
    """The database at an address; nothing is connected yet.

    Raises UsageError for what is not an address, MissingExtraError.
    """
    parsed = parsed_address(address)
    if isinstance(parsed, PostgresAddress):
        from rag_ft.indexing.databases.postgresql import PostgresStore

        return PostgresStore(parsed)
    from rag_ft.indexing.databases.lance import LanceStore

    return LanceStore(parsed.folder, parsed.name)
