"""What earlier builds of this process read of each file: files that have not changed are not read again.

A file counts as unchanged if its path leads to the same file with the same size and times, the same patterns of
`access.toml` hold for it, and the index still has its documents as they were read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from rag_ft.indexing.access import AccessRules, Label
from rag_ft.indexing.sources.events import (
    CorpusEvent,
    CorpusFailure,
    ReadDocument,
    SkippedFile,
    UnchangedDocument,
    corpus_failure,
)
from rag_ft.indexing.sources.file import CANNOT_BE_OPENED, SourceFile
from rag_ft.indexing.sources.stamp import Stamp, stamp_at


@dataclass
class _FileRead:
    """What a file gave when it was read."""

    stamp: Stamp | None
    labels: tuple[Label, ...]
    unread: list[CorpusFailure | SkippedFile] = field(default_factory=list)
    documents: int = 0
    """Documents that it holds."""
    taken: dict[str, str] = field(default_factory=dict)
    """Fingerprints of those that the index took, by id."""

    @property
    def may_be_kept(self) -> bool:
        """Whether reading the file again would give the same."""
        passing = any(failure.reason.startswith(CANNOT_BE_OPENED) for failure in self.unread)
        return self.stamp is not None and self.documents == len(self.taken) and not passing


class KnownFiles:
    """Files of one folder as the last builds read them. Give the same object to each `Index.build` of the folder."""

    def __init__(self, before_each: Callable[[], None] = lambda: None) -> None:
        self.kept_back: Mapping[str, str] = {}
        """Files and folders that the next build must leave as they are, by their path in the folder: the reason."""
        self._before_each = before_each
        self._files: dict[str, _FileRead] = {}
        self._read: dict[str, _FileRead] = {}
        """Files that the running build has met."""
        self._current: _FileRead | None = None
        self._stored: Mapping[str, str] = {}
        self._rules = AccessRules()
        self._met: set[str] = set()
        """Files that were kept back in the running build."""

    def begin(self, stored: Mapping[str, str]) -> None:
        """Start a build; `stored`: fingerprints of the documents that the index can keep, by id."""
        self._files.update(self._read)
        self._read, self._stored, self._rules, self._met = {}, stored, AccessRules(), set()

    def events(self, file: SourceFile, start: Callable[[], Iterator[CorpusEvent]]) -> Iterator[CorpusEvent]:
        """What a file gives, read or remembered; for one that is kept back, a failure. Raises CorpusError.

        `start` has it read, at once if it is to be.
        """
        held = self._kept_back(file.name)
        if held is not None:
            return self._held(file, held)
        stamp, labels = stamp_at(file.path), tuple(self._rules.labels(file.path))
        former = self._files.get(file.name)
        if former is not None and (former.stamp, former.labels) == (stamp, labels) and self._is_stored(former):
            return self._unchanged(file, former)
        self._files.pop(file.name, None)
        return self._noted(file, _FileRead(stamp, labels), start())

    def _held(self, file: SourceFile, held: str) -> Iterator[CorpusEvent]:
        self._before_each()
        self._met.add(held)
        yield corpus_failure(file.path, self.kept_back[held], file.name)

    def _unchanged(self, file: SourceFile, former: _FileRead) -> Iterator[CorpusEvent]:
        self._before_each()
        self._read[file.name] = former
        yield from former.unread
        for document_id in former.taken:
            yield UnchangedDocument(document_id, file.name, file.path)

    def _noted(self, file: SourceFile, current: _FileRead, events: Iterator[CorpusEvent]) -> Iterator[CorpusEvent]:
        self._before_each()
        self._current = current
        for event in events:
            if isinstance(event, ReadDocument):
                current.documents += 1
            elif isinstance(event, CorpusFailure | SkippedFile):
                current.unread.append(event)
            yield event
        self._read[file.name] = current

    def took(self, document_id: str, fingerprint: str) -> None:
        """Note that the index took a document of the file whose events are being taken."""
        if self._current is not None:
            self._current.taken[document_id] = fingerprint

    def end(self) -> Iterator[CorpusEvent]:
        """End a walk through the folder: forget what is gone, and name what was kept back and not met."""
        for name, reason in self.kept_back.items():
            if name not in self._met:
                yield corpus_failure(name, reason, name)
        self._files, self._read = self._read, {}

    def _kept_back(self, name: str) -> str | None:
        """The name, among those kept back, of a file or of a folder above it."""
        above = (name, *(parent.as_posix() for parent in PurePosixPath(name).parents))
        return next((part for part in above if part in self.kept_back), None) if self.kept_back else None

    def _is_stored(self, former: _FileRead) -> bool:
        return former.may_be_kept and all(
            self._stored.get(document_id) == fingerprint for document_id, fingerprint in former.taken.items()
        )
