"""The documents as tools for assistants that speak the Model Context Protocol: `ask` and `search`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field

import rag_ft
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.errors import IndexStoreError
from rag_ft.indexing.access import Audience
from rag_ft.indexing.index import Index
from rag_ft.indexing.retriever import Retriever
from rag_ft.indexing.watching.watcher import check_watchable
from rag_ft.schema import Answer, Citation
from rag_ft.serving.engine import Engine
from rag_ft.serving.watching import FolderWatch

MAX_K = 20

_INSTRUCTIONS = (
    "Answers questions from the user's own documents. `ask` returns an answer in the words of a document with the quote"
    " it rests on, or null if the documents do not answer; `search` returns the passages themselves."
)


class SourceSpan(BaseModel):
    """A span of a document."""

    source: str
    title: str
    document_id: str
    start: int
    end: int
    page: int | None


class Quote(SourceSpan):
    """A quote that an answer rests on."""

    quote: str
    verdict: str


class QuotedDeclinedAnswer(BaseModel):
    """The best answer where none is sure enough to be given."""

    answer: str
    confidence: float
    """The probability that it is right."""
    quotes: list[Quote]


class QuotedAnswer(BaseModel):
    """An answer, without the fields that only a program needs."""

    answer: str | None
    """Null if the documents do not answer, or no answer is sure enough."""
    confidence: float
    quotes: list[Quote]
    declined: QuotedDeclinedAnswer | None = None
    """What was found and not given; null where there is nothing to tell."""
    incomplete: list[str] = []
    """What of the documents could not be searched."""


class FoundPassage(SourceSpan):
    """A passage of the documents."""

    text: str
    score: float
    incomplete: list[str] = []
    """What of the documents could not be searched, and may hold better passages."""


def create_mcp(
    index: Index,
    reader: Reader,
    *,
    k: int = 3,
    audience: Audience | None = None,
    watch: Path | None = None,
    poll: bool = False,
) -> MCPServer[Any]:
    """The MCP server; `.run("stdio")` serves it.

    Changes to the index's folder are picked up while it runs. `audience`: answer only from what these may read; None:
    from everything. `watch`: a folder that the index is kept equal to from now on. Raises UsageError where `index` is
    itself only a part (`Index.visible_to`).
    """
    engine = Engine(index, reader)
    if watch is not None:
        check_watchable(watch, poll=poll)

    @asynccontextmanager
    async def lifespan(server: MCPServer[Any]) -> AsyncIterator[None]:
        if watch is None:
            yield
            return
        folder_watch = FolderWatch(engine, watch, poll=poll)
        folder_watch.start()
        try:
            yield
        finally:
            await asyncio.to_thread(folder_watch.stop)

    server: MCPServer[Any] = MCPServer(
        "rag_ft", version=rag_ft.__version__, instructions=_INSTRUCTIONS, lifespan=lifespan
    )

    def retriever(k: int) -> Retriever:
        engine.refresh()
        return engine.view(audience).as_retriever(k=k, **engine.reader.reranking)

    retriever(k)  # a wrong k is an error before serving

    @server.tool()
    def ask(
        question: Annotated[str, Field(min_length=1, max_length=2000, description="One question, in full words")],
        history: Annotated[
            list[str] | None,
            Field(description="The user's earlier questions, oldest first, if this one needs them; else omit"),
        ] = None,
        adapter: Annotated[str | None, Field(description="Name of a loaded adapter; omit for the default")] = None,
    ) -> QuotedAnswer:
        """Answer a question from the documents, in the words of a document, or null if they do not answer it."""
        return _quoted(Pipeline(retriever(k), engine.reader).ask(question, history=history or (), adapter=adapter))

    @server.tool()
    def search(
        query: Annotated[str, Field(min_length=1, max_length=2000)],
        k: Annotated[int, Field(ge=1, le=MAX_K, description="Number of passages")] = 5,
    ) -> list[FoundPassage]:
        """Find the passages of the documents that best match a query, best first."""
        hits = retriever(k).retrieve(query)
        if hits.incomplete and not hits:  # an empty list would say that there is nothing
            raise IndexStoreError(f"nothing was found, but {'; '.join(hits.incomplete)}")
        return [
            FoundPassage(
                **hit.passage.model_dump(include=set(SourceSpan.model_fields)),
                text=hit.passage.text,
                score=hit.score,
                incomplete=list(hits.incomplete),
            )
            for hit in hits
        ]

    return server


def _quoted(answer: Answer) -> QuotedAnswer:
    unsure = answer.declined
    return QuotedAnswer(
        answer=answer.answer,
        confidence=answer.confidence,
        incomplete=list(answer.incomplete),
        quotes=_quotes(answer.citations),
        declined=None
        if unsure is None
        else QuotedDeclinedAnswer(answer=unsure.answer, confidence=unsure.confidence, quotes=_quotes(unsure.citations)),
    )


def _quotes(citations: Sequence[Citation]) -> list[Quote]:
    return [Quote.model_validate(citation.model_dump(include=set(Quote.model_fields))) for citation in citations]
