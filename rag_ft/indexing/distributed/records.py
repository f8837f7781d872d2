"""Events of a block as lines: what a worker sends, and what a finished block holds.

A document is a line of JSON about it, then the lines of its passages as the index keeps them; a file that could not be
read, or was skipped, is one line. Each begins with the file's position in the block.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.corpus import document_content
from rag_ft.indexing.sources.events import CorpusEvent, CorpusFailure, Cut, ReadDocument, SkippedFile
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.storage.journal import KEY_BYTES
from rag_ft.schema import Document


def record_of(position: int, event: CorpusEvent) -> bytes:
    """The lines of an event of the file at a position in its block."""
    if isinstance(event, ReadDocument):
        lines = event.cut.lines if event.cut is not None else ()
        return _line([position, "document", _described(event)]) + b"".join(lines)
    kind = "failure" if isinstance(event, CorpusFailure) else "skipped"
    return _line([position, kind, event])


def _line(content: Any) -> bytes:
    # ASCII: a document whose text is not valid Unicode is refused by the builder, not here
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _described(read: ReadDocument) -> dict[str, Any]:
    described: dict[str, Any] = {"document": document_content(read.document), "file": read.file}
    if read.path is not None:
        described["path"] = str(read.path)
    if read.conservation is not None:
        described["conservation"] = read.conservation.model_dump(mode="json", exclude_defaults=True)
    if read.places:
        described["places"] = base64.b64encode(read.places).decode()
    if read.original is not None:
        described["original"] = read.original.sha256
    if read.cut is not None:
        described["keys"] = b"".join(read.cut.keys).hex()
    return described


def events_in(lines: Iterator[bytes]) -> Iterator[tuple[int, CorpusEvent]]:
    """The events of a finished block's lines, each with its file's position. Raises what wrong lines raise."""
    for line in lines:
        position, kind, content = json.loads(line)
        if kind == "document":
            yield position, _document(content, lines)
        else:
            yield position, (CorpusFailure if kind == "failure" else SkippedFile)(*content)


def _document(content: dict[str, Any], lines: Iterator[bytes]) -> ReadDocument:
    path = Path(content["path"]) if "path" in content else None
    conservation = content.get("conservation")
    cut = None
    if "keys" in content:
        keys = bytes.fromhex(content["keys"])
        starts = range(0, len(keys), KEY_BYTES)
        cut = Cut(tuple(next(lines) for _ in starts), tuple(keys[start : start + KEY_BYTES] for start in starts))
    return ReadDocument(
        Document.model_validate(content["document"]),
        content["file"],
        path,
        None if conservation is None else Conservation.model_validate(conservation),
        base64.b64decode(content.get("places", "")),
        Original(content["original"], path) if "original" in content else None,
        cut,
    )
