"""An index of shards behind the server and MCP: same answers, what is missing is told, changes are picked up."""

from __future__ import annotations

import shutil

import pytest
from data import little_world
from mcp import Client
from small_indexes import CHUNKING, document, sharded

from rag_ft.answering.pipeline import Pipeline
from rag_ft.indexing.index import Index
from rag_ft.indexing.shards.changing import add_shards, retire_shards
from rag_ft.schema import Document
from rag_ft.serving.engine import Engine
from rag_ft.serving.mcp import create_mcp

QUESTION = "How high is the tower of Oslo?"


@pytest.fixture
def shards(tmp_path):
    return sharded(little_world()[0], tmp_path / "all", 3)


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch):
    monkeypatch.setattr("rag_ft.serving.engine.REFRESH_INTERVAL_S", 0.0)


def steady(answer):
    """An answer without times and paths."""
    provenance = answer.provenance.model_copy(update={"index_path": ""})
    usage = answer.usage.model_copy(update=dict.fromkeys(("retrieve_seconds", "read_seconds", "verify_seconds"), 0.0))
    return answer.model_copy(update={"provenance": provenance, "usage": usage})


def test_an_answer_is_that_of_one_index_and_names_the_same_fingerprint(shards, index, tiny_reader):
    for question in (QUESTION, "Who built the tower of Lima?"):
        answers = [Pipeline(one.as_retriever(), tiny_reader).ask(question) for one in (shards, index)]
        assert steady(answers[0]) == steady(answers[1])
        assert answers[0].incomplete == ()


def test_what_is_missing_is_told_by_answers_searches_and_the_page_and_comes_back(shards, serve, tmp_path, monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.shards.index.RETRY_S", 0.0)
    client = serve(index=shards)
    whole = client.post("/v1/ask", json={"question": QUESTION}).json()
    assert whole["incomplete"] == []
    assert "incomplete" not in client.post("/v1/search", json={"query": QUESTION}).json()
    (tmp_path / "all" / "shard1").rename(tmp_path / "away")
    (sentence,) = client.post("/v1/ask", json={"question": QUESTION}).json()["incomplete"]
    assert sentence.startswith("the shard 'shard1' was not searched: there is no index at")
    assert client.post("/v1/search", json={"query": QUESTION}).json()["incomplete"] == [sentence]
    assert client.get("/v1/about").json()["incomplete"] == [sentence]
    chat = {"model": "rag-ft", "messages": [{"role": "user", "content": QUESTION}]}
    reply = client.post("/v1/chat/completions", json=chat).json()
    assert reply["choices"][0]["message"]["rag_ft"]["incomplete"] == [sentence]
    assert client.get("/readyz").status_code == 200  # the other shards answer
    (tmp_path / "away").rename(tmp_path / "all" / "shard1")
    again = client.post("/v1/ask", json={"question": QUESTION}).json()
    assert again["incomplete"] == [] and again["provenance"] == whole["provenance"]


def test_without_any_shard_the_state_in_memory_answers_and_readiness_says_why(shards, serve, tmp_path):
    client = serve(index=shards)
    for number in range(3):
        shutil.rmtree(tmp_path / "all" / f"shard{number}")
    assert client.post("/v1/ask", json={"question": QUESTION}).status_code == 200
    reply = client.get("/readyz")
    assert reply.status_code == 503 and "no shard of the index at" in reply.json()["reason"]


def test_shards_are_added_and_retired_while_it_serves(shards, serve, tmp_path):
    client = serve(index=shards)
    more = Index.build(
        [Document(id="Riga.txt", text="The tower of Riga is 199 metres high.", title="Riga")],
        tmp_path / "riga",
        embedder=shards.embedder,
        progress=False,
    )
    search = {"query": "How high is the tower of Riga?", "k": 1}
    before = client.post("/v1/search", json=search).json()
    add_shards(tmp_path / "all", [more.path])
    assert client.post("/v1/search", json=search).json()["hits"][0]["passage"]["document_id"] == "Riga.txt"
    assert client.get("/v1/documents/Riga.txt").json()["text"].startswith("The tower of Riga")
    retire_shards(tmp_path / "all", ["riga"])
    assert client.post("/v1/search", json=search).json() == before


def test_uploads_deletions_and_feedback_are_refused_with_what_to_do(shards, serve):
    client = serve(index=shards)
    about = client.get("/v1/about").json()
    assert about["changes"] is False and about["feedback"] is False
    name = next(iter(shards.documents()))
    evidence = {"document_id": name, "start": 0, "end": 3, "quote": shards.document(name).text[:3]}
    for reply in (
        client.post("/v1/documents", files={"file": ("a.md", b"A text.")}),
        client.delete(f"/v1/documents/{name}"),
        client.post("/v1/feedback", json={"question": QUESTION, "verdict": "right", "evidence": evidence}),
    ):
        assert reply.status_code == 403 and "is made of shards: change one of them" in reply.text
    assert len(client.get("/v1/documents").json()["documents"]) == len(list(shards.documents()))


def test_an_engine_keeps_its_embedder_over_changes(shards, tiny_reader, tmp_path):
    engine = Engine(shards, tiny_reader)
    embedder = shards.embedder
    retire_shards(tmp_path / "all", ["shard0"])
    engine.refresh(now=True)
    assert engine.index is not shards and engine.index.embedder is embedder and engine.missing is None
    engine.sweep()  # what it sweeps is an ordinary index
    assert (tmp_path / "all" / "shards.json").exists()


async def test_mcp_tells_what_is_missing_with_each_reply(tmp_path, tiny_reader):
    shards = sharded([document(f"{name}.md") for name in "abcd"], tmp_path / "all", 2, chunking=CHUNKING)
    shutil.rmtree(tmp_path / "all" / "shard0")
    async with Client(create_mcp(shards, tiny_reader)) as client:
        asked = (await client.call_tool("ask", {"question": "Which rule holds?"})).structured_content
        assert asked["incomplete"][0].startswith("the shard 'shard0' was not searched")
        found = (await client.call_tool("search", {"query": "rule 2"})).structured_content["result"]
        assert {hit["document_id"] for hit in found} <= {"b.md", "d.md"}
        assert all(hit["incomplete"] == asked["incomplete"] for hit in found)
