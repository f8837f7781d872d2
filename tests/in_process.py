"""Blocks of a build read in this process: what the workers of a cluster do, without a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from rag_ft.indexing.distributed.blocks import BlockPart, BlockWork, FileBlock
from rag_ft.indexing.distributed.reader import BlockReader


@dataclass
class ReadsHere:
    """A `BuildEngine` that reads one block after another, the last one first."""

    most: int = 1_000_000
    """Parts after which it is interrupted, as by a kill."""
    read: list[tuple[str, ...]] = field(default_factory=list)
    """Names of the files of each block that was read."""

    def parts(self, work: BlockWork, blocks: Sequence[FileBlock]) -> Generator[BlockPart, None, None]:
        given = 0
        with BlockReader(work) as reader:
            for block in reversed(blocks):
                self.read.append(tuple(file.name for file in block.files))
                for part in reader.parts(block):
                    if given == self.most:
                        raise KeyboardInterrupt
                    given += 1
                    yield part
