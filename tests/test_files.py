import contextlib
import errno
import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rag_ft import files
from rag_ft.errors import AdapterError, UsageError
from rag_ft.files import (
    BEFORE,
    RESULT,
    append_whole,
    clear_partial,
    disk_full,
    foreign_file,
    free_bytes,
    full_disk_as,
    is_disk_full,
    is_real_folder,
    locked,
    partials,
    remove_tree,
    replacing,
    replacing_together,
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


NAMES = re.compile(r"ours\.txt|other\.txt")


def _write(target, text, **more):
    with staged(
        target, overwrite=True, foreign=lambda path: foreign_file(path, NAMES), error=AdapterError, **more
    ) as work:
        (work / RESULT).mkdir()
        (work / RESULT / "ours.txt").write_text(text)


@pytest.mark.parametrize("at_once", [True, False], ids=["exchanged", "two renames"])
def test_a_folder_takes_the_place_of_one_that_this_program_wrote(tmp_path, monkeypatch, at_once):
    if not at_once:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    for text in ("first", "second"):
        _write(tmp_path / "out", text)
        assert (tmp_path / "out" / "ours.txt").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two names in one step")
def test_a_reader_of_a_folder_that_is_replaced_always_finds_one(tmp_path, monkeypatch):
    _write(tmp_path / "out", "first")
    rename, seen = os.rename, []

    def watched(source, target):
        rename(source, target)
        seen.append((tmp_path / "out").exists())

    monkeypatch.setattr(os, "rename", watched)
    _write(tmp_path / "out", "second")
    assert all(seen) and (tmp_path / "out" / "ours.txt").read_text() == "second"


@pytest.mark.parametrize("theirs", ["notes.txt", "ours.txt/inside", "sub/ours.txt"])
def test_a_folder_with_a_file_of_the_users_is_not_replaced_and_the_file_is_named(tmp_path, theirs):
    path = tmp_path / "out" / theirs
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(UsageError, match=rf"holds {theirs.split('/')[0]}, which rag_ft did not write"):
        _write(tmp_path / "out", "new")
    assert path.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_comes_while_the_new_folder_is_made_is_not_lost(tmp_path):
    _write(tmp_path / "out", "first")
    with (
        pytest.raises(UsageError, match="holds thesis"),
        staged(
            tmp_path / "out", overwrite=True, foreign=lambda path: foreign_file(path, NAMES), error=AdapterError
        ) as work,
    ):
        (work / RESULT).mkdir()
        (tmp_path / "out" / "thesis").write_text("mine")
    assert (tmp_path / "out" / "thesis").read_text() == "mine"


def test_a_link_among_the_files_is_the_users(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ours.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"holds ours\.txt"):
        _write(tmp_path / "out", "new")
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_what_a_kill_between_two_renames_took_away_comes_back(tmp_path, dead_pid):
    left = tmp_path / f".out.partial-{dead_pid}-abc"
    (left / BEFORE).mkdir(parents=True)
    (left / BEFORE / "ours.txt").write_text("former")
    (left / RESULT).mkdir()
    clear_partial(tmp_path / "out")
    assert (tmp_path / "out" / "ours.txt").read_text() == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_that_belong_together_are_replaced_together_or_not_at_all(tmp_path):
    key, other = tmp_path / "key", tmp_path / "other"
    for text in ("first", "second"):
        with replacing_together([key, other]) as works:
            for work in works:
                work.write_text(text)
    with pytest.raises(OSError, match="full"), replacing_together([key, other]) as works:
        works[0].write_text("third")
        raise OSError(28, "full")
    assert [key.read_text(), other.read_text()] == ["second", "second"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "other"]


@pytest.mark.parametrize("renames", [0, 1])
def test_files_that_belong_together_are_not_mixed_by_a_kill(tmp_path, monkeypatch, renames):
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text("former")
    other.write_text("former")
    replace, done = os.replace, []

    def killed(source, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(replace(source, target))

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt), replacing_together([key, other]) as works:
        for work in works:
            work.write_text("new")
    assert not key.exists()


def test_lines_that_do_not_fit_leave_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    append_whole(path, "one\n")
    write = os.write

    def full(handle, data):
        if len(data) < 8:
            raise OSError(28, "No space left on device")
        return write(handle, bytes(data)[:4])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(AdapterError, match=r"the disk of .* is full"), full_disk_as(AdapterError, tmp_path):
        append_whole(path, "two is longer\n")
    assert path.read_text() == "one\n"


def test_a_line_that_was_left_unfinished_is_ended_first(tmp_path):
    path = tmp_path / "lines"
    path.write_text("one\ntw")
    append_whole(path, "three\n", new_line=True)
    append_whole(path, "four\n", new_line=True)
    assert path.read_text() == "one\ntw\nthree\nfour\n"


@pytest.mark.skipif(os.name == "nt", reason="no such locks there")
def test_a_failed_writer_cuts_off_no_line_of_another(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    write, begun = os.write, threading.Event()

    def failing(handle, data):
        if bytes(data).startswith(b"bad"):
            begun.set()
            time.sleep(0.3)  # another writer comes
            write(handle, b"ba")
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(os, "write", failing)

    def fail():
        with contextlib.suppress(OSError):
            append_whole(path, "bad\n")

    thread = threading.Thread(target=fail)
    thread.start()
    assert begun.wait(10)
    append_whole(path, "good\n")
    thread.join()
    assert path.read_text() == "good\n"


def test_lines_are_not_added_through_a_link(tmp_path):
    (tmp_path / "theirs").write_text("mine")
    (tmp_path / "lines").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError):
        append_whole(tmp_path / "lines", "ours\n")
    assert (tmp_path / "theirs").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small disk")
def test_on_a_disk_that_is_really_full_everything_is_as_before(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        _write(tmp_path / "out", "first")
        append_whole(tmp_path / "lines", "one\n")
        with pytest.raises(AdapterError, match=r"the disk of .* is full: free some space"):
            _write(tmp_path / "out", "x" * 500_000)
        with pytest.raises(AdapterError, match="the disk of"), full_disk_as(AdapterError, tmp_path):
            append_whole(tmp_path / "lines", "x" * 500_000)
        with (
            pytest.raises(AdapterError, match="the disk of"),
            full_disk_as(AdapterError, tmp_path),
            replacing_together([tmp_path / "lines", tmp_path / "more"]) as works,
        ):
            for work in works:
                work.write_text("x" * 200_000)
        assert (tmp_path / "out" / "ours.txt").read_text() == "first"
        assert (tmp_path / "lines").read_text() == "one\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lines", "out"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_lock_is_held_by_one_and_free_again_after_an_error(tmp_path):
    path = tmp_path / "lock"
    with pytest.raises(ValueError, match="inside"), locked(path, UsageError("busy")):
        with pytest.raises(UsageError, match="busy"), locked(path, UsageError("busy")):
            pytest.fail("held twice")
        raise ValueError("inside")
    with locked(path, UsageError("busy")):
        pass


def test_a_lock_is_waited_for(tmp_path):
    path, held, order = tmp_path / "lock", threading.Event(), []

    def hold():
        with locked(path, UsageError("busy")):
            held.set()
            time.sleep(0.3)
            order.append("first")

    other = threading.Thread(target=hold)
    other.start()
    held.wait(60)
    with locked(path, UsageError("busy"), timeout_s=60):
        order.append("second")
    other.join()
    assert order == ["first", "second"]


def test_a_lock_that_cannot_be_made_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError), locked(tmp_path, UsageError("busy")):
        pytest.fail("a folder was locked")
