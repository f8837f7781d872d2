from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest
from fakes import HashingEmbedder
from small_indexes import CHUNKING, DOCUMENTS, build, document, same, sharded, split

from rag_ft.errors import IndexFormatError, IndexMismatchError, IndexMissingError, UsageError
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.shards.changing import add_shards, limit_shards, list_shards, retire_shards
from rag_ft.indexing.shards.listing import LIMIT_S, read_list
from rag_ft.indexing.storage.folder import FORMAT


@pytest.fixture
def folder(tmp_path):
    sharded(DOCUMENTS[:4], tmp_path / "all", 2, chunking=CHUNKING)
    return tmp_path / "all"


def test_shards_are_listed_with_what_they_hold(folder):
    assert [(shard.name, shard.documents, shard.passages, shard.problem) for shard in list_shards(folder)] == [
        ("shard0", 2, 8, ""),
        ("shard1", 2, 8, ""),
    ]
    (folder / "shard0" / "manifest.json").unlink()
    assert "there is no index at" in list_shards(folder)[0].problem


def test_a_shard_that_does_not_fit_is_refused_and_nothing_changes(folder, tmp_path):
    before = (folder / "shards.json").read_bytes()
    fits = build([document("x.md")], tmp_path / "fits").path
    other = build([document("y.md")], tmp_path / "other", HashingEmbedder(salt="other")).path
    long = Index.build(
        [document("y.md")], tmp_path / "long", embedder=HashingEmbedder(), chunking=ChunkingConfig(max_tokens=48)
    ).path
    newer = build([document("y.md")], tmp_path / "newer").path
    content = (newer / "manifest.json").read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}')
    (newer / "manifest.json").write_text(content)
    for wrong, error, says in [
        (
            other,
            IndexMismatchError,
            "was built with the embedder hashingother .* and the shards with hashing .*--embed",
        ),
        (long, IndexMismatchError, "was built with the chunking max_tokens 48 and the shards with 24: build it again"),
        (newer, IndexFormatError, f"is in index format {FORMAT + 1} of a newer rag_ft"),
        (tmp_path / "nothing", IndexMissingError, "there is no index at"),
        (folder, UsageError, "holds a list of shards itself: add its shards one by one"),
        (folder / "shard1", UsageError, "is already the shard 'shard1'"),
        (fits, UsageError, "is already the shard 'fits'"),  # given twice
        (build([document("a.md")], tmp_path / "clash").path, IndexMismatchError, "both have a document 'a.md'"),
    ]:
        with pytest.raises(error, match=says):
            add_shards(folder, [fits, wrong])
        assert (folder / "shards.json").read_bytes() == before
    with pytest.raises(UsageError, match="say which indexes to add"):
        add_shards(folder, [])
    assert add_shards(folder, [fits]) == ("fits",)


def test_the_first_add_makes_the_list_or_leaves_nothing_that_looks_like_one(tmp_path):
    first = build(DOCUMENTS[:2], tmp_path / "first").path
    with pytest.raises(IndexMissingError, match="there is no index at"):
        add_shards(tmp_path / "all", [first, tmp_path / "none"])
    assert not (tmp_path / "all" / "shards.json").exists()
    assert add_shards(tmp_path / "all", [first]) == ("first",)
    same(Index.load(tmp_path / "all", embedder=HashingEmbedder()), build(DOCUMENTS[:2], tmp_path / "whole"))


@pytest.mark.parametrize("wrong", ["nowhere", "postgresql://user:s3cret@host/db", "lancedb:folder"])
def test_what_is_no_index_folder_is_refused_before_a_folder_is_made(tmp_path, wrong):
    with pytest.raises((IndexMissingError, UsageError), match=r"no index at|give the folder of an index") as raised:
        add_shards(tmp_path / "all", [wrong if ":" in wrong else tmp_path / wrong])
    assert "s3cret" not in str(raised.value) and not (tmp_path / "all").exists()


def test_retiring_names_what_is_there_and_keeps_one(folder):
    with pytest.raises(UsageError, match="lists no shard 'shard9': it lists shard0, shard1"):
        retire_shards(folder, ["shard9"])
    with pytest.raises(UsageError, match="would have no shard left: an index cannot be empty"):
        retire_shards(folder, ["shard0", folder / "shard1"])
    with pytest.raises(UsageError, match="say which shards to retire"):
        retire_shards(folder, [])
    assert retire_shards(folder, [folder / "shard1"]) == ("shard1",)
    assert [entry.name for entry in read_list(folder).shards] == ["shard0"]
    words = {path.name for path in (folder / ".shard-words").iterdir()}
    assert words == {Index.load(folder / "shard0").manifest.generation}
    assert add_shards(folder, [folder / "shard1"]) == ("shard1",)


def test_a_shard_that_is_gone_can_be_retired(folder):
    (folder / "shard0").rename(folder / "away")
    assert retire_shards(folder, ["shard0"]) == ("shard0",)
    assert Index.load(folder).incomplete == ()


def test_the_limit_is_kept_in_the_list(folder, tmp_path):
    assert read_list(folder).limit_s == LIMIT_S
    limit_shards(folder, 2)
    add_shards(folder, [build([document("x.md")], tmp_path / "x").path])
    assert read_list(folder).limit_s == 2.0
    for seconds in (0, -1, 1e308, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="give a number of seconds above 0"):
            limit_shards(folder, seconds)


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    documents = [document(f"n{number}.md") for number in range(8)]
    paths = split(documents, tmp_path, 8, chunking=CHUNKING)
    code = (
        "import sys; from rag_ft.indexing.shards.changing import add_shards; add_shards(*sys.argv[1:2], sys.argv[2:])"
    )
    adding = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "all"), *map(str, paths[first : first + 2])])
        for first in range(0, 8, 2)
    ]
    assert [process.wait(120) for process in adding] == [0, 0, 0, 0]
    same(Index.load(tmp_path / "all", embedder=HashingEmbedder()), build(documents, tmp_path / "whole"))


KILLS = 12

_ADDING = """
import sys
from rag_ft.indexing.shards.changing import add_shards, retire_shards
print("ready", flush=True)
for turn in range(1000):
    add_shards(sys.argv[1], [sys.argv[2]])
    retire_shards(sys.argv[1], ["extra"])
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_list_before_or_after(folder, tmp_path):
    extra = build(DOCUMENTS[4:], tmp_path / "extra").path
    before, after = build(DOCUMENTS[:4], tmp_path / "before"), build(DOCUMENTS, tmp_path / "after")
    seen = set()
    chance = random.Random(3)
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", _ADDING, str(folder), str(extra)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.4))
        process.kill()
        process.wait(30)
        process.stdout.close()
        shards = Index.load(folder, embedder=HashingEmbedder())
        assert shards.incomplete == ()
        added = "extra" in {entry.name for entry in read_list(folder).shards}
        same(shards, after if added else before)
        seen.add(added)
        if added:
            retire_shards(folder, ["extra"])
    add_shards(folder, [extra])
    same(Index.load(folder, embedder=HashingEmbedder()), after)
    left = {path.name for path in folder.iterdir()}
    assert left == {"shard0", "shard1", "shards.json", ".shards.lock", ".shard-words"}
    words = {path.name for path in (folder / ".shard-words").iterdir()}
    assert words == {Index.load(path).manifest.generation for path in (folder / "shard0", folder / "shard1", extra)}
