"""An index's description of itself, and reports of work done on it. Records only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from rag_ft.errors import first_problem
from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.embedding import arithmetic_of
from rag_ft.indexing.storage.folder import (
    BM25,
    BM25_COUNTS,
    BM25_EMPTY,
    BM25_FILES,
    FORMAT,
    KEYS,
    LINES_FILES,
    PLACES,
    RAW_VECTORS,
    SENTINEL_VECTORS,
    SENTINELS,
    TABLE,
    TEXT_KEYS,
    VECTORS,
    content_checksum,
    is_name,
)
from rag_ft.indexing.storage.vectors import IndexKind, IndexKindChoice
from rag_ft.models.embedding_backend import TORCH_FLOAT32
from rag_ft.schema import Record

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

METRIC = "inner product of normalised vectors (cosine)"

_LARGEST_EFFORT = 4096
"""Eight times the largest effort that is ever chosen: more is damage, and would exhaust memory in a search."""
_MAX_DIMENSION = 2**31
_WITH_TEXT_KEYS = 3
_WITH_COUNTS = 6
"""The first formats that have them."""
_REQUIRED_FILES = frozenset({*LINES_FILES, TABLE, KEYS, VECTORS, SENTINELS, SENTINEL_VECTORS})
_BM25_PATHS = frozenset(f"{BM25}/{name}" for name in BM25_FILES)
_COUNTS_PATHS = frozenset(f"{BM25}/{name}" for name in BM25_COUNTS)
_EMPTY_BM25_PATHS = frozenset({f"{BM25}/{BM25_EMPTY}"})

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=0)]
"""Text whose length is counted, which makes pydantic refuse half of a surrogate pair."""
Count = Annotated[int, Field(ge=0)]


class EmbedderEntry(Record):
    """The embedder that made the vectors."""

    name: Text
    fingerprint: Text
    dimension: int = Field(ge=1, le=_MAX_DIMENSION)
    max_tokens: int = Field(ge=1)
    arithmetic: list[Text] = Field(default_factory=lambda: [TORCH_FLOAT32])
    """Backend and type of the products that computed the vectors, as "openvino bfloat16"; several after additions by
    another one, "" for an embedder that does not say."""

    @classmethod
    def of(cls, embedder: Embedder, before: EmbedderEntry | None = None) -> EmbedderEntry:
        """The entry of an embedder. `before`: the one of vectors that are kept, if the embedder is the same."""
        kept = before.arithmetic if before is not None and before.fingerprint == embedder.fingerprint else ()
        return cls(
            name=embedder.name,
            fingerprint=embedder.fingerprint,
            dimension=embedder.dimension,
            max_tokens=embedder.max_tokens,
            arithmetic=sorted({*kept, arithmetic_of(embedder)}),
        )


class FileEntry(Record):
    """One file of the generation, as it was written."""

    size: Count
    sha256: Sha256


class Counts(Record):
    """Numbers of documents and passages in the index."""

    documents: Count
    passages: Count


class Manifest(Record):
    """`manifest.json`: what the index is made of. An index changes only when this file is replaced.

    Contradictions within the manifest are refused here, whatever its checksum; contradictions with the files are
    refused when those are opened.
    """

    format: int = Field(default=FORMAT, ge=1, le=FORMAT)
    generation: str
    """Folder under `generations/` that holds the files."""
    created: str
    """UTC, ISO 8601."""
    fingerprint: Sha256
    """SHA-256 over the fingerprints of documents and embedder, and the chunking: equal for equal content."""
    embedder: EmbedderEntry
    metric: str = METRIC
    chunking: dict[str, JsonValue]
    kind: IndexKind
    kind_choice: IndexKindChoice
    """The kind that was requested; "auto" is resolved again whenever the index is written."""
    search_effort: int
    """efSearch for HNSW, lists probed for IVF-PQ, 0 for flat."""
    recall_at_10: float = Field(ge=0, le=1, allow_inf_nan=False)
    """Recall against exact search, measured when documents were last built or added; 1 for flat."""
    recall_when_built: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    """What it was when graph or lists were last built; None where that was for this state."""
    counts: Counts
    versions: dict[Text, Text]
    """Versions of the libraries that wrote it."""
    files: dict[str, FileEntry]
    """Size and checksum of each file, by its path inside the generation's folder."""

    @field_validator("generation")
    @classmethod
    def _check_generation(cls, generation: str) -> str:
        if not is_name(generation):
            raise ValueError(f"{generation[:40]!r} is not a generation's name: 16 hex digits")
        return generation

    @field_validator("created")
    @classmethod
    def _check_created(cls, created: str) -> str:
        datetime.fromisoformat(created)
        return created

    @field_validator("metric")
    @classmethod
    def _check_metric(cls, metric: str) -> str:
        if metric != METRIC:
            raise ValueError(f"{metric[:40]!r} is not the metric of this program's indexes")
        return metric

    @model_validator(mode="after")
    def _check_consistency(self) -> Manifest:
        from rag_ft.indexing.chunking import ChunkingConfig

        try:
            chunking = ChunkingConfig.model_validate({"rules": 1} | self.chunking, strict=True)
        except ValidationError as error:
            raise ValueError(f"chunking.{first_problem(error)}") from error
        if chunking.max_tokens > self.embedder.max_tokens:
            raise ValueError(
                f"chunking.max_tokens is {chunking.max_tokens}, more than the embedder's {self.embedder.max_tokens}"
            )
        least = 0 if self.kind == "flat" or not self.counts.passages else 1
        most = 0 if self.kind == "flat" else _LARGEST_EFFORT
        if not least <= self.search_effort <= most:
            raise ValueError(
                f"search_effort is {self.search_effort}, but must be from {least} to {most} for {self.kind}"
            )
        if self.kind_choice not in ("auto", self.kind):
            raise ValueError(f"kind_choice is {self.kind_choice!r}, but kind is {self.kind!r}")
        extra = {RAW_VECTORS} if self.kind == "ivf-pq" and self.counts.passages else set()
        with_keys = self.format >= _WITH_TEXT_KEYS or TEXT_KEYS in self.files
        required = _REQUIRED_FILES | extra | ({TEXT_KEYS} if with_keys else set())
        files = self.files.keys() - {PLACES}  # only where some document has places
        with_counts = self.format >= _WITH_COUNTS or not _COUNTS_PATHS.isdisjoint(files)
        words = _BM25_PATHS | _COUNTS_PATHS if with_counts else _BM25_PATHS
        if files not in (required | words, required | _EMPTY_BM25_PATHS):
            wrong = sorted(required - files) or sorted(files - required)
            raise ValueError(f"files is not the list of an index's files ({[name[:40] for name in wrong[:1]]})")
        return self

    @property
    def words_counted(self) -> bool:
        """Whether it keeps what BM25's scores were computed from."""
        return not _COUNTS_PATHS.isdisjoint(self.files)

    @property
    def rules(self) -> int:
        """Version of the rules by which its documents were cut and its words were made (`ChunkingConfig.rules`)."""
        rules = self.chunking.get("rules", 1)
        assert isinstance(rules, int)
        return rules

    def to_bytes(self) -> bytes:
        """Encode the file: the fields and `checksum`, the SHA-256 of all other fields."""
        content = self.model_dump(mode="json")
        content["checksum"] = content_checksum(content)
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def index_fingerprint(fingerprints: Iterable[str], embedder: str, chunking: Mapping[str, JsonValue]) -> str:
    """SHA-256 over the documents' fingerprints (in any order), the embedder's, and the chunking."""
    content = {"documents": sorted(fingerprints), "embedder": embedder, "chunking": dict(chunking)}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Failure(NamedTuple):
    """A document that could not be indexed, or a file that was left out."""

    source: str
    reason: str


class BuildReport(Record):
    """Report of a build or an addition."""

    added: tuple[str, ...] = ()
    """Ids of documents that were not there before."""
    changed: tuple[str, ...] = ()
    unchanged: int = 0
    removed: tuple[str, ...] = ()
    """Ids of documents that the source no longer has."""
    kept: tuple[str, ...] = ()
    """Ids of documents that cannot be read now and stay in the index as they were."""
    passages: int = 0
    """Passages in the index now."""
    passages_embedded: int = 0
    """Passages whose vectors were computed in this run; all others were reused."""
    failures: tuple[Failure, ...] = ()
    losses: dict[str, Conservation] = Field(default_factory=dict)
    """What the conservation check found, for the documents whose text lacks something of their source, by id."""
    skipped: tuple[Failure, ...] = ()
    """Files that were left alone: an unsupported format, hidden files."""
    seconds: float = 0.0


class RemovalReport(Record):
    """Report of a removal, or of what it would remove."""

    dry_run: bool
    documents: tuple[str, ...]
    """Ids of the documents removed."""
    passages: int
    """Passages removed with them."""
    remaining_documents: int
    remaining_passages: int
    feedback: int = 0
    """Feedback records removed with them."""


class Check(Record):
    """One check of a verification."""

    name: str
    ok: bool
    detail: str


class VerifyReport(Record):
    """The outcome of `Index.verify`."""

    ok: bool
    """True if every check is."""
    checks: tuple[Check, ...]
