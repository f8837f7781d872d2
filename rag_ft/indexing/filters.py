"""Filters on documents: what callers and the command line give, in one form, and one comparison."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any, TypeAlias

from pydantic import JsonValue

from rag_ft.errors import UsageError
from rag_ft.indexing.storage.table import TableRow
from rag_ft.schema import json_value

Where: TypeAlias = Mapping[str, JsonValue]
"""A filter: every key must match.

A list of values means any of them; a key whose stored value is a list matches if the list holds the value.
`document_id`, `source` and `title` are the document's own fields, other keys its metadata.
"""

OWN_FIELDS = ("document_id", "source", "title")


def as_filter(where: object) -> dict[str, JsonValue]:
    """Bring a filter into the form that is compared: dates and paths as text, as in the metadata; tuples as lists.

    Raises UsageError for anything that is not a filter.
    """
    if not isinstance(where, Mapping):
        raise UsageError(f"the filter is {where!r}: give values by field, for example {{'topic': 'tuning'}}")
    for field in where:
        if not isinstance(field, str):
            raise UsageError(f"a field of the filter is {field!r}: give a name")
    return {field: _value(field, value) for field, value in where.items()}


def _value(field: str, value: Any) -> JsonValue:
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(field, item) for item in value]
    if isinstance(value, PathLike):
        return str(fspath(value))
    if value is None or isinstance(value, str | bool | int | float | datetime.date | dict):
        return json_value(value)
    raise UsageError(
        f"the filter of {field!r} is {value!r}: give text, a number, true or false, a date, or a list of them"
    )


def matches(row: TableRow, where: Where) -> bool:
    """Whether a document matches every key of a filter made by `as_filter`."""
    fields = dict(zip(OWN_FIELDS, (row.id, row.source, row.title), strict=True))
    for key, wanted in where.items():
        if key in fields:
            value: JsonValue = fields[key]
        elif key in row.metadata:
            value = row.metadata[key]
        else:
            return False
        values = value if isinstance(value, list) else [value]
        choices = wanted if isinstance(wanted, list) else [wanted]
        if not any(_same(value, choice) for value in values for choice in choices):
            return False
    return True


def _same(first: JsonValue, second: JsonValue) -> bool:
    return first == second and isinstance(first, bool) == isinstance(second, bool)  # True == 1 in Python, not in JSON
