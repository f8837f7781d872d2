"""A server that watches a folder: what it answers from, and what it refuses."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

import pytest
from commands import run_main
from fakes import HashingEmbedder
from mcp import Client
from watched import LONGEST_S, wait_until

from rag_ft.errors import CorpusError
from rag_ft.indexing.index import Index
from rag_ft.serving.engine import Engine
from rag_ft.serving.mcp import create_mcp
from rag_ft.serving.watching import FolderWatch, build_as_before, build_if_missing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "towers").mkdir()
    for name, height in (("Oslo", 37), ("Lima", 54)):
        (tmp_path / "towers" / f"{name}.txt").write_text(f"The tower of {name} is {height} metres high.\n")
    return tmp_path / "towers"


@pytest.fixture
def built(folder: Path) -> Index:
    return Index.build(folder, folder.parent / "watched", embedder=HashingEmbedder(), kind="flat", progress=False)


def names(client) -> list[str]:
    return [entry["id"] for entry in client.get("/v1/documents").json()["documents"]]


def test_a_saved_file_is_answered_from_without_a_restart(serve, built, folder):
    client = serve(index=built, watch=folder)
    (folder / "Riga.txt").write_text("The tower of Riga is 199 metres high.\n")
    wait_until(lambda: "Riga.txt" in names(client))
    reply = client.post("/v1/ask", json={"question": "How high is the tower of Riga?", "k": 1}).json()
    assert reply["passages"][0]["passage"]["document_id"] == "Riga.txt"
    (folder / "Riga.txt").unlink()
    wait_until(lambda: "Riga.txt" not in names(client))
    assert Index.load(built.path, embedder=HashingEmbedder()).manifest.kind_choice == "flat"


def test_a_question_that_waits_while_a_build_commits_is_answered_from_one_state(serve, built, folder):
    client = serve(index=built, watch=folder)
    states = {client.get("/v1/documents").json()["index"]: {"Lima.txt", "Oslo.txt"}}
    stop = threading.Event()
    replies: list[dict] = []

    def ask():
        while not stop.is_set():
            replies.append(client.post("/v1/ask", json={"question": "How high is the tower?", "k": 3}).json())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for name in ("Riga", "Bern"):
            (folder / f"{name}.txt").write_text(f"The tower of {name} is 61 metres high.\n")
            wait_until(lambda name=name: f"{name}.txt" in names(client))
            listed = client.get("/v1/documents").json()
            states[listed["index"]] = {entry["id"] for entry in listed["documents"]}
    finally:
        stop.set()
        asking.join()
    assert len(states) == 3 and replies
    for reply in replies:
        seen = {hit["passage"]["document_id"] for hit in reply["passages"]}
        assert seen <= states[reply["provenance"]["index"]]


def test_uploads_and_deletions_are_refused_with_the_reason(serve, built, folder):
    client = serve(index=built, watch=folder)
    for reply in (
        client.post("/v1/documents", files={"file": ("a.txt", b"text")}),
        client.delete("/v1/documents/Oslo.txt"),
    ):
        assert reply.status_code == 403
        assert "come from a folder that it watches: change the files there" in reply.json()["error"]["message"]
    assert client.get("/v1/about").json()["changes"] is False


def test_source_files_stay_in_an_index_that_has_some(folder, tmp_path):
    (folder / "crane.py").write_text('"""How the crane of Oslo is driven."""\n')
    embedder = HashingEmbedder()
    index = Index.build(folder, tmp_path / "code", embedder=embedder, source_code=True, progress=False)
    assert build_as_before(folder, index).removed == () and "crane.py" in set(index.documents())


async def test_an_assistant_searches_what_was_just_saved(built, folder, tiny_reader, monkeypatch):
    monkeypatch.setattr("rag_ft.serving.engine.REFRESH_INTERVAL_S", 0.0)
    server = create_mcp(built, tiny_reader, watch=folder)
    (folder / "Riga.txt").write_text("The tower of Riga is 199 metres high.\n")
    deadline = time.monotonic() + LONGEST_S
    async with Client(server) as client:
        while time.monotonic() < deadline:
            reply = await client.call_tool("search", {"query": "tower of Riga"})
            if reply.structured_content["result"][0]["document_id"] == "Riga.txt":
                return
            await asyncio.sleep(0.02)
    raise AssertionError("it was not found")


def test_a_watch_that_ends_leaves_no_thread_and_no_unfinished_generation(built, folder, tiny_reader):
    engine = Engine(built, tiny_reader)
    watch = FolderWatch(engine, folder)
    watch.start()
    (folder / "Riga.txt").write_text("The tower of Riga is 199 metres high.\n")
    watch.stop()
    assert "rag-ft-watch" not in {thread.name for thread in threading.enumerate()}
    assert len([*(built.path / "generations").iterdir()]) == 1


def test_an_index_that_is_missing_is_built_first(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.index.load_embedder", lambda name: HashingEmbedder())
    build_if_missing(folder, tmp_path / "new")
    assert len([*Index.load(tmp_path / "new", embedder=HashingEmbedder()).documents()]) == 2
    (folder / "Riga.txt").write_text("The tower of Riga is 199 metres high.\n")
    build_if_missing(folder, tmp_path / "new")
    assert len([*Index.load(tmp_path / "new", embedder=HashingEmbedder()).documents()]) == 2


@pytest.mark.parametrize("command", ["serve", "mcp"])
def test_what_cannot_be_watched_is_said_before_the_models_are_loaded(command, built, folder, tmp_path, monkeypatch):
    words = (command, "--index", built.path, "--watch")
    assert run_main(*words, tmp_path / "nothing").stderr == (
        f"error: there is nothing at {tmp_path / 'nothing'}: give a folder with documents\n"
    )
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    sentence = "error: watching a folder needs the extra 'watch': pip install 'rag-ft[watch]'\n"
    assert run_main(*words, folder).stderr == sentence


def test_a_folder_that_is_not_there_is_an_error_of_the_application(serve, built, tmp_path):
    with pytest.raises(CorpusError, match="there is nothing at"):
        serve(index=built, watch=tmp_path / "nothing")
