import hashlib
import os

import pytest

from rag_ft import checksums
from rag_ft.checksums import sha256_of


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file that counts as large, with a home folder of its own to remember its checksum in."""
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(checksums, "REMEMBER_FROM_BYTES", 4)
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    return path


@pytest.fixture
def read(monkeypatch):
    """The files that were read to be hashed."""
    paths, hashed = [], checksums._read_and_hash
    monkeypatch.setattr(checksums, "_read_and_hash", lambda path: paths.append(path) or hashed(path))
    return paths


def test_a_large_file_is_read_once_until_it_changes(large, read):
    assert sha256_of(large) == sha256_of(large) == hashlib.sha256(b"first").hexdigest()
    assert len(read) == 1
    status = large.stat()
    large.write_bytes(b"other")
    os.utime(large, ns=(status.st_atime_ns, status.st_mtime_ns))  # only its change time is another
    assert sha256_of(large) == hashlib.sha256(b"other").hexdigest()
    assert sha256_of(large, fresh=True) == hashlib.sha256(b"other").hexdigest() and len(read) == 3


def test_a_small_file_is_always_read(tmp_path, monkeypatch, read):
    monkeypatch.setenv("RAG_FT_HOME", str(tmp_path / "home"))
    path = tmp_path / "small"
    path.write_bytes(b"text")
    assert sha256_of(path) == sha256_of(path) == hashlib.sha256(b"text").hexdigest()
    assert len(read) == 2 and not (tmp_path / "home").exists()


def test_without_a_home_folder_every_call_reads_the_file(large, read, tmp_path):
    (tmp_path / "home").write_text("a file in its place")
    assert sha256_of(large) == sha256_of(large) == hashlib.sha256(b"first").hexdigest()
    assert len(read) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"x": 1}'])
def test_remembered_checksums_that_are_damaged_are_ignored(large, tmp_path, content):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "checksums.json").write_text(content)
    assert sha256_of(large) == hashlib.sha256(b"first").hexdigest()
