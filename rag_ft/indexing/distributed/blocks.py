"""Some files of a corpus that are read, cut and embedded together: a block, which is finished or not done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.formats import ReadLimits
from rag_ft.indexing.sources.reader import CorpusFile

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.sentence_embedding import Vectors

BLOCK_FILES = 64
BLOCK_BYTES = 1_000_000
"""Bytes of the files of a block, unless one alone has more: about 1,000 passages of plain text, 10 s of work."""

RULES = 1
"""Raised when reading or cutting gives something else: blocks of earlier rules are read again."""


class FileBlock(NamedTuple):
    """Files of a corpus that follow one another."""

    number: int
    files: tuple[CorpusFile, ...]
    identity: str
    """32 hex digits that change with everything that decides the block's documents and passages."""


@dataclass(frozen=True)
class BlockWork:
    """What is to be done with each block of a build; it travels to the workers."""

    embedder: str | Embedder
    """Name to load it by, or itself."""
    fingerprint: str
    """The embedder's."""
    chunking: ChunkingConfig
    limits: ReadLimits
    root: Path | None
    """Folder or file that the workers must see; None if they read from elsewhere than a path."""
    folder: Path
    """Working folder of the build: relative paths begin there."""
    known: NDArray[np.uint64]
    """Keys of the vectors that are known (`KnownVectors.keys`)."""
    version: str
    """Version of this package."""


class BlockPart(NamedTuple):
    """What a worker made of some files of a block; a block that holds few passages is one part."""

    block: int
    records: bytes
    """Documents and what could not be read, in order (`records`)."""
    before: str
    """Hex SHA-256 of the records of the parts before."""
    keys: tuple[bytes, ...]
    """Keys of the vectors that were not known."""
    vectors: Vectors
    last: bool
    """Whether the block ends with this part."""
    passing: bool
    """Whether a file could not be opened: it may be readable when the block is read again."""


class BuildEngine(Protocol):
    """What reads blocks: the workers of a cluster."""

    def parts(self, work: BlockWork, blocks: Sequence[FileBlock]) -> Generator[BlockPart, None, None]:
        """Each block's parts, in order; those of several blocks mixed. Close it if you stop early.

        Raises EngineError, and what reading and embedding raise.
        """
        ...


def file_blocks(files: Sequence[CorpusFile], chunking: ChunkingConfig, limits: ReadLimits) -> Iterator[FileBlock]:
    """Divide files into blocks, in order; what has not changed is divided in the same way."""
    settings = json.dumps([RULES, chunking.model_dump(mode="json"), asdict(limits)], sort_keys=True)
    number, size = 0, 0
    chosen: list[CorpusFile] = []
    states: list[str] = []
    for file in files:
        state = file.state()
        if chosen and (len(chosen) == BLOCK_FILES or size + state.size > BLOCK_BYTES):
            yield _block(number, chosen, states, settings)
            number, size, chosen, states = number + 1, 0, [], []
        chosen.append(file)
        states.append(state.text)
        size += state.size
    if chosen:
        yield _block(number, chosen, states, settings)


def _block(number: int, files: Sequence[CorpusFile], states: Sequence[str], settings: str) -> FileBlock:
    digest = hashlib.sha256("\0".join([settings, *states]).encode("utf-8", "surrogatepass"))
    return FileBlock(number, tuple(files), digest.hexdigest()[:32])
