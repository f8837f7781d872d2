"""Reading and writing an index's files: damage is always an IndexStoreError, and a full disk is always noticed."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexCorruptError, IndexStoreError, RagFtError, first_line
from rag_ft.files import disk_full, is_disk_full

REPAIR = "build the index again with 'rag-ft index build', or restore it from a copy"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged `path` makes the block raise into an IndexStoreError that names it.

    All exceptions are caught: parsers raise many kinds, and their next versions others.
    """
    try:
        yield
    except RagFtError:
        raise
    except FileNotFoundError as error:
        raise IndexCorruptError(f"{error.filename or path} is missing: {REPAIR}") from error
    except MemoryError as error:
        raise IndexCorruptError(f"{path} needs more memory than this machine has, or is damaged: {REPAIR}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise store_error(error, path) from error
        raise IndexCorruptError(f"{path} cannot be read ({first_line(error)}): {REPAIR}") from error


def store_error(error: OSError, path: Path, kept: str = "") -> IndexStoreError:
    """Word an error of the file system as one sentence; `kept`: what is kept of the work if the disk is full."""
    where = os.fspath(error.filename) if isinstance(error.filename, str) else os.fspath(path)
    if is_disk_full(error):
        return IndexStoreError(disk_full(path, kept))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return IndexStoreError(f"no permission to use {where}: change its permissions or choose a folder that you own")
    return IndexStoreError(f"{where} cannot be used ({error.strerror or error}): repair it or choose another folder")


def regular_size(path: Path) -> int:
    """Size of a file, which may be reached by a link. Raises IndexCorruptError for a pipe or device, OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise IndexCorruptError(f"{path} is not a file: {REPAIR}")
    return status.st_size


def load_json(path: Path) -> Any:
    """The content of a JSON file. Raises IndexStoreError."""
    with reading(path):
        return json.loads(path.read_bytes())


_ONE_HEADER = threading.Lock()
"""numpy parses headers with `ast`, whose depth counter is shared by all threads in CPython 3.11: two at once may raise
SystemError, and a sound file would look damaged."""


def load_array(path: Path, *, mmap: bool) -> NDArray[Any]:
    """Load an array from a .npy file, never unpickled. Raises IndexStoreError."""
    with reading(path), _ONE_HEADER:
        if mmap:
            # As a plain array: numpy's class of mapped ones takes 20 us more at each use of a slice.
            return np.asarray(np.lib.format.open_memmap(path, mode="r"))
        with path.open("rb") as file:  # `np.load` would try archives and pickles too
            return np.lib.format.read_array(file, allow_pickle=False)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file. Raises OSError with the system's reason if the disk is full, which numpy's writer lacks."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        file.write(array_header(array.shape, array.dtype))
        file.write(array.data.cast("B") if array.size else b"")


def array_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Header of a .npy file for an array in C order."""
    header = io.BytesIO()
    content = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, content)
    return header.getvalue()
