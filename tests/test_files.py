import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from rag_ft import files
from rag_ft.errors import AdapterError, UsageError
from rag_ft.files import (
    BEFORE,
    RESULT,
    clear_partial,
    disk_full,
    free_bytes,
    is_disk_full,
    is_real_folder,
    partials,
    remove_tree,
    replacing,
    require_space,
    staged,
    write_atomic,
)


@pytest.fixture
def dead_pid():
    """The id of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_file_is_replaced_whole_and_readable_by_others(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("former")
    path.chmod(0o600)
    write_atomic(path, "é")
    assert path.read_bytes() == "é".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    write_atomic(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("trouble", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_former_file_and_nothing_beside_it(tmp_path, monkeypatch, trouble):
    path = tmp_path / "a.json"
    path.write_text("former")

    def fail(_path):
        raise trouble

    monkeypatch.setattr(files, "fsync", fail)
    with pytest.raises(type(trouble)):
        write_atomic(path, "new")
    assert path.read_text() == "former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path, dead_pid):
    path = tmp_path / "a.json"
    dead = tmp_path / f".a.json.partial-{dead_pid}-00ff"
    living = tmp_path / f".a.json.partial-{os.getpid()}-00ff"
    others = [tmp_path / ".a.json.partial-notes", tmp_path / f".b.json.partial-{dead_pid}-00ff"]
    for leftover in (dead, living, *others):
        leftover.write_text("half")
    assert set(partials(path)) == {dead, living}
    with replacing(path) as work:
        work.write_text("whole")
    assert not dead.exists()
    assert living.exists() and all(other.exists() for other in others)


def test_what_a_leftover_link_leads_to_stays(tmp_path, dead_pid):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "a.txt").write_text("mine")
    (tmp_path / f".out.partial-{dead_pid}-x").symlink_to(theirs)
    clear_partial(tmp_path / "out")
    assert (theirs / "a.txt").read_text() == "mine"


def test_a_folder_that_was_moved_away_by_a_killed_writer_comes_back(tmp_path, dead_pid):
    work = tmp_path / f".out.partial-{dead_pid}-x"
    (work / BEFORE).mkdir(parents=True)
    (work / BEFORE / "weights").write_text("former")
    clear_partial(tmp_path / "out")
    assert (tmp_path / "out" / "weights").read_text() == "former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_failed_last_rename_brings_the_former_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    (target / "mark").write_text("former")
    rename = os.rename

    def fail(source, destination):
        if os.path.basename(source) == RESULT:
            raise OSError(errno.EIO, "broken")
        rename(source, destination)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)  # as where no system call does it in one step
    monkeypatch.setattr(os, "rename", fail)
    with (
        pytest.raises(AdapterError, match="cannot be written"),
        staged(target, overwrite=True, foreign=lambda _: None, error=AdapterError) as work,
    ):
        (work / RESULT).mkdir()
    assert (target / "mark").read_text() == "former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_only_real_folders_below_the_given_one_are_removed(tmp_path):
    inside, elsewhere = tmp_path / "index", tmp_path / "elsewhere"
    (elsewhere / "old").mkdir(parents=True)
    (elsewhere / "old" / "a.txt").write_text("mine")
    (inside / "generations").mkdir(parents=True)
    (inside / "generations" / "old").symlink_to(elsewhere / "old")
    (inside / "linked").symlink_to(elsewhere)
    for folder in (inside / "generations" / "old", inside / "linked" / "old"):
        with pytest.raises(UsageError, match="is a link or a file"):
            remove_tree(folder, inside=inside)
    for folder in (inside, inside / ".." / "elsewhere", tmp_path / "elsewhere"):
        with pytest.raises((UsageError, ValueError)):
            remove_tree(folder, inside=inside)
    assert (elsewhere / "old" / "a.txt").read_text() == "mine"
    made = inside / "generations" / "new"
    made.mkdir()
    (made / "link").symlink_to(elsewhere)
    remove_tree(made, inside=inside)
    remove_tree(made, inside=inside)  # gone already
    assert not made.exists()
    assert (elsewhere / "old" / "a.txt").exists()


def test_a_link_to_a_folder_is_no_real_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert is_real_folder(tmp_path)
    assert not is_real_folder(tmp_path / "link")
    assert not is_real_folder(tmp_path / "missing")


def test_full_disks_are_recognised_in_the_words_of_every_library(tmp_path):
    full = [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("240000 requested and 4080 written"),  # numpy's tofile
        RuntimeError("write error: No space left on device"),
        Exception("I/O error: No space left on device (os error 28)"),
    ]
    for error in full:
        assert is_disk_full(error), error
    try:
        try:
            raise full[0]
        except OSError as error:
            raise RuntimeError("serialization failed") from error
    except RuntimeError as error:
        assert is_disk_full(error)
    for other in (OSError(errno.EIO, "Input/output error"), ValueError("3 requested"), KeyboardInterrupt()):
        assert not is_disk_full(other), other
    assert disk_full(tmp_path) == f"the disk of {tmp_path} is full: free some space and run the same command again"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the platform has no device that is always full")
def test_numpy_on_a_full_device_is_a_full_disk():
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as device:
        np.zeros(100_000).tofile(device)
    assert is_disk_full(caught.value)


def test_too_little_space_is_said_before_anything_is_written(tmp_path):
    missing = tmp_path / "a" / "b"
    assert free_bytes(missing) > 0
    require_space(missing, 1, error=AdapterError)
    with pytest.raises(AdapterError, match=r"needs 1,000,000,000,000 MB of free space"):
        require_space(missing, 10**18, error=AdapterError)
    assert not missing.parent.exists()
