"""`rag-ft serve`: the documents for other people and other programs, over HTTP."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from rag_ft.cli.options import (
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
)
from rag_ft.cli.terminal import printed_lines
from rag_ft.cli.watch import WATCHING, refuse_database

if TYPE_CHECKING:
    from rag_ft.answering.reader import Reader
    from rag_ft.indexing.index import Index
    from rag_ft.serving.config import ServeConfig

_ACCESS, _LIMITS = "Access", "Limits"
"""Panels of options in the help."""


HostOption: TypeAlias = Annotated[
    str, typer.Option(help="Address to listen on; one that other machines can reach needs a token.")
]
ReportOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="Evaluation report (HTML) that the page links to.", show_default=False)
]
ReviewOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Question records that people look through at /review.", show_default=False),
]
TokensOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="File of personal tokens ('rag-ft token add'): each sees only what its groups may read.",
        show_default=False,
        rich_help_panel=_ACCESS,
    ),
]
ReadOnlyOption: TypeAlias = Annotated[
    bool, typer.Option("--read-only", help="Refuse uploads, deletions and feedback.", rich_help_panel=_ACCESS)
]
KeepUploadsOption: TypeAlias = Annotated[
    bool, typer.Option("--keep-originals", help="Keep uploaded files, to show their pages and give them out.")
]
QueueOption: TypeAlias = Annotated[
    int, typer.Option(help="Maximum waiting questions; any more get status 429.", rich_help_panel=_LIMITS)
]
DeadlineOption: TypeAlias = Annotated[
    float, typer.Option(help="Seconds within which a question must be answered.", rich_help_panel=_LIMITS)
]
PassageCacheOption: TypeAlias = Annotated[
    int,
    typer.Option(
        help="Memory for passages already read, in megabytes: they need not be read again. CPU only.",
        rich_help_panel=_LIMITS,
    ),
]


def serve(
    index: IndexOption,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    report: ReportOption = None,
    review: ReviewOption = None,
    watch: WatchOption = None,
    poll: PollOption = False,
    k: GroupedK = 3,
    embedder: GroupedIndexEmbedder = None,
    reader: GroupedReader = "default",
    adapter: GroupedAdapter = None,
    with_adapter: MoreAdaptersOption = None,
    cross_encoder: CrossEncoderOption = None,
    threshold: ThresholdOption = None,
    tokens: TokensOption = None,
    read_only: ReadOnlyOption = False,
    keep_originals: KeepUploadsOption = False,
    queue: QueueOption = 64,
    batch: Annotated[int, typer.Option(help="Maximum questions read together.", rich_help_panel=_LIMITS)] = 8,
    deadline: DeadlineOption = 120.0,
    max_upload_mb: Annotated[float, typer.Option(help="Largest upload, in megabytes.", rich_help_panel=_LIMITS)] = 25.0,
    passage_cache_mb: PassageCacheOption = 1024,
) -> int:
    """Serve an index: a web page at /, a JSON API, and an OpenAI-compatible endpoint.

    A shared bearer token is read from RAG_FT_TOKEN. Listening on an address that other machines can reach requires it,
    or a file of personal tokens (--tokens).

    --watch FOLDER picks up changes of the files within seconds. Uploads and deletions are then refused.

    Examples:
    rag-ft serve --index indexes/handbook
    RAG_FT_TOKEN=$(openssl rand -hex 24) rag-ft serve --index indexes/handbook --host 0.0.0.0
    """
    from rag_ft.errors import UsageError
    from rag_ft.extras import require_extra
    from rag_ft.indexing.formats.limits import MEGABYTE

    require_extra("serve", "serving")
    from rag_ft.indexing.watching.watcher import check_watchable
    from rag_ft.serving.app import create_app
    from rag_ft.serving.engine import keep_memory, load_index_and_reader
    from rag_ft.serving.http.listening import bind, run_server
    from rag_ft.serving.watching import build_if_missing

    if watch is not None:
        refuse_database(index)
        check_watchable(watch, poll=poll)

    if not math.isfinite(max_upload_mb):
        raise UsageError(f"--max-upload-mb is {max_upload_mb}: give a number of megabytes")
    config = _config(
        host=host,
        port=port,
        tokens=tokens,
        allow_changes=not read_only,
        keep_originals=keep_originals,
        k=k,
        queue=queue,
        batch=batch,
        deadline_seconds=deadline,
        max_upload_bytes=int(max_upload_mb * MEGABYTE),
        report=report,
        review=review,
        watch=watch,
        poll=poll,
    )
    adapters = parse_adapters(with_adapter)
    with bind(host, port) as bound:  # before the models are loaded, which takes a while
        keep_memory()
        if watch is not None:
            build_if_missing(watch, index, embedder, keep_originals=keep_originals)
        loaded, answering = load_index_and_reader(
            index,
            embedder=embedder,
            reader=reader,
            adapter=adapter,
            adapters=adapters,
            cross_encoder=cross_encoder,
            threshold=threshold,
            passage_cache_mb=passage_cache_mb,
        )
        notes = _print_notes(loaded, answering, config)
        app = create_app(loaded, answering, config)
        with printed_lines(WATCHING, lambda line: notes.print(line, style="dim")):
            run_server(app, config, bound, lambda url: notes.print(f"serving at {url}", style="bold", highlight=False))
    return 0


def _config(**settings: Any) -> ServeConfig:
    """The server's settings, with the files that they name checked. Raises UsageError."""
    from pydantic import ValidationError

    from rag_ft.errors import UsageError, first_problem
    from rag_ft.questions.records import read_questions
    from rag_ft.serving.config import ServeConfig
    from rag_ft.serving.http.tokens import TokenFile

    try:
        config = ServeConfig(token=os.environ.get(TOKEN_VARIABLE) or None, **settings)
    except ValidationError as error:
        raise UsageError(first_problem(error)) from error
    if config.tokens is not None:
        TokenFile(config.tokens)
    if config.report is not None and not config.report.is_file():
        raise UsageError(f"there is no report at {config.report}: give the report.html of an evaluation")
    if config.review is not None:
        read_questions(config.review)
    return config


def _print_notes(index: Index, reader: Reader, config: ServeConfig) -> Any:
    """Print what is served to stderr; the console that it was printed on."""
    from rag_ft.cli.render import stderr
    from rag_ft.indexing.access import ACCESS

    notes = stderr()
    notes.print(f"index: {index.manifest.counts.documents} documents, {len(index)} passages", style="dim")
    labelled = sum(ACCESS in entry.metadata for entry in index.entries())
    if labelled and config.tokens is None:
        notes.print(
            f"{labelled} documents are restricted to groups, but without personal tokens (--tokens) everyone who"
            " reaches this server can read them",
            style="yellow",
        )
    notes.print(f"reader: {reader.loaded.weights.name} on {reader.loaded.plan.line}", style="dim")
    notes.print(f"adapters: {', '.join((*reader.adapters, 'none'))}", style="dim")
    if reader.cross_encoder is not None and reader.cross_encoder.weights is not None:
        notes.print(f"cross-encoder: {reader.cross_encoder.weights.path}", style="dim")
    return notes
