"""Files as they are read before a parser sees them: ordinary files only, in pieces, and lines of bounded length."""

from __future__ import annotations

import codecs
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rag_ft.indexing.formats.extracted import Unreadable

_PIECE = 1_000_000
_BATCH_BYTES = 256_000
_BATCH_LINES = 500


class Opened(NamedTuple):
    """A file open for reading, and its size."""

    file: BinaryIO
    size: int


class LineBatch(NamedTuple):
    """Some lines of a file that are not blank, or only the number of a line that is longer than allowed."""

    numbers: tuple[int, ...]
    """Line numbers, counted from 1."""
    content: tuple[bytes, ...]
    """Lines with their ends; empty for a line that is too long."""

    @property
    def size(self) -> int:
        """Bytes of all lines."""
        return sum(map(len, self.content))

    def single_lines(self) -> list[LineBatch]:
        """Split into one batch per line."""
        return [
            LineBatch((line_number,), (line,)) for line_number, line in zip(self.numbers, self.content, strict=True)
        ]


@contextmanager
def open_ordinary(path: Path, max_bytes: int | None) -> Iterator[Opened]:
    """Open an ordinary file of at most `max_bytes`, without blocking. Raises Unreadable, OSError."""
    if not path.is_file():  # a pipe would block, and a device never ends
        raise Unreadable("is not an ordinary file")
    # The path may lead to something else by now: check what was opened.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is not an ordinary file")
        check_size(status.st_size, max_bytes)
        yield Opened(file, status.st_size)


def check_size(size: int, max_bytes: int | None) -> None:
    """Raise Unreadable for a file of more than `max_bytes`."""
    if max_bytes is not None and size > max_bytes:
        raise Unreadable(f"has {size / 1e6:,.0f} MB, more than the {max_bytes / 1e6:,.0f} MB that are read at once")


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """Read a whole file from its beginning, piece by piece. Raises OSError."""
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece


def batches_of_lines(file: BinaryIO, max_bytes: int, seconds: float) -> Iterator[LineBatch]:
    """Read the lines of a file in batches; memory holds at most one batch and one line of `max_bytes`.

    `seconds`: time to find the end of a line that is longer. Raises Unreadable, OSError.
    """
    numbers: list[int] = []
    content: list[bytes] = []
    size = line_number = 0
    while line := file.readline(max_bytes + 1):
        line_number += 1
        if line_number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise Unreadable("is not UTF-8 but UTF-16: save it as UTF-8")
        too_long = len(line) > max_bytes and not line.endswith(b"\n")
        if not too_long and not line.strip():
            continue
        if not too_long:
            numbers.append(line_number)
            content.append(line if line.endswith(b"\n") else line + b"\n")
            size += len(line)
        if numbers and (too_long or size >= _BATCH_BYTES or len(numbers) >= _BATCH_LINES):
            yield LineBatch(tuple(numbers), tuple(content))
            numbers, content, size = [], [], 0
        if too_long:
            del line
            yield LineBatch((line_number,), ())
            _skip_line(file, line_number, seconds)
    if numbers:
        yield LineBatch(tuple(numbers), tuple(content))


def _skip_line(file: BinaryIO, line_number: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while piece := file.readline(_PIECE):
        if piece.endswith(b"\n"):
            return
        if time.monotonic() > deadline:
            raise Unreadable(f"has a line {line_number} whose end was not found within {seconds:g} s")
