"""`rag-ft index shards`, and what other commands make of a folder of shards."""

from __future__ import annotations

import json
import shutil

import pytest
from commands import run_main as run
from fakes import HashingEmbedder
from small_indexes import CHUNKING, DOCUMENTS, build, split

from rag_ft.indexing import embedding
from rag_ft.indexing.building import sentinels


@pytest.fixture
def paths(tmp_path, monkeypatch):
    for module in (embedding, sentinels):
        monkeypatch.setattr(module, "load_named_embedder", lambda name: HashingEmbedder())
    return split(DOCUMENTS, tmp_path, 2, chunking=CHUNKING)


@pytest.fixture
def folder(paths, tmp_path):
    assert run("index", "shards", "add", tmp_path / "all", *paths).returncode == 0
    return tmp_path / "all"


def test_shards_are_added_listed_retired_and_limited(paths, tmp_path):
    folder = tmp_path / "all"
    done = run("index", "shards", "add", folder, *paths)
    assert done.returncode == 0 and "added to" in done.stderr and "shard0, shard1" in " ".join(done.stderr.split())
    listed = run("index", "shards", "list", folder)
    assert listed.returncode == 0
    assert "shard0: 3 documents, 12 passages, at" in " ".join(listed.stdout.split())
    assert run("index", "shards", "limit", folder, "2.5").returncode == 0
    assert run("index", "shards", "retire", folder, "shard1").returncode == 0
    shown = json.loads(run("index", "shards", "list", folder, "--json").stdout)
    assert [(shard["name"], shard["documents"], shard["problem"]) for shard in shown] == [("shard0", 3, "")]
    shutil.rmtree(paths[0])
    broken = run("index", "shards", "list", folder)
    assert broken.returncode == 1 and "shard0: there is no index at" in " ".join(broken.stdout.split())


def test_info_and_verify_take_a_folder_of_shards(folder, paths):
    shown = run("index", "info", folder, "--json", "--documents")
    assert json.loads(shown.stdout)["documents"] == [one.id for one in DOCUMENTS]
    assert "6 documents, 24 passages" in run("index", "info", folder).stdout
    verified = run("index", "verify", folder, "--absent", "z.md")
    assert verified.returncode == 0 and "shard1: vectors" in verified.stdout
    shutil.rmtree(paths[0])
    told = " ".join(run("index", "info", folder).stdout.split())
    assert "incomplete the shard 'shard0' was not searched: there is no index at" in told
    assert run("index", "verify", folder).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["index", "add", "{docs}", "{folder}"], 2, "is made of shards: change one of them"),
        (["index", "remove", "{folder}", "a.md"], 2, "is made of shards: change one of them"),
        (["index", "build", "{docs}", "{folder}"], 2, "holds a list of shards and not an index of its own"),
        (["index", "watch", "{docs}", "{folder}"], 2, "holds a list of shards and not an index of its own"),
        (["index", "shards", "add", "{folder}", "{other}"], 1, "and the shards with hashing"),
        (["index", "shards", "add", "{folder}", "{docs}"], 1, "there is no index at"),
        (["index", "shards", "retire", "{folder}", "x"], 2, "lists no shard 'x': it lists shard0, shard1"),
        (["index", "shards", "retire", "{docs}", "x"], 1, "has no list of shards: add one with"),
        (["index", "shards", "list", "{docs}"], 1, "has no list of shards: add one with"),
        (["index", "shards", "limit", "{folder}", "0"], 2, "give a number of seconds above 0"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(folder, tmp_path, arguments, code, says):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "x.md").write_text("A new text.")
    other = build([DOCUMENTS[0]], tmp_path / "other", HashingEmbedder(salt="other")).path
    before = (folder / "shards.json").read_bytes()
    done = run(*(word.format(docs=docs, folder=folder, other=other) for word in arguments))
    assert done.returncode == code, done.stderr
    assert says in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert (folder / "shards.json").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"shards.json", ".shards.lock", ".shard-words"}
