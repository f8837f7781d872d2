import os
import re
import subprocess
import sys

import pytest

from rag_ft import files
from rag_ft.errors import AdapterError, UsageError
from rag_ft.files import (
    BEFORE,
    RESULT,
    append_whole,
    clear_partial,
    foreign_file,
    full_disk_as,
    replacing_together,
    staged,
)

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
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    for text in ("first", "second"):
        _write(tmp_path / "out", text)
        assert (tmp_path / "out" / "ours.txt").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two names in one step")
def test_a_reader_of_a_folder_that_is_replaced_always_finds_one(tmp_path, monkeypatch):
    _write(tmp_path / "out", "first")
    rename, seen = os.rename, []

    def watched(one, other):
        rename(one, other)
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


def _gone():
    return int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)


def test_what_a_kill_between_two_renames_took_away_comes_back(tmp_path):
    left = tmp_path / f".out.partial-{_gone()}-abc"
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

    def killed(one, two):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(replace(one, two))

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
