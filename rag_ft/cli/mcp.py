"""`rag-ft mcp`: the documents as tools for an assistant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_ft.cli.options import (
    PASSAGES_PANEL,
    TOKEN_VARIABLE,
    CrossEncoderOption,
    GroupedAdapter,
    GroupedIndexEmbedder,
    GroupedK,
    GroupedReader,
    IndexOption,
    MoreAdaptersOption,
    PollOption,
    ThresholdOption,
    WatchOption,
    parse_adapters,
    parse_groups,
)
from rag_ft.cli.watch import refuse_database

if TYPE_CHECKING:
    from rag_ft.indexing.access import Audience


def mcp(
    index: IndexOption,
    watch: WatchOption = None,
    poll: PollOption = False,
    k: GroupedK = 3,
    embedder: GroupedIndexEmbedder = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="Show only documents that these groups may read: names separated by commas.",
            show_default=False,
            rich_help_panel=PASSAGES_PANEL,
        ),
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            help="File of personal tokens: show only documents that the token in RAG_FT_TOKEN may read.",
            show_default=False,
            rich_help_panel=PASSAGES_PANEL,
        ),
    ] = None,
    reader: GroupedReader = "default",
    adapter: GroupedAdapter = None,
    with_adapter: MoreAdaptersOption = None,
    cross_encoder: CrossEncoderOption = None,
    threshold: ThresholdOption = None,
) -> int:
    """Serve an index to an assistant as MCP tools (ask, search) over standard input and output.

    Changes to the index are picked up while the server runs. --groups and --tokens hide documents from the assistant;
    whoever starts this command can still read the index's files.

    Example of a client's configuration:
    {"command": "rag-ft", "args": ["mcp", "--index", "indexes/handbook"]}
    """
    from rag_ft.extras import require_extra

    require_extra("mcp", "serving over MCP")
    from rag_ft.indexing.watching.watcher import check_watchable
    from rag_ft.serving.engine import load_index_and_reader
    from rag_ft.serving.mcp import create_mcp
    from rag_ft.serving.watching import build_if_missing

    if watch is not None:
        refuse_database(index)
        check_watchable(watch, poll=poll)

    audience = _audience(groups, tokens)
    adapters = parse_adapters(with_adapter)
    if watch is not None:
        build_if_missing(watch, index, embedder)
    loaded, answering = load_index_and_reader(
        index,
        embedder=embedder,
        reader=reader,
        adapter=adapter,
        adapters=adapters,
        cross_encoder=cross_encoder,
        threshold=threshold,
    )
    create_mcp(loaded, answering, k=k, audience=audience, watch=watch, poll=poll).run("stdio")
    return 0


def _audience(groups: str | None, tokens: Path | None) -> Audience | None:
    """Whom the assistant asks for; None: it may see everything. Raises UsageError."""
    from rag_ft.errors import UsageError
    from rag_ft.indexing.access import audience
    from rag_ft.serving.http.tokens import TokenFile

    if groups is not None and tokens is not None:
        raise UsageError("--groups and --tokens both say which documents are shown: give one of them")
    if groups is not None:
        return audience(parse_groups(groups))
    if tokens is None:
        return None
    identity = TokenFile(tokens).identity(os.environ.get(TOKEN_VARIABLE, ""))
    if identity is None:
        raise UsageError(f"the token in {TOKEN_VARIABLE} is not in {tokens}, or has expired: set a valid one")
    return identity.audience
