"""The folder of converted weights: what is replaced and removed there, and what a full disk leaves. No model."""

import errno
import os
import subprocess
import sys

import pytest

from rag_ft.errors import WeightsError
from rag_ft.models import gguf

DEAD = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.DEVNULL)
DEAD.wait()


@pytest.fixture
def folder(monkeypatch):
    def write(gguf_file, result, bar):
        (result / "config.json").write_text("{}")
        return "MIT"

    monkeypatch.setattr(gguf, "_write_folder", write)
    return gguf.folder_for("Tiny", "0" * 64)


def convert(folder):
    return gguf.convert_once(
        folder,
        name="Tiny",
        gguf_sha256="0" * 64,
        obtain=lambda work, on_progress: work / "tiny.gguf",
        needed_bytes=1,
    )


def partials(folder):
    return [path.name for path in folder.parent.iterdir() if ".partial-" in path.name]


def test_a_damaged_conversion_is_made_again(folder):
    convert(folder)
    (folder / "config.json").write_text("{ }")
    assert gguf.find_damage(convert(folder)) is None
    assert partials(folder) == []


def test_a_folder_of_the_user_in_its_place_is_left_alone(folder):
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("the only copy")
    with pytest.raises(WeightsError, match=r"was not written by rag_ft.*move it away"):
        convert(folder)
    assert (folder / "thesis.txt").read_text() == "the only copy"


def test_a_link_in_its_place_is_not_followed(folder, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "rag_ft.json").write_text("{}")
    folder.parent.mkdir(parents=True)
    folder.symlink_to(mine)
    with pytest.raises(WeightsError, match="in the place of converted weights"):
        convert(folder)
    assert (mine / "rag_ft.json").is_file()


def test_what_a_killed_conversion_left_goes_and_what_only_looks_like_it_stays(folder, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("the only copy")
    folder.parent.mkdir(parents=True)
    left = folder.parent / f".{folder.name}.partial-{DEAD.pid}-abcd"
    left.mkdir()
    (left / "half").write_text("x")
    others = [f".{folder.name}.partial-mine", f".{folder.name}.partial-{os.getpid()}-abcd"]
    for name in others:
        (folder.parent / name).mkdir()
    (folder.parent / f".{folder.name}.partial-{DEAD.pid}-link").symlink_to(mine)
    convert(folder)
    assert sorted(partials(folder)) == sorted([*others, f".{folder.name}.partial-{DEAD.pid}-link"])
    assert (mine / "thesis.txt").is_file()


@pytest.mark.parametrize(
    "full",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_fills_up_is_one_sentence_and_leaves_nothing(folder, monkeypatch, full):
    def write(gguf_file, result, bar):
        (result / "model.safetensors").write_bytes(b"half")
        raise full

    monkeypatch.setattr(gguf, "_write_folder", write)
    with pytest.raises(WeightsError, match=r"^the disk of .* is full: free some space .*RAG_FT_HOME") as caught:
        convert(folder)
    assert "\n" not in str(caught.value)
    assert not folder.exists() and partials(folder) == []


def test_an_interrupted_conversion_leaves_what_was_there(folder, monkeypatch):
    convert(folder)
    (folder / "config.json").write_text("{ }")

    def write(gguf_file, result, bar):
        (result / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf, "_write_folder", write)
    with pytest.raises(KeyboardInterrupt):
        convert(folder)
    assert (folder / "config.json").read_text() == "{ }" and partials(folder) == []
