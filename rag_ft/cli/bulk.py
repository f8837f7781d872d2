"""Options of `rag-ft ask` for many questions from a file, and the run that they describe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
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
from rag_ft.cli.terminal import echo_json, printed_lines

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
        typer.Option(
            "--overwrite",
            help="Replace the file of answers if it exists, and forget an unfinished run with other options.",
            rich_help_panel=MANY_PANEL,
        ),
    ] = False
    block: Annotated[
        int | None,
        typer.Option(
            help="Questions that are sorted, answered and kept together; a kill repeats at most these. Default: 256.",
            show_default=False,
            rich_help_panel=MANY_PANEL,
        ),
    ] = None
    engine: Annotated[EngineChoice, engine_option(MANY_PANEL)] = EngineChoice.local
    address: Annotated[str | None, address_option(MANY_PANEL)] = None
    workers: Annotated[int | None, workers_option(MANY_PANEL)] = None
    worker_gpus: Annotated[float, worker_gpus_option(MANY_PANEL)] = 0

    def check(self, question: str | None, after: list[str] | None) -> bool:
        """Whether a file of questions is to be answered. Raises UsageError for options that do not go together."""
        from rag_ft.errors import UsageError

        if self.questions is None:
            given: dict[str, object] = {"--output": self.output, "--block": self.block}
            given |= {"--overwrite": self.overwrite or None, **self._for_ray()}
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


def answer_file(options: BulkOptions, choice: PipelineChoice, *, as_json: bool = False) -> int:
    """Answer the questions of a file, and print what came of them; exit status 1 if any has no usable answer."""
    from rag_ft.answering.bulk.blocks import LocalEngine
    from rag_ft.answering.bulk.on_ray import RayEngine
    from rag_ft.answering.bulk.run import BLOCK, answer_questions
    from rag_ft.cli.render import StageLine, stderr

    assert options.questions is not None and options.output is not None
    choice = choice.for_workers()  # for this process, too: answers name the index, and are equal wherever they are made
    with printed_lines("rag_ft.answering.bulk", stderr().print), StageLine(stderr()) as live:
        block = BLOCK if options.block is None else options.block
        arguments = {"block": block, "overwrite": options.overwrite, "on_progress": live.update}
        if options.engine is EngineChoice.local:
            engine = LocalEngine(choice.load)
            report = answer_questions(options.questions, options.output, engine, **arguments)  # type: ignore[arg-type]
        else:
            place = {"address": options.address, "workers": options.workers, "gpus": options.worker_gpus}
            with RayEngine(choice.load, **place) as cluster:  # type: ignore[arg-type]
                report = answer_questions(options.questions, options.output, cluster, **arguments)  # type: ignore[arg-type]
    if as_json:
        echo_json(json.dumps(asdict(report), default=str, ensure_ascii=False))
    else:
        _print_report(report)
    return 1 if report.failed or report.incomplete else 0


def _print_report(report: BulkReport) -> None:
    from rag_ft.cli.render import stdout

    console = stdout()
    console.print(f"answered    {report.answered:,} of {report.questions:,} questions")
    console.print(f"null        {report.declined:,}")
    if report.incomplete:
        console.print(f"incomplete  {report.incomplete:,}")
    if report.searched_in_part:
        console.print(f"in part     {report.searched_in_part:,}: not all shards were searched for these")
    if report.failed:
        console.print(f"errors      {report.failed:,}: their rows have a field error")
    before = f", {report.done_before:,} of them before" if report.done_before else ""
    console.print(f"answers     {report.output} ({report.seconds:,.0f} s{before})")
