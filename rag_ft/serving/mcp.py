"""The documents as tools for assistants that speak the Model Context Protocol: `ask` and `search`, over stdio."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field

import rag_ft
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.indexing.index import Index
from rag_ft.schema import Answer

MAX_K = 20

_INSTRUCTIONS = (
    "Answers questions from the user's own documents. `ask` gives an answer in the words of a document with the quote"
    " it rests on, or null where the documents do not answer; `search` gives the passages themselves."
)


class Place(BaseModel):
    """Where a text stands in the documents."""

    source: str
    title: str
    document_id: str
    start: int
    end: int
    page: int | None


class Quote(Place):
    """What an answer rests on."""

    quote: str
    verdict: str


class Asked(BaseModel):
    """An answer, without what only a program needs."""

    answer: str | None
    """Null where the documents do not answer."""
    confidence: float
    quotes: list[Quote]


class Found(Place):
    """A passage."""

    text: str
    score: float


def create_mcp(index: Index, reader: Reader, *, k: int = 3) -> MCPServer[Any]:
    """The MCP server; `.run("stdio")` serves it."""
    server: MCPServer[Any] = MCPServer("rag_ft", version=rag_ft.__version__, instructions=_INSTRUCTIONS)
    pipeline = Pipeline(index.as_retriever(k=k), reader)

    @server.tool()
    def ask(
        question: Annotated[str, Field(min_length=1, max_length=2000, description="One question, in full words")],
        adapter: Annotated[str | None, Field(description="An adapter in memory; left out: the default")] = None,
    ) -> Asked:
        """Answer a question from the documents, in the words of a document, or null where they do not answer it."""
        return _asked(pipeline.ask(question, adapter=adapter))

    @server.tool()
    def search(
        query: Annotated[str, Field(min_length=1, max_length=2000)],
        k: Annotated[int, Field(ge=1, le=MAX_K, description="Passages wanted")] = 5,
    ) -> list[Found]:
        """Find the passages of the documents that are nearest to a query, best first."""
        return [
            Found(
                **hit.passage.model_dump(include=set(Place.model_fields)),
                text=hit.passage.text,
                score=hit.score,
            )
            for hit in index.as_retriever(k=k).retrieve(query)
        ]

    return server


def _asked(answer: Answer) -> Asked:
    return Asked(
        answer=answer.answer,
        confidence=answer.confidence,
        quotes=[Quote.model_validate(one.model_dump(include=set(Quote.model_fields))) for one in answer.citations],
    )
