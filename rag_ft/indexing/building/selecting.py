"""Which documents of an index a caller means. Nothing here reads files: a question need not import what does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag_ft.errors import UsageError
from rag_ft.indexing.filters import Where, as_filter, matches
from rag_ft.indexing.storage.generation import Generation

LOCK_TIMEOUT_S = 10.0
"""How long a change waits for another one to end."""


def to_remove(ids: str | Sequence[str] | None, where: Where | None) -> tuple[list[str] | None, Where | None]:
    """The ids or the filter of a removal, one of which is None. Raises UsageError."""
    if (ids is None) == (where is None):
        raise UsageError("say what to remove: either ids or where")
    wanted = [ids] if isinstance(ids, str) else list(ids) if ids is not None else None
    where = as_filter(where) if where is not None else None
    if wanted == [] or where == {}:
        raise UsageError("say what to remove: an empty list or filter would mean nothing or everything")
    return wanted, where


def select_documents(
    generation: Generation, index_path: Path | str, ids: Sequence[str] | None, where: Where | None
) -> set[int]:
    """Numbers in the table of the documents with these ids, or of those that match a filter. Raises UsageError."""
    if ids is not None:
        for name in ids:
            if name not in generation.position_of:
                raise UsageError(
                    f"the index at {index_path} has no document {name!r}: 'rag-ft index info --documents' lists them"
                )
        return {generation.position_of[name] for name in ids}
    assert where is not None
    where = as_filter(where)
    matching = {position for position, row in enumerate(generation.table) if matches(row, where)}
    if not matching:
        raise UsageError(f"no document of the index at {index_path} matches {where}: nothing was removed")
    return matching
