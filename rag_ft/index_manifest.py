"""What an index says about itself and about work done on it: the manifest and the reports. Records only."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from pydantic import Field, JsonValue

from rag_ft.schema import Record
from rag_ft.vectors import Kind, KindChoice

FORMAT = 2
"""Version of the files on disk; a reader refuses a higher one. 1 knew no `TableRow.file`, and is read."""

METRIC = "inner product of normalised vectors (cosine)"


class EmbedderEntry(Record):
    """The embedder that made the vectors."""

    name: str
    fingerprint: str
    dimension: int = Field(ge=1)
    max_tokens: int = Field(ge=1)


class FileEntry(Record):
    """One file of the generation, as it was written."""

    size: int
    sha256: str


class Counts(Record):
    """How much the index holds."""

    documents: int
    passages: int


class Manifest(Record):
    """`manifest.json`: what the index is made of. Replacing this file is the only moment an index changes."""

    format: int = FORMAT
    generation: str
    """Folder under `generations/` that holds the files."""
    created: str
    """UTC, ISO 8601."""
    fingerprint: str
    """SHA-256 over the fingerprints of documents and embedder, and the chunking: equal for equal content."""
    embedder: EmbedderEntry
    metric: str = METRIC
    chunking: dict[str, JsonValue]
    kind: Kind
    kind_choice: KindChoice
    """What was asked for; "auto" is decided anew whenever the index is written."""
    search_effort: int
    """HNSW: efSearch, IVF-PQ: lists probed, flat: 0."""
    recall_at_10: float
    """Against exact search, measured when documents were last built or added; 1 for flat."""
    counts: Counts
    versions: dict[str, str]
    """Versions of the libraries that wrote it."""
    files: dict[str, FileEntry]
    """By path inside the generation's folder."""

    def to_bytes(self) -> bytes:
        """The file's content: the fields and `checksum`, the SHA-256 of all the others."""
        content = self.model_dump(mode="json")
        content["checksum"] = content_checksum(content)
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def content_checksum(content: dict[str, Any]) -> str:
    """Hex SHA-256 of a manifest's fields without `checksum`, as canonical JSON."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


class Failure(NamedTuple):
    """A document that could not be taken in."""

    source: str
    reason: str


class BuildReport(Record):
    """What a build or an addition did."""

    added: tuple[str, ...] = ()
    """Ids of documents that were not there before."""
    changed: tuple[str, ...] = ()
    unchanged: int = 0
    removed: tuple[str, ...] = ()
    """Ids of documents that the source no longer has."""
    kept: tuple[str, ...] = ()
    """Ids of documents that cannot be read now and stay in the index as they were read before."""
    passages: int = 0
    """Passages in the index now."""
    passages_embedded: int = 0
    """Passages whose vector was computed in this run; all others were reused."""
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Failure, ...] = ()
    """Files that were left alone: an unsupported format, hidden files."""
    seconds: float = 0.0


class RemovalReport(Record):
    """What a removal did, or would do."""

    dry_run: bool
    documents: tuple[str, ...]
    """Ids of the documents removed."""
    passages: int
    """Passages removed with them."""
    remaining_documents: int
    remaining_passages: int


class Check(Record):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


class VerifyReport(Record):
    """The outcome of `Index.verify`."""

    ok: bool
    """True where every check is."""
    checks: tuple[Check, ...]
