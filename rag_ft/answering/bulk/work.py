"""Finished blocks on disk: a run that was killed resumes without them, and they become the file of answers.

    NAME.partial/run.json              what decides the answers: questions, index, pipeline, size of a block
    NAME.partial/blocks/00000012.jsonl a finished block, written whole
    NAME.partial/lock                  held while a run works on it

The folder goes when the file of answers is written.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from rag_ft.errors import DatasetError, UsageError
from rag_ft.files import clear_partial, is_plain_file, is_real_folder, write_atomic

RUN_FILE = "run.json"
BLOCKS = "blocks"
LOCK = "lock"
_BLOCK = re.compile(r"(\d{8,})\.jsonl")


class BulkWork:
    """The finished blocks of a run whose answers are not all there yet, beside its output."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.partial")
        self.lock = self.path / LOCK
        self._run = self.path / RUN_FILE
        self._blocks = self.path / BLOCKS

    def make(self) -> None:
        """Make the folder, unless something else is in its way. Raises UsageError, OSError."""
        ours = [(self.path, is_real_folder), (self._blocks, is_real_folder)]
        ours += [(self._run, is_plain_file), (self.lock, is_plain_file)]
        for path, is_ours in ours:
            if os.path.lexists(path) and not is_ours(path):
                raise UsageError(f"{path} is in the way of the unfinished work that is kept there: move it away")
        self._blocks.mkdir(parents=True, exist_ok=True)

    def claim(self, settings: Mapping[str, JsonValue], *, overwrite: bool) -> set[int]:
        """Numbers of the blocks that are finished; none if the run begins now.

        `overwrite`: forget an unfinished run with other settings. Raises DatasetError where there is one, OSError.
        """
        clear_partial(self._run)
        done = self._finished()
        if not self._run.exists():
            if done:
                raise DatasetError(f"{self.path} has no {RUN_FILE} to say what run it is from: remove it to start over")
            write_atomic(self._run, json.dumps(dict(settings), indent=1) + "\n")
            return done
        before = self._read_settings()
        for name in dict.fromkeys((*before, *settings)):
            if before.get(name) != settings.get(name):
                if overwrite:
                    self.clear()
                    return self.claim(settings, overwrite=False)
                raise DatasetError(
                    f"{self.path} holds an unfinished run with another {name} ({before.get(name)!r}, now"
                    f" {settings.get(name)!r}): repeat its command to finish it, give --overwrite to start over, or"
                    " another output"
                )
        return done

    def _read_settings(self) -> Mapping[str, JsonValue]:
        try:
            settings = json.loads(self._run.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{self._run} is damaged: remove {self.path} to start over") from error
        return settings if isinstance(settings, dict) else {}

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

    def lines(self, blocks: int) -> Iterator[str]:
        """The lines of all blocks, in the order of the questions. Raises DatasetError where one is missing."""
        for number in range(blocks):
            path = self._block(number)
            if not is_plain_file(path):
                raise DatasetError(f"{path} is missing: run the same command again, which answers that block again")
            with path.open(encoding="utf-8", newline="\n") as file:
                yield from file

    def clear(self) -> None:
        """Remove the blocks, then what run they are from: without it, they would be nobody's. Raises OSError."""
        for number in self._finished():
            self._block(number).unlink(missing_ok=True)
        self._run.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the cleared folder, unless something else is in it, or another process has begun in it."""
        with suppress(OSError):
            if not self._run.exists():
                self.lock.unlink(missing_ok=True)
                self._blocks.rmdir()
                self.path.rmdir()
