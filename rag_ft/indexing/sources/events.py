"""Events that reading a corpus yields: a document, a failure, or a file that was left out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeAlias

from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.sources.original import Original
from rag_ft.schema import Document


class Cut(NamedTuple):
    """The passages of a document, as the index keeps them."""

    lines: tuple[bytes, ...]
    """Their lines in the file of passages (`storage.table.passage_row`), in order."""
    keys: tuple[bytes, ...]
    """Keys of their vectors (`storage.journal.passage_key`)."""


class ReadDocument(NamedTuple):
    """A document that was read."""

    document: Document
    file: str = ""
    """The file it was read from, relative to the corpus folder; empty for documents in memory."""
    path: Path | None = None
    """Full path of that file; None for documents in memory."""
    conservation: Conservation | None = None
    """What was lost on the way from the file to the text; None if that was not checked."""
    places: bytes = b""
    """Where the characters stand in the file (`indexing.places`); empty if the format does not say."""
    original: Original | None = None
    """The bytes that gave this document and no other; None for a line of a file and for documents in memory."""
    cut: Cut | None = None
    """Its passages, if it was cut where it was read."""


class UnchangedDocument(NamedTuple):
    """A document of a file that is as it was when it was read: the index holds it already (`sources.known`)."""

    id: str
    file: str
    path: Path


class CorpusFailure(NamedTuple):
    """A file, or a line of one, that should have given a document and did not."""

    source: str
    """Path, line or id to show to a person."""
    reason: str
    """Completes a sentence that begins with the source."""
    file: str = ""
    """The file or folder, relative to the corpus folder: everything in it may be unreadable."""
    document: str | None = None
    """Id of the one document that cannot be read, if known."""
    refused: bool = False
    """True if the document is readable but its access label is not valid: an older copy must not stay in the index."""


class SkippedFile(NamedTuple):
    """A file or folder that was left out on purpose: hidden, of an unsupported kind, or read already."""

    source: str
    reason: str


CorpusEvent: TypeAlias = "ReadDocument | UnchangedDocument | CorpusFailure | SkippedFile"


def corpus_failure(
    source: str | Path, reason: str, file: str, document: str | None = None, *, refused: bool = False
) -> CorpusFailure:
    """Describe a failure so that every terminal and every JSON file can show it."""
    return CorpusFailure(printable(source), reason, file, document, refused)


def skipped_file(source: str | Path, reason: str) -> SkippedFile:
    """Describe a skipped file so that every terminal and every JSON file can show it."""
    return SkippedFile(printable(source), reason)


def printable(source: str | Path) -> str:
    """Escape what UTF-8 cannot hold in a path: undecodable bytes and lone surrogates."""
    return str(source).encode("utf-8", "backslashreplace").decode()
