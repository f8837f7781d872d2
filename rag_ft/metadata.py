"""Values from YAML, records and callers → values as metadata and filters hold them."""

from __future__ import annotations

import datetime
from typing import Any

from pydantic import JsonValue


def json_value(value: Any) -> JsonValue:
    """A value as JSON can hold it: dates in ISO 8601, what is unknown as its text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_value(one) for one in value]
    return str(value)
