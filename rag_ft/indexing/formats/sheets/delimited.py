"""CSV and TSV: one table, its rows as lines."""

from __future__ import annotations

from rag_ft.indexing.formats.blocks import Blocks
from rag_ft.indexing.formats.decoding import decode, noted
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.sheets.dialect import dialect_of, records
from rag_ft.indexing.formats.sheets.tables import rows_of, write_tables


def read_csv(data: bytes) -> Extracted:
    """Read a table with the cells of each line between commas, or what else the file shows to part them."""
    return _read(data, ",")


def read_tsv(data: bytes) -> Extracted:
    """Read a table with the cells of each line between tabs, or what else the file shows to part them."""
    return _read(data, "\t")


def _read(data: bytes, usual: str) -> Extracted:
    text, encoding = decode(data)
    blocks = Blocks()
    blocks.begin_location("")
    write_tables(blocks, rows_of(records(text, dialect_of(text, usual))))
    return blocks.extracted(metadata=noted(encoding))
