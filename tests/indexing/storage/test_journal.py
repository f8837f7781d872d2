from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from attacks import attack

from rag_ft.indexing.building import builder
from rag_ft.indexing.storage.journal import Journal, passage_key

attacks = attack("index")


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> Path:
    """An index's folder after a first build that was ended with three blocks in its journal."""
    path = tmp_path_factory.mktemp("ended") / "index"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(builder, "BLOCK_PASSAGES", attacks.BLOCK_PASSAGES)
        attacks.make_journal(path)
    return path


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return attacks.state(attacks.build(tmp_path_factory.mktemp("clean") / "index", 12))


@pytest.mark.parametrize("name", list(attacks.JOURNAL_DAMAGES))
def test_no_damage_to_the_journal_stops_the_next_build(tmp_path, ended, clean, name, caplog):
    path = tmp_path / "a" / "index"
    shutil.copytree(ended, path)
    (tmp_path / "a" / "outside.npy").write_text("mine")
    for block in sorted(path.glob(".journal/*/*.npy"))[:1]:
        attacks.JOURNAL_DAMAGES[name](block, block.read_bytes(), random.Random(1))
    assert attacks.state(attacks.build(path, 12)) == clean
    assert (tmp_path / "a" / "outside.npy").read_text() == "mine"
    if name != "a folder":  # somebody's, which stays
        assert "1 blocks of" in caplog.text and not (path / ".journal").exists()


def test_the_journal_keeps_vectors_by_text_and_drops_those_of_another_embedder(tmp_path):
    keys = [passage_key(text) for text in ("one", "two")]
    vectors = np.arange(8, dtype=np.float32).reshape(2, 4)
    Journal(tmp_path, "e1", 4).append(keys, vectors)
    again = Journal(tmp_path, "e1", 4)
    assert len(again) == 2
    assert np.array_equal(again[keys[1]], vectors[1])
    assert keys[0] not in Journal(tmp_path, "e2", 4)
    assert keys[0] not in Journal(tmp_path, "e1", 4)


def test_a_journal_of_an_earlier_version_is_read(tmp_path):
    """Its blocks were written by numpy itself."""
    keys, vectors = [passage_key(text) for text in ("one", "two")], np.ones((2, 4), dtype=np.float32)
    Journal(tmp_path, "e", 4).append(keys, vectors)
    (block,) = tmp_path.rglob("*.npy")
    written = block.read_bytes()
    np.save(block, np.load(block, allow_pickle=False), allow_pickle=False)
    assert block.read_bytes() == written and len(Journal(tmp_path, "e", 4)) == 2


def test_a_damaged_block_of_the_journal_is_embedded_again(tmp_path):
    keys = [passage_key(text) for text in ("one", "two")]
    for key in keys:
        Journal(tmp_path, "e", 4).append([key], np.ones((1, 4), dtype=np.float32))
    first, second = sorted(tmp_path.rglob("*.npy"))
    first.write_bytes(first.read_bytes()[:-1])
    second.write_bytes(second.read_bytes()[:-1] + b"\x00")
    assert len(Journal(tmp_path, "e", 4)) == 0
    assert [*tmp_path.rglob("*.npy")] == []


def test_a_block_that_finds_no_space_leaves_nothing_of_itself(tmp_path, monkeypatch):
    def full(path: Path, block: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rag_ft.indexing.storage.journal.save_array", full)
    with pytest.raises(OSError, match="No space left"):
        Journal(tmp_path, "e", 4).append([passage_key("one")], np.ones((1, 4), dtype=np.float32))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
