"""The MCP tools, asked by the official client library; over stdio with the real models."""

import sys
from pathlib import Path

import pytest
from fakes import HashingEmbedder
from mcp import Client, StdioServerParameters, stdio_client

from rag_ft.answering.pipeline import Pipeline
from rag_ft.environment import handbook_path
from rag_ft.errors import UsageError
from rag_ft.indexing.access import audience
from rag_ft.indexing.index import Index
from rag_ft.schema import DeclinedAnswer, Document
from rag_ft.serving.mcp import create_mcp


async def test_ask_and_search_give_answers_with_quotes_and_passages(index, tiny_reader):
    async with Client(create_mcp(index, tiny_reader)) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["ask", "search"]
        asked = await client.call_tool("ask", {"question": "How high is the tower of Oslo?"})
        answer = asked.structured_content
        quote = answer["quotes"][0]
        assert answer["answer"] in index.document(quote["document_id"]).text[quote["start"] : quote["end"]]
        after = {"question": "And who built it?", "history": ["How high is the tower of Oslo?"]}
        assert not (await client.call_tool("ask", after)).is_error
        hits = (await client.call_tool("search", {"query": "tower of Lima", "k": 2})).structured_content["result"]
        assert hits[0]["title"] == "Lima" and len(hits) == 2


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("ask", {}),
        ("ask", {"question": ""}),
        ("ask", {"question": "x" * 3000}),
        ("ask", {"question": "x", "history": [" "]}),
        ("ask", {"question": "x", "history": "who?"}),
        ("ask", {"question": "x", "adapter": "no such"}),
        ("search", {"query": "x", "k": 0}),
    ],
)
async def test_bad_calls_are_errors_and_the_server_goes_on(index, tiny_reader, tool, arguments):
    async with Client(create_mcp(index, tiny_reader)) as client:
        reply = await client.call_tool(tool, arguments)
        assert reply.is_error
        assert not (await client.call_tool("search", {"query": "tower"})).is_error


async def test_changes_of_the_index_are_picked_up_while_it_runs(index, tiny_reader, monkeypatch):
    monkeypatch.setattr("rag_ft.serving.engine.REFRESH_INTERVAL_S", 0.0)
    async with Client(create_mcp(index, tiny_reader, audience=audience(["staff"]))) as client:
        other = Index.load(index.path, embedder=HashingEmbedder())
        added = [
            Document(id="Riga.txt", text="The tower of Riga is 199 metres high."),
            Document(id="hidden.txt", text="The tower of Riga is sold.", metadata={"access": ["board"]}),
        ]
        other.add(added, progress=False)
        hits = (await client.call_tool("search", {"query": "tower of Riga", "k": 20})).structured_content["result"]
        assert hits[0]["document_id"] == "Riga.txt"
        assert "hidden.txt" not in {hit["document_id"] for hit in hits}


def test_the_part_of_an_index_is_refused_because_a_refresh_would_load_all_of_it(index, tiny_reader):
    with pytest.raises(UsageError, match="only what some groups may read"):
        create_mcp(index.visible_to(["staff"]), tiny_reader)


async def test_sentences_that_are_not_sure_enough_come_with_their_quotes(index, tiny_reader, monkeypatch):
    def unsure(pipeline, question, **options):
        given = ask(pipeline, question, **options)
        declined = DeclinedAnswer(answer=given.answer, citations=given.citations, confidence=0.1)
        return given.model_copy(update={"answer": None, "citations": (), "declined": declined})

    ask = Pipeline.ask
    monkeypatch.setattr(Pipeline, "ask", unsure)
    async with Client(create_mcp(index, tiny_reader)) as client:
        asked = (await client.call_tool("ask", {"question": "How high is the tower of Oslo?"})).structured_content
    assert asked["answer"] is None and asked["quotes"] == []
    assert asked["declined"]["confidence"] == 0.1
    assert asked["declined"]["answer"] in asked["declined"]["quotes"][0]["quote"]


@pytest.mark.slow
async def test_an_assistant_asks_over_stdio(tmp_path: Path):
    Index.build(handbook_path() / "kbit-preparation.md", tmp_path / "index", progress=False)
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "rag_ft", "mcp", "--index", str(tmp_path / "index"), "--threshold", "0"]
    )
    async with Client(stdio_client(server)) as client:
        asked = await client.call_tool("ask", {"question": "What does gradient checkpointing cost?"})
        assert asked.structured_content["answer"] and asked.structured_content["quotes"]
