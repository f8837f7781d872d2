"""A server over an index in a database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from data import little_world
from databases import DATABASES
from fakes import HashingEmbedder

from rag_ft.indexing.databases.index import DatabaseIndex
from rag_ft.indexing.index import Index
from rag_ft.schema import Document


@pytest.mark.parametrize("kind", DATABASES)
def test_a_server_asks_changes_and_sees_changes_of_others(
    kind: str, new_address: Callable[[str], str], serve: Callable[..., httpx.Client]
) -> None:
    documents, questions = little_world()
    address = new_address(kind)
    index = DatabaseIndex.create(documents, address, embedder=HashingEmbedder(), progress=False)
    client = serve(index=index)
    answer = client.post("/v1/ask", json={"question": questions[0].question}).json()
    assert answer["answer"] and answer["provenance"]["index"] == index.fingerprint
    citation = answer["citations"][0]
    text = index.document(citation["document_id"]).text
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert len(client.get("/v1/documents").json()["documents"]) == len(documents)
    files = {"file": ("umbrellas.txt", b"Umbrellas are lent at the desk.")}
    added = client.post("/v1/documents", files=files)
    assert added.status_code < 300, added.text
    hits = client.post("/v1/search", json={"query": "where are umbrellas lent", "k": 1}).json()["hits"]
    assert hits[0]["passage"]["document_id"] == "umbrellas.txt"
    assert client.delete("/v1/documents/umbrellas.txt").status_code < 300
    assert not any(name == "umbrellas.txt" for name in index.newest().documents())
    other = Index.load(address, embedder=HashingEmbedder())
    other.add([Document(id="kites.md", text="Kites fly on the beach.")], progress=False)
    hits = client.post("/v1/search", json={"query": "where do kites fly", "k": 1}).json()["hits"]
    assert hits[0]["passage"]["document_id"] == "kites.md"


def test_feedback_is_refused_with_a_sentence(tmp_path: Path, serve: Callable[..., httpx.Client]) -> None:
    documents, questions = little_world()
    index = DatabaseIndex.create(documents, f"lancedb:{tmp_path}/l", embedder=HashingEmbedder(), progress=False)
    client = serve(index=index)
    answer = client.post("/v1/ask", json={"question": questions[0].question}).json()
    citation = answer["citations"][0]
    body = {
        "question": questions[0].question,
        "verdict": "right",
        "evidence": {name: citation[name] for name in ("document_id", "start", "end", "quote")},
    }
    reply = client.post("/v1/feedback", json=body)
    assert reply.status_code == 422 and "keeps no feedback" in reply.json()["error"]["message"]
