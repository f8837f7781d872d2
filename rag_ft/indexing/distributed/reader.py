"""What a worker does with a block: its files read in a process of their own, cut, and embedded."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

import rag_ft
from rag_ft.errors import CorpusError, EngineError
from rag_ft.indexing.building.builder import BLOCK_PASSAGES
from rag_ft.indexing.building.cutting import cut_document, embed_checked, invalid_unicode
from rag_ft.indexing.chunking import Chunker
from rag_ft.indexing.distributed.blocks import BlockPart, BlockWork, FileBlock
from rag_ft.indexing.distributed.records import record_of
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.parsing.worker import Worker
from rag_ft.indexing.sources.events import CorpusEvent, CorpusFailure, ReadDocument
from rag_ft.indexing.sources.file import CANNOT_BE_OPENED

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder

PART_PASSAGES = BLOCK_PASSAGES
PART_BYTES = 16_000_000
"""A part ends at so many passages or bytes of records: a worker never holds a whole .jsonl file of millions."""


class BlockReader:
    """Reads blocks, one after another. Use it as a context, which ends the process that reads files.

    Raises EngineError where the embedder or the version of this package is not that of the build.
    """

    def __init__(self, work: BlockWork) -> None:
        self._work = work
        self._worker = Worker(work.limits)
        self._known_first = np.ascontiguousarray(work.known[:, 0])

    def __enter__(self) -> BlockReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.close()

    def parts(self, block: FileBlock) -> Iterator[BlockPart]:
        """What the block's files hold, in order. Raises CorpusError where the source is not to be seen."""
        self._check_root("is not there")
        part = _Part(block.number)
        for position, file in enumerate(block.files):
            for event in file.events(self._worker):
                self._take(part, position, event)
                if part.passages >= PART_PASSAGES or len(part.records) >= PART_BYTES:
                    yield part.end(self._embedder, last=False)
                    part = part.next()
        self._check_root("has vanished while it was read")
        yield part.end(self._embedder, last=True)

    def _take(self, part: _Part, position: int, event: CorpusEvent) -> None:
        if isinstance(event, ReadDocument) and invalid_unicode(event.document) is None:
            cut, texts = cut_document(event.document, self._chunker)
            event = event._replace(cut=cut)
            part.passages += len(texts)
            part.texts.update((key, text) for key, text in zip(cut.keys, texts, strict=True) if not self._is_known(key))
        elif isinstance(event, CorpusFailure):
            part.passing |= event.reason.startswith(CANNOT_BE_OPENED)
        part.records += record_of(position, event)

    def _is_known(self, key: bytes) -> bool:
        """Whether the vector of a key is known; one of two with equal first halves may be embedded again."""
        first, second = np.frombuffer(key, dtype=">u8").astype(np.uint64)
        row = int(np.searchsorted(self._known_first, first))
        return row < len(self._known_first) and bool((self._work.known[row] == (first, second)).all())

    def _check_root(self, what: str) -> None:
        root = self._work.root
        if root is not None and not root.exists():
            raise CorpusError(
                f"{root} {what} on {socket.gethostname()}: give a path that all machines of the cluster see; the same"
                " command resumes"
            )

    @cached_property
    def _embedder(self) -> Embedder:
        work = self._work
        if work.version != rag_ft.__version__:
            raise EngineError(
                f"the worker on {socket.gethostname()} has rag_ft {rag_ft.__version__} and this process {work.version}:"
                " install the same version on all machines"
            )
        embedder = load_embedder(work.embedder) if isinstance(work.embedder, str) else work.embedder
        if embedder.fingerprint != work.fingerprint:
            raise EngineError(
                f"the worker on {socket.gethostname()} has another embedder {embedder.name!r} than this process: give"
                " a folder that all machines of the cluster see, with the same files"
            )
        return embedder

    @cached_property
    def _chunker(self) -> Chunker:
        return Chunker(self._work.chunking, self._embedder.count_tokens)


class _Part:
    """A part that grows."""

    def __init__(self, block: int, former: _Part | None = None) -> None:
        self._block = block
        self._digest: Any = hashlib.sha256() if former is None else former._digest.copy()
        self._before = self._digest.hexdigest()
        self.records = bytearray()
        self.texts: dict[bytes, str] = {}
        """Texts to embed, by key."""
        self.passages = 0
        self.passing = False

    def end(self, embedder: Embedder, *, last: bool) -> BlockPart:
        """Embed what is to be embedded. Raises IndexMismatchError."""
        vectors = embed_checked(embedder, list(self.texts.values()))
        records = bytes(self.records)
        self._digest.update(records)
        return BlockPart(self._block, records, self._before, tuple(self.texts), vectors, last, self.passing)

    def next(self) -> _Part:
        """The part that follows, once this one has ended."""
        return _Part(self._block, self)
