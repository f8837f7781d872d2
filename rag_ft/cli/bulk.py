"""Options of `rag-ft ask` for many questions from a file, and the run that they describe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_ft.cli.options import (
    EngineChoice,
    address_option,
    check_engine,
    engine_option,
    for_ray,
    worker_gpus_option,
    workers_option,
)
from rag_ft.cli.terminal import printed_lines

if TYPE_CHECKING:
    from rag_ft.answering.bulk.run import BulkReport
    from rag_ft.cli.pipeline import PipelineChoice

MANY_PANEL = "Many questions"


@dataclass(frozen=True)
class BulkOptions:
    """Many questions from a file, and where they are answered."""

    questions: Annotated[
        Path | None,
        typer.Option(
            help="File of questions: .jsonl, .parquet, or one per line. Needs --output.",
            show_default=False,
            rich_help_panel=MANY_PANEL,
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File of answers to write: .jsonl or .parquet, in the order of the questions.",
            show_default=False,
            rich_help_panel=MANY_PANEL,
        ),
    ] = None
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the file of answers if it exists.", rich_help_panel=MANY_PANEL),
    ] = False
    block: Annotated[
        int,
        typer.Option(
            help="Questions per block: those that are sorted, and what a kill may repeat.", rich_help_panel=MANY_PANEL
        ),
    ] = 256
    engine: Annotated[EngineChoice, engine_option(MANY_PANEL)] = EngineChoice.local
    address: Annotated[str | None, address_option(MANY_PANEL)] = None
    workers: Annotated[int | None, workers_option(MANY_PANEL)] = None
    worker_gpus: Annotated[float, worker_gpus_option(MANY_PANEL)] = 0

    def check(self, question: str | None, after: list[str] | None) -> bool:
        """Whether a file of questions is to be answered. Raises UsageError for options that do not go together."""
        from rag_ft.errors import UsageError

        if self.questions is None:
            given = {"--output": self.output, **self._for_ray()}
            names = [name for name, value in given.items() if value is not None]
            if self.engine is EngineChoice.ray:
                names.append("--engine ray")
            if names:
                raise UsageError(f"{names[0]} is for a file of questions: give it with --questions")
            return False
        if self.output is None:
            raise UsageError("--questions needs a file for the answers: give one with --output")
        if question is not None or after:
            raise UsageError("--questions is for the questions of a file: leave out the question and --after")
        check_engine(self.engine, self._for_ray())
        return True

    def _for_ray(self) -> dict[str, object]:
        return for_ray(self.address, self.workers, self.worker_gpus)


def answer_file(options: BulkOptions, choice: PipelineChoice) -> int:
    """Answer the questions of a file; exit status 1 if any has no usable answer."""
    from rag_ft.answering.bulk.blocks import LocalEngine
    from rag_ft.answering.bulk.on_ray import RayEngine
    from rag_ft.answering.bulk.run import answer_questions
    from rag_ft.cli.render import StageLine, stderr

    assert options.questions is not None and options.output is not None
    # Workers have another working folder, and answers name the index's path.
    choice = replace(choice, index=choice.index.absolute(), adapter=_absolute(choice.adapter))
    with printed_lines("rag_ft.answering.bulk", stderr().print), StageLine(stderr()) as live:
        arguments = {"block": options.block, "overwrite": options.overwrite, "on_progress": live.update}
        if options.engine is EngineChoice.local:
            engine = LocalEngine(choice.load)
            report = answer_questions(options.questions, options.output, engine, **arguments)  # type: ignore[arg-type]
        else:
            place = {"address": options.address, "workers": options.workers, "gpus": options.worker_gpus}
            with RayEngine(choice.load, **place) as cluster:  # type: ignore[arg-type]
                report = answer_questions(options.questions, options.output, cluster, **arguments)  # type: ignore[arg-type]
    _print_report(report)
    return 1 if report.failed or report.incomplete else 0


def _absolute(adapter: Path | None) -> Path | None:
    return adapter.absolute() if adapter is not None and adapter.exists() else adapter


def _print_report(report: BulkReport) -> None:
    from rag_ft.cli.render import stdout

    console = stdout()
    console.print(f"answered    {report.answered:,} of {report.questions:,} questions")
    console.print(f"null        {report.declined:,}")
    if report.incomplete:
        console.print(f"incomplete  {report.incomplete:,}")
    if report.failed:
        console.print(f"errors      {report.failed:,}: their rows have a field error")
    before = f", {report.done_before:,} of them before" if report.done_before else ""
    console.print(f"answers     {report.output} ({report.seconds:,.0f} s{before})")
