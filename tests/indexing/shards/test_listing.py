from __future__ import annotations

import json

import pytest
from small_indexes import CHUNKING, DOCUMENTS, build, sharded

from rag_ft.errors import IndexCorruptError, IndexFormatError, IndexLockedError, IndexMissingError, UsageError
from rag_ft.indexing.index import Index
from rag_ft.indexing.shards import listing
from rag_ft.indexing.shards.changing import add_shards, retire_shards
from rag_ft.indexing.shards.listing import changing, name_for, read_list
from rag_ft.indexing.storage.folder import content_checksum


@pytest.fixture
def folder(tmp_path):
    sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)
    return tmp_path / "all"


def rewritten(folder, **changes) -> None:
    """Change fields of the list and sign it again."""
    path = folder / "shards.json"
    content = json.loads(path.read_bytes()) | changes
    content["checksum"] = content_checksum(content)
    path.write_text(json.dumps(content))


def test_the_list_names_folders_below_it_relative_so_that_both_can_be_moved(folder, tmp_path):
    add_shards(folder, [build([DOCUMENTS[0].model_copy(update={"id": "z.md"})], tmp_path / "away").path])
    paths = {entry.name: entry.path for entry in read_list(folder).shards}
    assert paths == {"shard0": "shard0", "shard1": "shard1", "away": str(tmp_path / "away")}
    folder.rename(tmp_path / "moved")
    assert Index.load(tmp_path / "moved").incomplete == ()


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"", IndexCorruptError, "is not the JSON of a list of shards"),
        (b"[]", IndexCorruptError, "is not the JSON of a list of shards"),
        (b"\xff", IndexCorruptError, "is not the JSON of a list of shards"),
        (b"[" * 100_000, IndexCorruptError, "is not the JSON of a list of shards"),
        (b'{"format": 1}', IndexCorruptError, "was edited or damaged"),
        (b'{"format": 3}', IndexFormatError, "format 3 of a newer rag_ft, and this one reads up to 2: upgrade"),
    ],
)
def test_a_damaged_list_is_one_sentence(folder, content, error, says):
    (folder / "shards.json").write_bytes(content)
    for call in (lambda: Index.load(folder), lambda: retire_shards(folder, ["shard0"])):
        with pytest.raises(error, match=says):
            call()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shards": []}, "shards: "),
        ({"shards": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "two shards are named 'a'"),
        ({"shards": [{"name": "../a", "path": "x"}]}, "name"),
        ({"limit_s": 0}, "limit_s"),
        ({"more": 1}, "more"),
    ],
)
def test_a_list_that_nobody_wrote_is_one_sentence(folder, changes, says):
    rewritten(folder, **changes)
    with pytest.raises(IndexCorruptError, match=r"is not what rag_ft writes \(.*" + says):
        Index.load(folder)


def test_a_list_that_is_a_link_or_a_folder_is_not_read(folder, tmp_path):
    path = folder / "shards.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(IndexCorruptError, match="is not a list of shards"):
        Index.load(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(IndexCorruptError, match="is not a list of shards"):
        Index.load(folder)


def test_writers_take_turns(folder, monkeypatch):
    monkeypatch.setattr(listing, "_LOCK_TIMEOUT_S", 0.1)
    with changing(folder), pytest.raises(IndexLockedError, match="another process is changing the shards of"):
        retire_shards(folder, ["shard0"])


def test_folders_that_cannot_have_a_list(folder, tmp_path):
    with pytest.raises(UsageError, match="is an index itself: give another folder"):
        add_shards(folder / "shard0", [folder / "shard1"])
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file: give a folder"):
        add_shards(tmp_path / "file", [folder / "shard1"])
    with pytest.raises(IndexMissingError, match="has no list of shards: add one with"):
        retire_shards(tmp_path / "nothing", ["shard0"])
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".shards.lock").symlink_to(tmp_path / "file")
    with pytest.raises(UsageError, match="is a link or a folder where rag_ft keeps a file"):
        add_shards(tmp_path / "linked", [folder / "shard1"])


def test_names_are_those_of_the_folders_and_unique(tmp_path):
    assert name_for(tmp_path / "my index!", set()) == "my-index-"
    assert name_for(tmp_path / "a", {"a", "a-2"}) == "a-3"
    assert name_for(tmp_path / "...", set()) == "shard"
