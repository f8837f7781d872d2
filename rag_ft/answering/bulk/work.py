"""Finished blocks on disk: a run that was killed resumes without them, and they become the file of answers.

NAME.partial/                      what `rag_ft.unfinished` keeps: questions, index, pipeline, size of a block
NAME.partial/blocks/00000012.jsonl a finished block, written whole
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import JsonValue

from rag_ft.errors import DatasetError
from rag_ft.files import clear_partial, is_plain_file, is_real_folder, write_atomic
from rag_ft.unfinished import UnfinishedRun

BLOCKS = "blocks"
_BLOCK = re.compile(r"(\d{8,})\.jsonl")


class FinishedBlock(NamedTuple):
    """A finished block."""

    path: Path
    lines: Iterator[str]


class BulkWork(UnfinishedRun):
    """The finished blocks of a run whose answers are not all there yet, beside its output."""

    kept: ClassVar = {BLOCKS: is_real_folder}

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        self._blocks = self.path / BLOCKS

    def make(self) -> None:
        """Make the folder, unless something else is in its way. Raises UsageError, OSError."""
        super().make()
        self._blocks.mkdir(exist_ok=True)

    def claim(self, settings: Mapping[str, JsonValue], *, overwrite: bool) -> set[int]:
        """Numbers of the blocks that are finished; none if the run begins now.

        `overwrite`: forget an unfinished run with other settings. Raises DatasetError where there is one, OSError.
        """
        self.begin(settings, overwrite=overwrite)
        return self._finished()

    def _finished(self) -> set[int]:
        for entry in self._blocks.iterdir():
            if entry.name.startswith("."):
                clear_partial(self._blocks / entry.name[1:].partition(".partial-")[0])
        matches = (_BLOCK.fullmatch(entry.name) for entry in self._blocks.iterdir())
        return {int(match[1]) for match in matches if match is not None}

    def _block(self, number: int) -> Path:
        return self._blocks / f"{number:08d}.jsonl"

    def keep(self, number: int, lines: str) -> None:
        """Write a finished block, whole or not at all. Raises OSError."""
        write_atomic(self._block(number), lines)

    def blocks(self, count: int) -> Iterator[FinishedBlock]:
        """All blocks with their lines, in the order of the questions. Raises DatasetError where one is missing."""
        for number in range(count):
            path = self._block(number)
            if not is_plain_file(path):
                raise DatasetError(f"{path} is missing: run the same command again, which answers that block again")
            with path.open(encoding="utf-8", newline="\n") as file:
                yield FinishedBlock(path, file)

    def holds_results(self) -> bool:
        """Whether any block is finished."""
        return bool(self._finished())

    def clear_results(self) -> None:
        """Remove the blocks. Raises OSError."""
        for number in self._finished():
            self._block(number).unlink(missing_ok=True)
