"""`rag-ft serve` and `rag-ft mcp`: the documents for other people and other programs."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from rag_ft.cli.options import AdapterPath, IndexEmbedder, IndexPath, K, ReaderName, Threshold

TOKEN_VARIABLE = "RAG_FT_TOKEN"

MoreAdapters = Annotated[
    list[str] | None,
    typer.Option(
        "--with-adapter",
        help="Another adapter on the same base, NAME=FOLDER, repeatable. Requests name it.",
        show_default=False,
    ),
]


def serve(
    index: IndexPath,
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    tokens: Annotated[
        Path | None,
        typer.Option(
            help="File of personal tokens ('rag-ft token add'): each sees only what its groups may read.",
            show_default=False,
        ),
    ] = None,
    k: K = 3,
    threshold: Threshold = None,
    reader: ReaderName = "default",
    adapter: AdapterPath = None,
    with_adapter: MoreAdapters = None,
    embedder: IndexEmbedder = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse uploads and deletions.")] = False,
    queue: Annotated[int, typer.Option(help="Questions that may wait; the next gets 429.")] = 64,
    batch: Annotated[int, typer.Option(help="Questions read together at most.")] = 8,
    deadline: Annotated[float, typer.Option(help="Seconds within which a question must be answered.")] = 120.0,
    max_upload_mb: Annotated[float, typer.Option(help="Largest upload, in megabytes.")] = 25.0,
    passage_cache_mb: Annotated[
        int, typer.Option(help="Memory for passages that were read before and need not be read again; CPU only.")
    ] = 1024,
    report: Annotated[
        Path | None, typer.Option(help="An evaluation report (HTML) for the page to link to.", show_default=False)
    ] = None,
) -> int:
    """Serve an index: a page at /, a JSON API, and an OpenAI-compatible endpoint.

    The bearer token that all share is read from RAG_FT_TOKEN; it, or a file of personal ones (--tokens), is needed for
    any address but this machine's own.

    Examples:
    rag-ft serve --index indexes/handbook
    RAG_FT_TOKEN=$(openssl rand -hex 24) rag-ft serve --index indexes/handbook --host 0.0.0.0
    """
    from pydantic import ValidationError

    from rag_ft.cli.render import stderr
    from rag_ft.errors import UsageError, first_problem
    from rag_ft.extras import require_extra
    from rag_ft.indexing.access import ACCESS

    require_extra("serve", "serving")
    import uvicorn

    from rag_ft.serving.app import create_app
    from rag_ft.serving.config import MEGABYTE, ServeConfig
    from rag_ft.serving.engine import keep_memory
    from rag_ft.serving.http.connections import TimedHeadProtocol
    from rag_ft.serving.http.tokens import TokenFile
    from rag_ft.serving.threads import in_ending_thread

    if not math.isfinite(max_upload_mb):
        raise UsageError(f"--max-upload-mb is {max_upload_mb}: give a number of megabytes")
    try:
        config = ServeConfig(
            host=host,
            port=port,
            token=os.environ.get(TOKEN_VARIABLE) or None,
            tokens=tokens,
            allow_changes=not read_only,
            k=k,
            queue=queue,
            batch=batch,
            deadline_seconds=deadline,
            max_upload_bytes=int(max_upload_mb * MEGABYTE),
            report=report,
        )
    except ValidationError as error:
        raise UsageError(first_problem(error)) from error
    if tokens is not None:
        TokenFile(tokens)  # what is wrong with it is said before anything is loaded
    if report is not None and not report.is_file():
        raise UsageError(f"there is no report at {report}: give the report.html of an evaluation")
    with _bound(host, port) as socket:  # before the models are loaded, which takes a while
        keep_memory()
        found, answering = in_ending_thread(
            lambda: _load(index, embedder, reader, adapter, with_adapter, threshold, passage_cache_mb=passage_cache_mb)
        )
        notes = stderr()
        notes.print(f"index: {found.manifest.counts.documents} documents, {len(found)} passages", style="dim")
        labelled = sum(ACCESS in entry.metadata for entry in found.entries())
        if labelled and tokens is None:
            said = f"{labelled} documents say who may read them, which counts with personal tokens (--tokens) only"
            notes.print(f"{said}: whoever reaches this server reads all", style="yellow")
        notes.print(f"reader: {answering.loaded.weights.name} on {answering.loaded.plan.line}", style="dim")
        notes.print(f"adapters: {', '.join((*answering.adapters, 'none'))}", style="dim")
        app = create_app(found, answering, config)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,  # what it says comes through our own log, which is safe for a terminal
                log_level="warning",
                http=TimedHeadProtocol,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=15,
                # What was asked before the end is still answered.
                timeout_graceful_shutdown=int(deadline) + 1,
            )
        )
        server.config.load()
        _announce(server, notes)
        server.run(sockets=[socket])
    return 0


def _bound(host: str, port: int) -> Any:
    """A socket at the address, not listening yet. Raises RagFtError where it cannot be had."""
    import socket

    from rag_ft.errors import RagFtError

    def refuse(error: OSError) -> RagFtError:
        return RagFtError(
            f"the server cannot listen at {host}:{port} ({error.strerror}): give another --port or --host"
        )

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise refuse(error) from error
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise refuse(error) from error
    return made


MOST_CONNECTIONS = 1000
"""Beyond these, connections are refused at once: each holds memory."""


def mcp(
    index: IndexPath,
    k: K = 3,
    threshold: Threshold = None,
    reader: ReaderName = "default",
    adapter: AdapterPath = None,
    with_adapter: MoreAdapters = None,
    embedder: IndexEmbedder = None,
    groups: Annotated[
        str | None,
        typer.Option(help="Show only what these groups may read: names with commas between.", show_default=False),
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            help="File of personal tokens: show only what the one in RAG_FT_TOKEN may read.", show_default=False
        ),
    ] = None,
) -> int:
    """Serve an index to an assistant as MCP tools (ask, search) over standard input and output.

    --groups and --tokens keep from the assistant what is not meant for it; whoever starts this command can read the
    index's files.

    Example of a client's setting: {"command": "rag-ft", "args": ["mcp", "--index", "indexes/handbook"]}
    """
    from rag_ft.extras import require_extra

    require_extra("mcp", "serving over MCP")
    from rag_ft.serving.mcp import create_mcp
    from rag_ft.serving.threads import in_ending_thread

    seen = _audience(groups, tokens)
    found, answering = in_ending_thread(lambda: _load(index, embedder, reader, adapter, with_adapter, threshold))
    create_mcp(found if seen is None else found.visible_to(seen), answering, k=k).run("stdio")
    return 0


def _audience(groups: str | None, tokens: Path | None) -> Any:
    """Whom the assistant asks for; None: all may be seen. Raises UsageError."""
    from rag_ft.cli.options import parse_groups
    from rag_ft.errors import UsageError
    from rag_ft.indexing.access import audience
    from rag_ft.serving.http.tokens import TokenFile

    if groups is not None and tokens is not None:
        raise UsageError("--groups and --tokens both say what may be seen: give one of them")
    if groups is not None:
        return audience(parse_groups(groups))
    if tokens is None:
        return None
    identity = TokenFile(tokens).identity(os.environ.get(TOKEN_VARIABLE, ""))
    if identity is None:
        raise UsageError(f"the token in {TOKEN_VARIABLE} is none of {tokens}, or its time is over: set a good one")
    return identity.audience


def _load(
    index: Path,
    embedder: str | None,
    reader: str,
    adapter: Path | None,
    more: list[str] | None,
    threshold: float | None,
    **settings: Any,
) -> tuple[Any, Any]:
    """The index with its embedder, and the reader with its adapters: all that can fail fails before listening."""
    from rag_ft.answering.reader import Reader
    from rag_ft.errors import UsageError
    from rag_ft.indexing.index import Index

    adapters: dict[str, str | Path] = {}
    for one in more or ():
        name, sign, folder = one.partition("=")
        if not sign or not name or not folder:
            raise UsageError(f"--with-adapter is {one!r}: give NAME=FOLDER")
        if name in adapters:
            raise UsageError(f"--with-adapter gives {name!r} twice: give each adapter a name of its own")
        adapters[name] = folder
    found = Index.load(index, embedder=embedder)
    found.embedder  # noqa: B018
    return found, Reader.from_pretrained(
        reader, adapter=adapter, adapters=adapters or None, threshold=threshold, **settings
    )


def _announce(server: Any, notes: Any) -> None:
    """Print the address once the server listens; with port 0 nobody could know it before."""
    startup = server.startup

    async def announced(*arguments: Any, **options: Any) -> None:
        await startup(*arguments, **options)
        for one in server.servers:
            for socket in one.sockets:
                host, port = socket.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                notes.print(f"serving at http://{shown}:{port}", style="bold", highlight=False)

    server.startup = announced
