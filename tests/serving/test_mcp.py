"""The MCP tools, asked by the official client library; over stdio with the real models."""

import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.serving.mcp import create_mcp


async def test_ask_and_search_give_answers_with_quotes_and_passages(index, tiny_reader):
    async with Client(create_mcp(index, tiny_reader)) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["ask", "search"]
        asked = await client.call_tool("ask", {"question": "How high is the tower of Oslo?"})
        answer = asked.structured_content
        quote = answer["quotes"][0]
        assert answer["answer"] in index.document(quote["document_id"]).text[quote["start"] : quote["end"]]
        found = (await client.call_tool("search", {"query": "tower of Lima", "k": 2})).structured_content["result"]
        assert found[0]["title"] == "Lima" and len(found) == 2


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("ask", {}),
        ("ask", {"question": ""}),
        ("ask", {"question": "x" * 3000}),
        ("ask", {"question": "x", "adapter": "no such"}),
        ("search", {"query": "x", "k": 0}),
    ],
)
async def test_bad_calls_are_errors_and_the_server_goes_on(index, tiny_reader, tool, arguments):
    async with Client(create_mcp(index, tiny_reader)) as client:
        reply = await client.call_tool(tool, arguments)
        assert reply.is_error
        assert not (await client.call_tool("search", {"query": "tower"})).is_error


@pytest.mark.slow
async def test_an_assistant_asks_over_stdio(tmp_path: Path):
    Index.build(handbook_path() / "kbit-preparation.md", tmp_path / "index", progress=False)
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "rag_ft", "mcp", "--index", str(tmp_path / "index"), "--threshold", "0"]
    )
    async with Client(stdio_client(server)) as client:
        asked = await client.call_tool("ask", {"question": "What does gradient checkpointing cost?"})
        assert asked.structured_content["answer"] and asked.structured_content["quotes"]
