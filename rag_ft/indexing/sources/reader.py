"""What reads files: a process that parses them, and one that recognises the text of images where that is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

from rag_ft.indexing.formats import ReadLimits
from rag_ft.indexing.parsing.worker import Worker
from rag_ft.indexing.sources.events import CorpusEvent
from rag_ft.indexing.sources.file import SourceFile
from rag_ft.indexing.sources.remote import RemoteFile

if TYPE_CHECKING:
    from rag_ft.indexing.ocr.engine import CheckedOcr
    from rag_ft.indexing.ocr.reading import Former, OcrReading

CorpusFile: TypeAlias = "SourceFile | RemoteFile"
"""A file, not read yet."""


class FileReader:
    """Reads files, one after another, in processes of its own. Use it as a context, which ends them.

    `former`: the document that the index has from a file, for `ocr`. Not for several threads at once, but for `stop`.
    """

    def __init__(
        self,
        limits: ReadLimits,
        ocr: CheckedOcr | None = None,
        former: Callable[[str], Former | None] = lambda file: None,
    ) -> None:
        self._worker = Worker(limits)
        self._recognition: OcrReading | None = None
        if ocr is not None:
            from rag_ft.indexing.ocr.reading import OcrReading

            self._recognition = OcrReading(ocr, limits, former)

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.close()
        if self._recognition is not None:
            self._recognition.close()

    def events(self, file: CorpusFile) -> Iterator[CorpusEvent]:
        """What a file gives. Raises CorpusError if no process can be started, or the source cannot be reached."""
        read = SourceFile.events if self._recognition is None else self._recognition.events
        return file.events(self._worker, read) if isinstance(file, RemoteFile) else read(file, self._worker)

    def start(self) -> None:
        """Start the process that parses now, and not with the first file. Raises CorpusError."""
        self._worker.start()

    def stop(self) -> None:
        """End the processes from another thread: what is being read fails, and so does all that follows."""
        self._worker.stop()
        if self._recognition is not None:
            self._recognition.stop()
