"""What is read from a file before a parser sees it: ordinary files only, in pieces, and lines of a bounded length."""

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
    """Some lines of a file that are not blank; of a line that is longer than allowed only the number."""

    numbers: tuple[int, ...]
    """Counted from 1."""
    content: tuple[bytes, ...]
    """Each with its end; empty for the one that is too long."""

    @property
    def size(self) -> int:
        """Bytes of them all."""
        return sum(map(len, self.content))

    def single_lines(self) -> list[LineBatch]:
        """Each alone."""
        return [LineBatch((number,), (line,)) for number, line in zip(self.numbers, self.content, strict=True)]


@contextmanager
def open_ordinary(path: Path, max_bytes: int | None) -> Iterator[Opened]:
    """A file that is one and of this size at most, and is not waited for. Raises Unreadable, OSError."""
    if not path.is_file():  # a pipe would be waited for without end, a device read without one
        raise Unreadable("is not an ordinary file")
    # What stands there may be another by now: what was opened counts.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is not an ordinary file")
        if max_bytes is not None and status.st_size > max_bytes:
            raise Unreadable(
                f"has {status.st_size / 1e6:,.0f} MB, more than the {max_bytes / 1e6:,.0f} MB that are read at once"
            )
        yield Opened(file, status.st_size)


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """A whole file from its beginning, piece by piece. Raises OSError."""
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece


def batches_of_lines(file: BinaryIO, max_bytes: int, seconds: float) -> Iterator[LineBatch]:
    """The lines of a file, as many together as are sent together; memory holds no more than one line of the most bytes.

    `seconds`: in which the end of a longer line must be found. Raises Unreadable, OSError.
    """
    numbers: list[int] = []
    content: list[bytes] = []
    size = number = 0
    while line := file.readline(max_bytes + 1):
        number += 1
        if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise Unreadable("is not UTF-8 but UTF-16: save it as UTF-8")
        too_long = len(line) > max_bytes and not line.endswith(b"\n")
        if not too_long and not line.strip():
            continue
        if not too_long:
            numbers.append(number)
            content.append(line if line.endswith(b"\n") else line + b"\n")
            size += len(line)
        if numbers and (too_long or size >= _BATCH_BYTES or len(numbers) >= _BATCH_LINES):
            yield LineBatch(tuple(numbers), tuple(content))
            numbers, content, size = [], [], 0
        if too_long:
            del line
            yield LineBatch((number,), ())
            _skip_line(file, number, seconds)
    if numbers:
        yield LineBatch(tuple(numbers), tuple(content))


def _skip_line(file: BinaryIO, number: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while piece := file.readline(_PIECE):
        if piece.endswith(b"\n"):
            return
        if time.monotonic() > deadline:
            raise Unreadable(f"has no end of line {number} that could be found within {seconds:g} s")
