"""JSON Lines files with the places where lines start beside them: written in order, read in any."""

from __future__ import annotations

import contextlib
import json
import mmap as mmap_module
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexCorruptError
from rag_ft.indexing.storage.folder import offsets_path
from rag_ft.indexing.storage.reading import REPAIR, load_array, reading, save_array


class LinesWriter:
    """Writes a JSON Lines file and, beside it, where each line starts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._lengths: list[NDArray[np.int64]] = []
        self.size = 0
        """Bytes written so far."""

    def write(self, data: bytes, lengths: Sequence[int] | NDArray[np.int64]) -> None:
        """Append whole lines with their `lengths` in bytes, line ends included."""
        self._file.write(data)
        self._lengths.append(np.asarray(lengths, dtype=np.int64))
        self.size += len(data)

    def close(self) -> None:
        """Close the file and write the line starts."""
        self._file.close()
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *self._lengths])
        save_array(offsets_path(self._path), np.cumsum(lengths, dtype=np.int64))

    def abandon(self) -> None:
        """Close the file, which is deleted next; an open file would still take its space."""
        with contextlib.suppress(OSError):  # a full disk does not take what it still buffers
            self._file.close()


def json_line(content: Any) -> bytes:
    """Encode one line of JSON, with its line end."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class LinesReader:
    """A memory-mapped JSON Lines file, read line by line in any order. Safe for concurrent readers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets: NDArray[np.int64] = load_array(offsets_path(path), mmap=True)
        with reading(path), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # An empty file cannot be mapped.
            self._data = mmap_module.mmap(file.fileno(), 0, access=mmap_module.ACCESS_READ) if size else b""
        offsets = self._offsets
        if offsets.dtype != np.int64 or offsets.ndim != 1 or len(offsets) == 0 or int(offsets[-1]) != size:
            raise IndexCorruptError(f"{path} does not have the length that its offsets give: {REPAIR}")
        if int(offsets[0]) != 0 or not bool(np.all(offsets[1:] > offsets[:-1])):
            raise IndexCorruptError(f"{offsets_path(path)} holds line starts that are not ascending: {REPAIR}")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def raw(self, start: int, stop: int) -> bytes:
        """The bytes of consecutive lines."""
        return bytes(self._data[int(self._offsets[start]) : int(self._offsets[stop])])

    def lengths(self, start: int, stop: int) -> NDArray[np.int64]:
        """The lengths in bytes of consecutive lines."""
        lengths: NDArray[np.int64] = np.diff(self._offsets[start : stop + 1])
        return lengths

    def __getitem__(self, row: int) -> Any:
        with reading(self.path):
            return json.loads(self.raw(row, row + 1))
