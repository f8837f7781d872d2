"""One file of a corpus → its documents, read in a process of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.formats import READERS, SOURCE_SUFFIXES, Unreadable
from rag_ft.indexing.parsing.input import LineBatch, batches_of_lines, open_ordinary, pieces_of
from rag_ft.indexing.parsing.wire import Request
from rag_ft.indexing.parsing.worker import Read, Worker, WorkerFailed
from rag_ft.indexing.sources.events import (
    CorpusEvent,
    CorpusFailure,
    ReadDocument,
    corpus_failure,
    printable,
    skipped_file,
)
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.sources.stamp import stamp_at
from rag_ft.schema import Document

LINES = ".jsonl"
JSON = ".json"
CANNOT_BE_OPENED = "cannot be opened"
"""Begins the reason of a failure that may pass although the file stays as it is."""
READABLE = (LINES, JSON, *READERS)
"""Suffixes of the files that are read, in lower case."""

REPLACED = {".doc": ".docx", ".xls": ".xlsx", ".xlsb": ".xlsx", ".ppt": ".pptx"}
"""Suffixes of binary formats that are not read, and of those to save such files as."""


class FileState(NamedTuple):
    """What tells whether a file is still the one that was read."""

    text: str
    size: int
    """Bytes; 0 if that is not known."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a corpus, not read yet."""

    path: Path
    name: str
    """Path relative to the corpus folder, with forward slashes; for a single file its own name."""
    required: bool
    """True if it is a failure, rather than a skipped file, when it holds no documents."""
    source_code: bool = True
    """Whether it is read if it is source code."""
    address: str = ""
    """Where it was fetched from; empty if it was not."""

    @property
    def source(self) -> str:
        """What messages and documents call it."""
        return self.address or str(self.path)

    def state(self) -> FileState:
        """What changes with the file and with how it is read, without reading it."""
        stamp = stamp_at(self.path)
        text = json.dumps([str(self.path), self.name, self.required, self.source_code, stamp])
        return FileState(text, stamp.size if stamp is not None else 0)

    def events(self, worker: Worker) -> Iterator[CorpusEvent]:
        """Read the file: its documents, and what cannot be read of it."""
        suffix = self.path.suffix.lower()
        try:
            if printable(self.path) != str(self.path) and suffix in READABLE:
                raise Unreadable("has a name that is not UTF-8: rename it")
            if suffix == LINES:
                yield from self._lines(worker)
            elif suffix in SOURCE_SUFFIXES and not (self.source_code or self.required):
                yield skipped_file(self.source, "is source code, which is read only on request (--source-code)")
            elif suffix in READABLE:
                yield from self._whole(worker)
            elif suffix in REPLACED:
                yield self._failure(f"is a binary {suffix}, which is not read: save it as {REPLACED[suffix]}")
            elif self.required:
                others = [suffix for suffix in READERS if suffix not in SOURCE_SUFFIXES]
                yield self._failure(f"is of a kind that is not read here: give {', '.join([*others, LINES])} or code")
            else:
                yield skipped_file(self.source, f"files ending in {suffix or 'nothing'} are not read")
        except Unreadable as error:
            yield self._failure(str(error))
        except OSError as error:
            yield self._failure(f"{CANNOT_BE_OPENED} ({error.strerror or error})")

    def _failure(self, reason: str, *, part: str = "", document: str | None = None) -> CorpusFailure:
        """Describe a failure of the file, or of a part whose name follows the path."""
        return corpus_failure(f"{self.source}{part}", reason, self.name, document)

    def _read_document(
        self,
        document: Document,
        conservation: Conservation | None = None,
        places: bytes = b"",
        original: Original | None = None,
    ) -> ReadDocument:
        return ReadDocument(document, self.name, self.path, conservation, places, original)

    def _whole(self, worker: Worker) -> Iterator[CorpusEvent]:
        """Read the one document of the file, or those of a file in SQuAD's format."""
        squad = self.path.suffix.lower() == JSON
        request = Request(kind="squad" if squad else "file", name=self.path.name, source=self.source)
        with open_ordinary(self.path, worker.limits.file_bytes) as (file, size):
            content = _Hashed(file)
            for reply, text, headings, blocks, places, _ in worker.read(request, content.pieces, size):
                if reply.kind == "not_squad":
                    reason = "is JSON without documents: only SQuAD's format is read, or a .jsonl with a text per line"
                    yield self._failure(reason) if self.required else skipped_file(self.source, reason)
                elif reply.kind != "document":
                    part = f", {reply.id}" if reply.id else ""
                    yield self._failure(reply.reason, part=part, document=reply.id)
                else:
                    document = Document(
                        id=(reply.id if squad else None) or self.name,
                        text=text,
                        title=reply.title.strip() or ("" if squad else self.path.stem),
                        source=self.source,
                        metadata=reply.metadata,
                        headings=headings,
                        page_starts=reply.page_starts,
                        blocks=blocks,
                        locations=reply.locations,
                    )
                    original = None if squad else Original(content.sha256, self.path)
                    yield self._read_document(document, reply.conservation, places, original)

    def _lines(self, worker: Worker) -> Iterator[CorpusEvent]:
        """Read the documents of a .jsonl file, a batch of lines at a time."""
        limits = worker.limits
        any_document, empty = False, True
        with open_ordinary(self.path, None) as (file, _):
            for batch in batches_of_lines(file, limits.line_bytes, limits.seconds):
                empty = False
                if not batch.content:
                    reason = f"is longer than the {limits.line_bytes / 1e6:,.0f} MB that a line may have"
                    yield self._failure(reason, part=f":{batch.numbers[0]}")
                    continue
                unread = [batch]
                while unread:
                    batch = unread.pop(0)
                    request = Request(
                        kind="lines",
                        name=self.name,
                        source=self.source,
                        numbers=batch.numbers,
                        documents_before=any_document,
                    )
                    answered, holds_questions = 0, False
                    try:
                        for read in worker.read(request, partial(iter, batch.content), batch.size):
                            if answered == len(batch.numbers):
                                raise WorkerFailed("gives more documents than it has lines")
                            line = batch.numbers[answered]
                            answered += 1
                            if read.reply.kind == "questions":
                                holds_questions = True
                            else:
                                any_document |= read.reply.kind == "document"
                                yield self._line(read, line)
                    except WorkerFailed as error:
                        rest = LineBatch(batch.numbers[answered:], batch.content[answered:])
                        if len(rest.numbers) == 1:
                            yield self._failure(str(error), part=f":{rest.numbers[0]}")
                        else:  # one of these lines is to blame: read each alone to find out which
                            unread = rest.single_lines() + unread
                    if holds_questions:
                        yield skipped_file(self.source, "holds question records, not documents")
                        return
        if empty:
            raise Unreadable("is empty")

    def _line(self, read: Read, line: int) -> CorpusEvent:
        reply = read.reply
        if reply.kind != "document":
            return self._failure(reply.reason, part=f":{line}", document=reply.id)
        return self._read_document(
            Document(
                id=reply.id or f"{self.name}:{line}",
                text=read.text,
                title=reply.title,
                source=reply.source,
                metadata=reply.metadata,
            )
        )


class _Hashed:
    """An open file in pieces, with the checksum of what was read last."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def pieces(self) -> Iterator[bytes]:
        """Read the file from its beginning."""
        self._digest = hashlib.sha256()
        for piece in pieces_of(self._file):
            self._digest.update(piece)
            yield piece

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the pieces."""
        return self._digest.hexdigest()
