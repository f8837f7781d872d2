"""Finished blocks on disk: a build that was killed resumes without them.

    .journal/<embedder>/read-<identity>-<checksum>.jsonl    a finished block, written whole
    .journal/<embedder>/read-<random>.tmp                   one whose last part has not come

They go when the index is committed, and before, when what decides them has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from rag_ft.checksums import sha256_of
from rag_ft.errors import EngineError
from rag_ft.files import fsync, is_plain_file, is_real_folder
from rag_ft.indexing.distributed.blocks import BlockPart, FileBlock
from rag_ft.indexing.distributed.records import events_in
from rag_ft.indexing.sources.events import CorpusEvent
from rag_ft.indexing.storage.folder import READ_NAME, READ_UNFINISHED
from rag_ft.indexing.storage.reading import reading

logger = logging.getLogger(__name__)


class FinishedBlocks:
    """The finished blocks of a build. Use it as a context, which removes what is unfinished. Raises OSError."""

    def __init__(self, folder: Path, blocks: Sequence[FileBlock]) -> None:
        """Find the blocks that an earlier build has finished; those of other files or settings are removed."""
        self._folder = folder
        self._paths: dict[str, Path] = {}
        """Files of finished blocks, by identity."""
        self._open: dict[int, _OpenBlock] = {}
        wanted = {block.identity for block in blocks}
        for path in sorted(folder.iterdir()) if is_real_folder(folder) else ():
            named = READ_NAME.fullmatch(path.name)
            if not (named or READ_UNFINISHED.fullmatch(path.name)) or not is_plain_file(path):
                continue  # not ours
            if named and named[1] in wanted and sha256_of(path, fresh=True)[:32] == named[2]:
                self._paths[named[1]] = path
            else:
                path.unlink()

    def __enter__(self) -> FinishedBlocks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for unfinished in self._open.values():
            unfinished.drop()
        self._open.clear()

    def __contains__(self, block: FileBlock) -> bool:
        return block.identity in self._paths

    def take(self, block: FileBlock, part: BlockPart) -> None:
        """Write a part of a block; its last one finishes the block, durably. Raises EngineError."""
        if block in self:
            return  # a worker that was given up has replied after all
        if block.number not in self._open:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._open[block.number] = _OpenBlock(self._folder / f"read-{secrets.token_hex(4)}.tmp")
        unfinished = self._open[block.number]
        unfinished.write(part, block)
        if part.last:
            self._paths[block.identity] = unfinished.finish(block.identity)
            del self._open[block.number]

    def events(self, block: FileBlock) -> Iterator[tuple[int, CorpusEvent]]:
        """The events of a finished block, each with the position of its file. Raises IndexCorruptError."""
        path = self._paths[block.identity]
        with reading(path), path.open("rb") as file:
            yield from events_in(iter(file))


class _OpenBlock:
    """A block whose last part has not come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("xb")
        self._digest = hashlib.sha256()
        self._passing = False

    def write(self, part: BlockPart, block: FileBlock) -> None:
        if part.before != self._digest.hexdigest():
            # A worker died after some parts, and the next one found other files.
            raise EngineError(
                f"{block.files[0].source} or one of the {len(block.files) - 1} files after it changed while it was"
                " read: run the same command again, which resumes"
            )
        self._file.write(part.records)
        self._digest.update(part.records)
        self._passing |= part.passing

    def finish(self, identity: str) -> Path:
        """Give the file its name; with a file that could not be opened, one that no later build looks for."""
        self._file.close()
        fsync(self._path)
        name = secrets.token_hex(16) if self._passing else identity
        path = self._path.with_name(f"read-{name}-{self._digest.hexdigest()[:32]}.jsonl")
        os.replace(self._path, path)
        fsync(path.parent)
        return path

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
            self._path.unlink(missing_ok=True)
