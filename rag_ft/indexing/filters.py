"""Which documents a filter means: one form for what callers and the command line give, and one comparison."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, TypeAlias

from pydantic import JsonValue

from rag_ft.errors import UsageError
from rag_ft.indexing.storage.generation import TableRow
from rag_ft.schema import json_value

Where: TypeAlias = Mapping[str, JsonValue]
"""A filter: every key must match.

A list of values means any of them; a key whose stored value is a list matches if it holds the value.
`document_id`, `source` and `title` name the document's own fields, other keys its metadata.
"""

OWN_FIELDS = ("document_id", "source", "title")


def as_filter(where: object) -> dict[str, JsonValue]:
    """A filter as it is compared: dates in ISO 8601 and paths as text, as in the metadata; tuples and sets as lists.

    Raises UsageError for what cannot be one.
    """
    if not isinstance(where, Mapping):
        raise UsageError(f"a filter is {where!r} but must give values by field, for example {{'topic': 'tuning'}}")
    for field in where:
        if not isinstance(field, str):
            raise UsageError(f"a field of a filter is {field!r} but must be a name")
    return {field: _value(field, value) for field, value in where.items()}


def _value(field: str, value: Any) -> JsonValue:
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(field, one) for one in value]
    if isinstance(value, PathLike):
        return str(fspath(value))
    if value is None or isinstance(value, str | bool | int | float | datetime.date | dict):
        return json_value(value)
    raise UsageError(
        f"the filter of {field!r} is {value!r}: give text, a number, true or false, a date, or a list of them"
    )


def matches(row: TableRow, where: Where) -> bool:
    """Whether a document matches every key of a filter, which is as `as_filter` gives it."""
    own = dict(zip(OWN_FIELDS, (row.id, row.source, row.title), strict=True))
    for key, wanted in where.items():
        if key in own:
            value: JsonValue = own[key]
        elif key in row.metadata:
            value = row.metadata[key]
        else:
            return False
        values = value if isinstance(value, list) else [value]
        anyone = wanted if isinstance(wanted, list) else [wanted]
        if not any(_same(one, other) for one in values for other in anyone):
            return False
    return True


def _same(one: JsonValue, other: JsonValue) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)  # True == 1 in Python, not in JSON
