"""Lines of a .jsonl file → documents."""

from __future__ import annotations

import json
from typing import Any

from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.schema import Document, Metadata, json_value


def parse_record(line: bytes, *, first: bool) -> dict[str, Any]:
    """Parse a line, which may begin with a byte order mark if it is the first. Raises Unreadable, RecursionError."""
    try:
        record = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None
    except ValueError as error:
        raise Unreadable(f"is not JSON ({str(error)[:120]})") from error
    if not isinstance(record, dict):
        raise Unreadable("is not a JSON object")
    return record


def holds_question(record: dict[str, Any]) -> bool:
    """Whether a record is a question record rather than a document."""
    return record.keys() >= {"question", "answers"} and not _text_of(record)


def id_of(record: dict[str, Any], default: str) -> str:
    """The id that a record gives, else `default`."""
    return default if record.get("id") in (None, "") else str(record["id"])


def document_from_record(record: dict[str, Any], name: str, where: str) -> Document:
    """Make a document of a record; `where` is its source if the record names none. Raises Unreadable."""
    text = _text_of(record)
    if not isinstance(text, str) or not text.strip():
        raise Unreadable("has no text: put it in the field 'text' or 'page_content'")
    given = record.pop("metadata", None)
    title, link = record.pop("title", None), record.pop("source", None) or record.pop("url", None)
    metadata: Metadata = {
        **({str(key): json_value(value) for key, value in given.items()} if isinstance(given, dict) else {}),
        **{key: json_value(value) for key, value in record.items() if key not in ("id", "text", "page_content")},
    }
    return Document(
        id=name,
        text=text,
        title=str(title or metadata.get("title") or ""),
        source=str(link or metadata.get("source") or where),
        metadata=metadata,
    )


def _text_of(record: dict[str, Any]) -> Any:
    return record.get("text") or record.get("page_content")
