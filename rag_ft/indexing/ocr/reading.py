"""A file → its documents, with the text of pages that are only images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import NamedTuple

from rag_ft.indexing.access import ACCESS
from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.formats import Unreadable
from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.limits import ReadLimits
from rag_ft.indexing.formats.scans import IMAGES, PAGES_AT_ONCE, Scan
from rag_ft.indexing.ocr.engine import CheckedOcr, OcrSettings, PageNotRecognised, Recogniser
from rag_ft.indexing.ocr.insertion import with_pages
from rag_ft.indexing.ocr.words import RecognisedPage
from rag_ft.indexing.parsing.input import open_ordinary, pieces_of
from rag_ft.indexing.parsing.wire import Request
from rag_ft.indexing.parsing.worker import Worker
from rag_ft.indexing.places import Places, encode_places
from rag_ft.indexing.sources.events import CorpusEvent, ReadDocument, corpus_failure, skipped_file
from rag_ft.indexing.sources.file import SourceFile
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.storage.table import TableRow
from rag_ft.schema import Document, Metadata

OCR = "ocr"
"""Key of what is known of the recognition, in a document's metadata."""

_PDF = ".pdf"
_RULES = 1
"""Version of the way from an image to a text: raise it when the same image gives another text."""


class Former(NamedTuple):
    """A document with recognised text as the index holds it."""

    document: Document
    conservation: Conservation | None
    places: bytes


class _Recognised(NamedTuple):
    """The scanned pages of a file."""

    pages: int
    """Pages of the whole file; 0 if no page is a scan."""
    texts: dict[int, RecognisedPage]
    unread: dict[int, str]
    """Pages that were not recognised: the reason."""
    page_sizes: dict[int, tuple[float, float]]
    """Width and height of the scanned pages in points; zeros for an image file."""


class OcrReading:
    """Reads files, and recognises their scanned pages. Close it in the end: it holds a process.

    `former`: the document that the index has from a file; one that was recognised from the same bytes in the same way
    is taken again, because recognising takes seconds per page.
    """

    def __init__(
        self, ocr: CheckedOcr, limits: ReadLimits, former: Callable[[str], Former | None] = lambda file: None
    ) -> None:
        self._ocr = ocr
        self._recogniser = Recogniser(ocr, limits)
        self._former = former

    def __enter__(self) -> OcrReading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process that recognises, if one is running."""
        self._recogniser.close()

    def stop(self) -> None:
        """End the process from another thread, which must stop the worker, too: the page that it reads is given up."""
        self._recogniser.stop()

    def events(self, file: SourceFile, worker: Worker) -> Iterator[CorpusEvent]:
        """What a file gives."""
        suffix = file.path.suffix.lower()
        if suffix != _PDF and suffix not in IMAGES:
            yield from file.events(worker)
            return
        try:
            checksum = _checksum(file, worker.limits)
        except (Unreadable, OSError):
            yield from self._plain(file, worker, suffix)  # which says what is wrong
            return
        former = self._former(file.name)
        if former is not None and former.document.metadata.get(OCR) is not None and self._is_same(former, checksum):
            metadata = {key: value for key, value in former.document.metadata.items() if key != ACCESS}
            document = former.document.model_copy(update={"metadata": metadata})
            original = Original(checksum, file.path)
            yield ReadDocument(document, file.name, file.path, former.conservation, former.places, original)
            return
        events = [] if suffix in IMAGES else [*file.events(worker)]
        read = next((event for event in events if isinstance(event, ReadDocument)), None)
        if read is not None and read.conservation is not None and not read.conservation.pages_without_text:
            yield from events
            return
        recognised = self._recognise(file, worker)
        if isinstance(recognised, str):
            yield from events or [corpus_failure(file.source, recognised, file.name)]
            return
        yield from self._together(file, read, events, recognised, checksum)

    def _plain(self, file: SourceFile, worker: Worker, suffix: str) -> Iterator[CorpusEvent]:
        if suffix == _PDF:
            yield from file.events(worker)
        else:
            yield corpus_failure(file.source, "cannot be opened, or is too large", file.name)

    def _together(
        self,
        file: SourceFile,
        read: ReadDocument | None,
        events: list[CorpusEvent],
        recognised: _Recognised,
        checksum: str,
    ) -> Iterator[CorpusEvent]:
        """The document with its recognised pages, and a failure for each page that was given up."""
        pages = {number: page for number, page in recognised.texts.items() if page.text}
        for number, reason in recognised.unread.items():
            yield corpus_failure(f"{file.source}, page {number}", reason, file.name)
        if not pages:
            if events:
                yield from events
            elif file.required:
                yield corpus_failure(file.source, "shows no text that is recognised", file.name)
            elif not recognised.unread:
                yield skipped_file(file.source, "shows no text that is recognised")
            return
        if read is not None and len(read.document.page_starts) != recognised.pages:
            yield from events
            return
        read = read or ReadDocument(
            Document(
                id=file.name,
                text="",
                title=file.path.stem,
                source=file.source,
                page_starts=(0,) * recognised.pages,
            )
        )
        document, places = _with_places(read, pages, recognised.page_sizes)
        conservation = read.conservation or Conservation(words=len(document.text.split()))
        without = sorted({*recognised.texts, *recognised.unread} - pages.keys())
        yield ReadDocument(
            document.model_copy(update={"metadata": {**document.metadata, OCR: self._record(pages, checksum)}}),
            file.name,
            file.path,
            conservation.model_copy(update={"pages_without_text": tuple(without)}),
            places,
            Original(checksum, file.path),
        )

    def _recognise(self, file: SourceFile, worker: Worker) -> _Recognised | str:
        """The file's scanned pages; a reason if they cannot be drawn."""
        recognised = _Recognised(0, {}, {}, {})
        first = 1
        while True:
            drawn = 0
            try:
                for scan in _scans(file, worker, first):
                    drawn += 1
                    first = scan.page + 1
                    recognised = recognised._replace(pages=scan.pages)
                    recognised.page_sizes[scan.page] = scan.page_size
                    try:
                        recognised.texts[scan.page] = self._recogniser.recognise(scan)
                    except PageNotRecognised as error:
                        recognised.unread[scan.page] = str(error)
            except (Unreadable, OSError) as error:
                return str(error) if not recognised.pages else recognised
            if drawn < PAGES_AT_ONCE:
                return recognised if recognised.pages else "has no page that is a scan"

    def _record(self, pages: dict[int, RecognisedPage], checksum: str) -> Metadata:
        """What a document's metadata says of its recognition."""
        characters = sum(len(page.text) for page in pages.values())
        mean = sum(page.confidence * len(page.text) for page in pages.values()) / characters
        return {
            "engine": self._ocr.engine,
            "languages": self._ocr.languages,
            "rules": _RULES,
            "confidence": round(mean, 3),
            "pages": {str(number): page.confidence for number, page in sorted(pages.items())},
            "sha256": checksum,
        }

    def _is_same(self, former: Former, checksum: str) -> bool:
        record = former.document.metadata[OCR]
        wanted = {
            "engine": self._ocr.engine,
            "languages": self._ocr.languages,
            "rules": _RULES,
            "sha256": checksum,
        }
        return isinstance(record, dict) and {name: record.get(name) for name in wanted} == wanted


def ocr_before(entries: Iterable[TableRow]) -> OcrSettings | None:
    """The settings by which documents of an index were recognised; None if none was."""
    records = [record for entry in entries if isinstance(record := entry.metadata.get(OCR), dict)]
    languages = dict.fromkeys(
        name for record in records for name in str(record.get("languages", "")).split("+") if name
    )
    return OcrSettings("+".join(languages)) if languages else None


def _with_places(
    read: ReadDocument, pages: dict[int, RecognisedPage], page_sizes: dict[int, tuple[float, float]]
) -> tuple[Document, bytes]:
    """A document with its recognised pages, and where its characters stand; nowhere in an image file."""
    count = len(read.document.page_starts)
    boxes = b""
    if not read.document.text:
        shown = next(iter(page_sizes.values()))
        sizes = tuple(page_sizes.get(number, shown) for number in range(1, count + 1))
    else:
        before = Places.decode(read.places) if read.places else None
        sizes = before.page_sizes if before is not None else ()
        if before is not None and before.page_starts:
            boxes = before.boxes(0, before.chars).astype("<u2").tobytes()
    document, boxes = with_pages(read.document, pages, boxes)
    if not sizes or not all(map(all, sizes)):
        return document, b""
    extracted = Extracted(text=document.text, page_starts=document.page_starts, page_sizes=sizes, char_boxes=boxes)
    return document, encode_places(extracted)


def _checksum(file: SourceFile, limits: ReadLimits) -> str:
    checksum = hashlib.sha256()
    with open_ordinary(file.path, limits.file_bytes) as (opened, _):
        for piece in pieces_of(opened):
            checksum.update(piece)
    return checksum.hexdigest()


def _scans(file: SourceFile, worker: Worker, first: int) -> Iterator[Scan]:
    """Scanned pages from a page on, drawn in the process that reads. Raises Unreadable, OSError."""
    request = Request(kind="scans", name=file.path.name, source=file.source, numbers=(first,))
    with open_ordinary(file.path, worker.limits.file_bytes) as (opened, size):
        for read in worker.read(request, partial(pieces_of, opened), size):
            if read.reply.kind != "scan":
                raise Unreadable(read.reply.reason or "gives no page")
            reply = read.reply
            yield Scan(reply.page, reply.pages, reply.width, reply.height, read.image, reply.page_size)
