from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pytest

from rag_ft.errors import IndexCorruptError, IndexStoreError, UsageError
from rag_ft.indexing.storage.reading import load_array, load_json, reading, regular_size, save_array, store_error


@pytest.mark.parametrize(
    "error",
    [
        TokenError("x"),
        SyntaxError("x"),
        RecursionError(),
        MemoryError(),
        KeyError("x"),
        StopIteration(),
        OSError("no number"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
        EOFError(),
        pickle.UnpicklingError(),
    ],
)
def test_whatever_a_damaged_file_raises_is_one_error_that_names_it(tmp_path, error):
    with pytest.raises(IndexCorruptError, match=r"x.npy .*build the index again"), reading(tmp_path / "x.npy"):
        raise error


def test_errors_of_our_own_and_what_is_no_error_pass(tmp_path):
    for error in (UsageError("x"), KeyboardInterrupt(), SystemExit()):
        with pytest.raises(type(error)), reading(tmp_path):
            raise error


def test_a_file_that_is_gone_or_may_not_be_read_is_called_that(tmp_path):
    with pytest.raises(IndexCorruptError, match="x is missing"), reading(tmp_path):
        (tmp_path / "x").read_bytes()
    with pytest.raises(IndexStoreError, match="no permission to use"), reading(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(IndexCorruptError, match="x is not a file"):
        regular_size(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"[" * 90_000, b"9" * 5000, b"\xff\xfe", b"{"])
def test_json_that_is_none_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(IndexCorruptError, match=r"x.json cannot be read"):
        load_json(tmp_path / "x.json")


@pytest.mark.parametrize("mmap", [True, False])
def test_an_array_that_is_none_is_an_error_that_names_the_file(tmp_path, mmap):
    for content in (b"", b"PK\x03\x04", pickle.dumps([1]), b"\x93NUMPY\x02\x00\x60\xea\x00\x00" + b"(" * 60_000):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(IndexCorruptError, match=r"x.npy (cannot be read|asks for more memory)"):
            load_array(tmp_path / "x.npy", mmap=mmap)


@pytest.mark.parametrize(
    "array", [np.zeros((0, 4), dtype=np.float32), np.arange(12).reshape(3, 4), np.zeros(7, dtype=[("a", "u1", 3)])]
)
def test_arrays_are_written_as_numpy_writes_them(tmp_path, array):
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "its.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "its.npy").read_bytes()
    save_array(tmp_path / "turned.npy", array.T)
    assert np.array_equal(np.load(tmp_path / "turned.npy"), array.T)


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with one page of 4,096 bytes left."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        (disk / "filler").write_bytes(bytes(4096))
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_short_write_is_never_taken_for_a_whole_one(little_disk):
    """FAISS's own writer returns as if its last bytes had been written, and numpy's error has no reason."""
    import faiss

    from rag_ft.indexing.storage.vectors import write_vectors

    index = faiss.IndexFlatIP(64)
    index.add(np.zeros((17, 64), dtype=np.float32))  # 301 bytes more than there is room for
    for write in (
        lambda path: write_vectors(index, path),
        lambda path: save_array(path, np.zeros(600)),
    ):
        with pytest.raises(OSError) as caught:
            write(little_disk / "x")
        assert caught.value.errno == errno.ENOSPC
        assert "the disk of" in str(store_error(caught.value, little_disk))
        (little_disk / "x").unlink()


def test_errors_of_a_full_disk_without_a_number_are_called_that(tmp_path):
    said = str(store_error(OSError("516 requested and 496 written"), tmp_path, "nothing is left of it"))
    assert said.startswith(f"the disk of {tmp_path} is full") and said.endswith("(nothing is left of it)")
    assert "repair it" not in said and json.dumps(said)
