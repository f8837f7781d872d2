from __future__ import annotations

from pathlib import Path

import pytest

from rag_ft.errors import UsageError
from rag_ft.indexing.databases.opening import open_store


def test_each_address_opens_its_database_and_connects_to_nothing(tmp_path: Path) -> None:
    assert type(open_store("postgresql://nobody@192.0.2.1/db")).__name__ == "PostgresStore"
    assert type(open_store(f"lancedb:{tmp_path / 'lance'}")).__name__ == "LanceStore"
    assert not (tmp_path / "lance").exists()


def test_what_is_no_address_opens_nothing() -> None:
    with pytest.raises(UsageError, match="give postgresql://"):
        open_store("mysql://h/db")
