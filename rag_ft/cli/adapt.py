"""`rag-ft adapt`: from a folder of documents to a tuned reader with a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_ft.cli.options import WRITER_HELP, EmbedderOption, ReaderOption, Writer
from rag_ft.cli.terminal import printed_lines

if TYPE_CHECKING:
    from rag_ft.adapting.verdict import Verdict


def adapt(
    documents: Annotated[Path, typer.Argument(help="Folder or file with documents.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything that is made.")] = Path(
        "adapted"
    ),
    questions: Annotated[
        Path | None,
        typer.Option(help="Question records that people wrote, used instead of made ones.", show_default=False),
    ] = None,
    make: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Records to make. Default: 300 without --questions, none with them.",
            show_default=False,
        ),
    ] = None,
    writer: Annotated[
        Writer,
        typer.Option(metavar="WRITER", help=WRITER_HELP),
    ] = "both",
    minutes: Annotated[float, typer.Option(help="Time budget of the whole run.")] = 30.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop after the plan: what would be trained, and how long it would take.")
    ] = False,
    start_from: Annotated[
        str, typer.Option(help="Adapter to start from and to judge against: 'packaged', or a folder.")
    ] = "packaged",
    reader: ReaderOption = "default",
    embedder: EmbedderOption = "default",
    seed: Annotated[int, typer.Option(help="Seed for records, split and training.")] = 0,
) -> int:
    """Tune the reader to your documents, and say whether that was worth it: one command from a folder to a verdict.

    It builds the index, makes question records from the documents or takes yours, plans the time, tunes the packaged
    reader, judges it on documents that were held out, and writes a page with the verdict. A stage that is done is
    skipped the next time; a killed one resumes.

    Examples:
    rag-ft adapt docs/ -o adapted --dry-run
    rag-ft adapt docs/ -o adapted
    rag-ft adapt docs/ -o adapted --questions reviewed.jsonl --make 300
    """
    from rag_ft.adapting.adapt import AdaptOptions, plan_adaptation
    from rag_ft.adapting.adapt import adapt as adapt_reader
    from rag_ft.cli.render import StageLine, stderr, stdout

    options: AdaptOptions = {
        "questions": questions,
        "make": make,
        "writer": writer,
        "minutes": minutes,
        "seed": seed,
        "reader": reader,
        "start_from": start_from,
        "embedder": embedder,
    }
    console = stdout()
    with (
        StageLine(stderr()) as live,
        printed_lines("rag_ft.adapting", console.print),
        printed_lines("rag_ft.question_generation", lambda line: console.print(f"{'':<13} {line}")),
    ):
        options["on_progress"] = live.update
        if dry_run:
            plan_adaptation(documents, output, **options)
            return 0
        verdict = adapt_reader(documents, output, **options)
    _print_verdict(verdict)
    return 0


def _print_verdict(verdict: Verdict) -> None:
    from rag_ft.cli.render import stdout

    console = stdout()
    console.print()
    console.print(verdict.headline, style="bold")
    for sentence in verdict.sentences:
        console.print(sentence)
    console.print()
    for i, step in enumerate(verdict.next_steps, start=1):
        console.print(f"{i}. {step}")
    console.print()
    console.print(f"page: {verdict.page}")
    console.print(f"ask: {verdict.command}")
