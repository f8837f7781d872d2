"""Files, JSONL or langchain documents → `Document`s, one after another; unreadable ones are reported, not raised."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rag_ft.errors import CorpusError, UsageError
from rag_ft.indexing.access import ACCESS, RULES_FILE, AccessRules, Label, label_of, labelled, narrowed
from rag_ft.indexing.formats import ReadLimits
from rag_ft.indexing.sources.events import (
    CorpusEvent,
    CorpusFailure,
    ReadDocument,
    SkippedFile,
    UnchangedDocument,
    corpus_failure,
    printable,
)
from rag_ft.indexing.sources.file import SourceFile
from rag_ft.indexing.sources.folder import FolderWalk
from rag_ft.indexing.sources.known import KnownFiles
from rag_ft.indexing.sources.memory import documents_in_memory
from rag_ft.indexing.sources.reader import CorpusFile, FileReader
from rag_ft.indexing.sources.reading_ahead import FILES_AHEAD, ReadersAhead
from rag_ft.indexing.sources.remote import RemoteFile, RemoteFolder, is_address, local_path
from rag_ft.schema import Document

if TYPE_CHECKING:
    from langchain_core.document_loaders import BaseLoader
    from langchain_core.documents import Document as LangchainDocument

    from rag_ft.indexing.ocr.engine import OcrSettings
    from rag_ft.indexing.ocr.reading import Former

logger = logging.getLogger(__name__)

Source: TypeAlias = (
    "str | Path | BaseLoader | Iterable[LangchainDocument] | Iterable[Document] | Iterable[ReadDocument]"
)


CorpusEntry: TypeAlias = "CorpusFile | CorpusFailure | SkippedFile"
"""A file to read, or why one is not."""


@dataclass
class CorpusContents:
    """A corpus read to its end."""

    documents: list[Document] = field(default_factory=list)
    failures: list[CorpusFailure] = field(default_factory=list)
    """Files, lines and documents that should have been read and could not."""
    skipped: list[SkippedFile] = field(default_factory=list)
    """Files and folders that were left out on purpose: hidden, of another kind, or read already."""


class Corpus:
    """Documents of one source. Files are read ahead of those that are taken, as far as memory allows.

    Iterating gives the documents; `events` also gives what could not be read and what was left out. If two documents
    have the same id, the first counts and the other is a failure.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Iterator[CorpusEvent]],
        *,
        root: Path | None = None,
        limits: ReadLimits | None = None,
        entries: Callable[[], Iterable[CorpusEntry]] | None = None,
    ) -> None:
        """`entries`: lists the files, if it is read from files."""
        self.name = name
        """Name of the source, for messages."""
        self.root = root
        """The corpus folder or the one file; None for documents in memory."""
        self._rules = AccessRules()
        self.limits = limits or ReadLimits()
        """What reading one file may cost."""
        self._read = read
        self._entries = entries

    def __iter__(self) -> Generator[Document, None, None]:
        with closing(self.events()) as events:
            for event in events:
                if isinstance(event, ReadDocument):
                    yield event.document

    def entries(self) -> Iterable[CorpusEntry] | None:
        """The files, not read yet, among what was left out or cannot be listed; None for documents in memory."""
        return self._entries() if self._entries is not None else None

    def read_as(self, events: Callable[[], Iterator[CorpusEvent]]) -> Corpus:
        """The same corpus with what was read of it elsewhere; access rules are those of now."""
        return Corpus(self.name, events, root=self.root, limits=self.limits, entries=self._entries)

    def events(self) -> Generator[CorpusEvent, None, None]:
        """Read the source: documents, failures and skipped files in the order in which they are met.

        Close the generator if you stop early: it holds the processes that read. Raises CorpusError if none can be
        started, an `access.toml` cannot be understood, or the whole source has vanished.
        """
        self._rules = AccessRules()
        seen: set[str] = set()
        with closing(_generator(self._read())) as events:
            for event in events:
                if not isinstance(event, ReadDocument | UnchangedDocument):
                    yield event
                    continue
                if isinstance(event, UnchangedDocument):
                    document_id, source = event.id, str(event.path)
                else:
                    document_id, source = event.document.id, event.document.source
                if document_id in seen:
                    reason = f"has the id {document_id!r} of an earlier document"
                    yield corpus_failure(source or document_id, reason, event.file, document_id)
                    continue
                seen.add(document_id)
                if isinstance(event, UnchangedDocument):
                    self._labels(event.path)  # marks the rules that hold for it as used
                    yield event
                else:
                    yield self._with_access(event)
        if self.root is not None and not self.root.exists():
            raise CorpusError(f"{self.name} has vanished while it was read: bring it back, then run the command again")
        self._warn_of_unused_rules()

    def read_all(self) -> CorpusContents:
        """Read everything into memory, documents and what could not be read."""
        contents = CorpusContents()
        with closing(self.events()) as events:
            for event in events:
                if isinstance(event, ReadDocument):
                    contents.documents.append(event.document)
                elif isinstance(event, CorpusFailure):
                    contents.failures.append(event)
                elif isinstance(event, SkippedFile):
                    contents.skipped.append(event)
        return contents

    def _with_access(self, read: ReadDocument) -> ReadDocument | CorpusFailure:
        """Give a document its access label; a failure if that is not valid. Raises CorpusError."""
        document = read.document
        labels: list[Label | None] = [] if read.path is None else [*self._labels(read.path)]
        source = document.source or document.id
        try:
            labels.append(label_of(document.metadata))
            document = labelled(document, reduce(narrowed, labels))
        except UsageError as error:
            return corpus_failure(source, str(error), read.file, document.id, refused=True)
        if document.metadata.get(ACCESS) == [] and () not in labels:
            logger.warning(
                "%s: its own access and what matches it in %s have no group in common: only an administrator may read"
                " it",
                printable(source),
                RULES_FILE,
            )
        return read._replace(document=document)

    def _labels(self, path: Path) -> list[Label]:
        """The labels that the rules give a file. Raises CorpusError, which calls an address by its name."""
        try:
            return self._rules.labels(path)
        except CorpusError as error:
            raise CorpusError(self._named(str(error))) from error

    def _named(self, text: str) -> str:
        """A text with the address of a remote source in place of the folder that holds its rules."""
        return text.replace(str(self.root), self.name) if is_address(self.name) else text

    def _warn_of_unused_rules(self) -> None:
        """Warn of patterns that matched nothing: they may be mistyped."""
        if self.root is not None and self.root.is_dir():
            for pattern in self._rules.unused(self.root):
                logger.warning("%s matches no document", self._named(pattern))

    def ceiling(self, file: str) -> Label | None:
        """The widest access that the rules allow a file of this corpus, readable or not; None if no rule matches."""
        if self.root is None:
            return None
        return self._rules.ceiling(self.root / file if self.root.is_dir() else self.root)


def _generator(events: Iterator[CorpusEvent]) -> Generator[CorpusEvent, None, None]:
    """Wrap an iterator so that it can be closed: closing ends what it has begun, a file or a reading process."""
    yield from events


def read_corpus(
    source: Source,
    *,
    exclude: Sequence[Path] = (),
    known: Set[str] = frozenset(),
    limits: ReadLimits | None = None,
    known_files: KnownFiles | None = None,
    source_code: bool = False,
    ocr: OcrSettings | None = None,
    former: Callable[[str], Former | None] = lambda file: None,
    keep_originals: bool = True,
) -> Corpus:
    """The documents of a folder, a file, a JSONL file, a SQuAD JSON file, a langchain loader or documents in memory.

    Folder and file may also be addresses that fsspec reads, such as `s3://bucket/docs` (`sources.remote`).

    Folders are read in sorted order. Links are followed, but no file is read twice; a file that the folder also has
    without a link is read under its own name. Left out: hidden files and folders, folders in `exclude`, and folders
    that hold an index. Ids: the path below the folder with forward slashes; a single file's name; `id` of a JSON line,
    else `<file>:<line>`; the title of a SQuAD article. `known`: files that gave documents before (`ReadDocument.file`),
    so that a `.json` among them without documents is a failure, and source code among them is read again.
    `source_code`: whether a folder's source files are read; a single one is. `known_files`: what an earlier build read
    of a folder, whose files that have not changed are not read again. `ocr`: recognise the text of scanned pages and of
    images; `former` gives the document that was read from a file before, so that no page is recognised twice.
    `keep_originals`: whether the copy of a fetched file is there until its document was dealt with. Files are read in
    processes of their own, each within `limits`; one that exceeds them is a failure. Raises CorpusError if the path
    does not exist, and during iteration if no process can be started; MissingExtraError, UsageError if text cannot be
    recognised here.
    """
    if isinstance(source, str | Path):
        path = local_path(source)
        if path is None:
            return _remote_corpus(str(source), known, limits, source_code, ocr, former, keep_originals)
        if not path.exists():
            raise CorpusError(f"there is nothing at {path}: give a folder or a file with documents")
        checked = ocr.checked() if ocr is not None else None
        new_reader = partial(FileReader, limits or ReadLimits(), checked, former)
        entries: Callable[[], Iterable[CorpusEntry]]
        if path.is_dir():
            entries = partial(FolderWalk, path, exclude=exclude, known=known, source_code=source_code)
        else:
            entries, known_files = partial(_one_file, path), None
        return Corpus(
            str(path),
            lambda: _events_of(entries(), known_files, partial(ReadersAhead, new_reader)),
            root=path,
            limits=limits,
            entries=entries,
        )
    if hasattr(source, "lazy_load"):
        loader = source
        return Corpus(type(loader).__name__, lambda: documents_in_memory(loader.lazy_load()))
    if isinstance(source, Iterable):
        documents: Iterable[Any] = source
        return Corpus("the documents given", lambda: documents_in_memory(documents))
    raise UsageError(f"documents cannot be read from {type(source).__name__}: give a path, a loader or documents")


def _remote_corpus(
    address: str,
    known: Set[str],
    limits: ReadLimits | None,
    source_code: bool,
    ocr: OcrSettings | None,
    former: Callable[[str], Former | None],
    keep_originals: bool,
) -> Corpus:
    """The documents at an address."""
    checked = ocr.checked() if ocr is not None else None
    new_reader = partial(FileReader, limits or ReadLimits(), checked, former)
    folder = RemoteFolder(address, known=known, source_code=source_code)
    return Corpus(
        folder.address,
        lambda: _events_of(folder, None, partial(ReadersAhead, new_reader, hold_fetched=keep_originals)),
        root=folder.mirror,
        limits=limits,
        entries=lambda: folder,
    )


def _one_file(path: Path) -> list[CorpusEntry]:
    return [SourceFile(path, path.name, required=True)]


def _events_of(
    entries: Iterable[CorpusEntry], known_files: KnownFiles | None, new_readers: Callable[[], ReadersAhead]
) -> Iterator[CorpusEvent]:
    """What the entries give, in order; files are read ahead."""
    waiting: deque[Iterator[CorpusEvent]] = deque()
    with new_readers() as readers:
        for entry in entries:
            waiting.append(_started(entry, known_files, readers))
            if len(waiting) > FILES_AHEAD:
                yield from waiting.popleft()
        while waiting:
            yield from waiting.popleft()
    if known_files is not None:
        yield from known_files.end()


def _started(entry: CorpusEntry, known_files: KnownFiles | None, readers: ReadersAhead) -> Iterator[CorpusEvent]:
    """What an entry gives; a file that is to be read is started now."""
    if isinstance(entry, CorpusFailure | SkippedFile):
        return iter((entry,))
    if known_files is None or isinstance(entry, RemoteFile):
        return readers.start(entry)
    return known_files.events(entry, partial(readers.start, entry))


_CAME_LATER = ("blocks", "locations")
"""Fields that old adapters and indexes do not know: their fingerprints of documents are taken without."""


def document_content(document: Document) -> dict[str, Any]:
    """A document as the document file holds it: with blocks and locations only where there are some."""
    content = document.model_dump(mode="json")
    for name in _CAME_LATER:
        if not content[name]:
            del content[name]
    return content


def document_fingerprint(document: Document) -> str:
    """SHA-256 over all fields but `blocks` and `locations`, which came later."""
    content = document.model_dump(mode="json", exclude={*_CAME_LATER})
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def blocks_checksum(document: Document) -> str:
    """A checksum of a document's blocks and locations; empty if it has none."""
    if not document.blocks and not document.locations:
        return ""
    spans: list[Any] = [(block.start, block.end, block.kind) for block in document.blocks]
    spans += [(location.start, location.label, location.cells) for location in document.locations]
    return hashlib.sha256(json.dumps(spans).encode()).hexdigest()[:16]
