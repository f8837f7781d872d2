"""`rag-ft bench`: how fast this machine is with this program, and with what one would run instead."""

from __future__ import annotations

from typing import Annotated

import typer

from rag_ft.cli.options import EmbedderOption, JsonOption, ReaderOption
from rag_ft.cli.terminal import echo_json


def bench(
    passages: Annotated[int, typer.Option(min=1, help="Passages of the handbook to embed.")] = 128,
    rounds: Annotated[int, typer.Option(min=1, help="Times that both sides are measured, in turns.")] = 3,
    embedder: EmbedderOption = "default",
    reader: ReaderOption = "default",
    no_reading: Annotated[bool, typer.Option("--no-reading", help="Leave out the reader.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Measure this program on this machine, each figure beside the usual alternative: about two minutes.

    Close other programs: both sides take turns, so ratios hold on a busy machine, but seconds do not.
    """
    from rag_ft.benchmarking.comparison import table_head
    from rag_ft.benchmarking.run import run_bench
    from rag_ft.cli.render import stderr, stdout

    def show(line: str) -> None:
        if not as_json:
            stdout().print(line, soft_wrap=True, markup=False, highlight=False)

    for line in table_head():
        show(line)
    measured = run_bench(
        passages=passages,
        rounds=rounds,
        embedder=embedder,
        reader=None if no_reading else reader,
        on_row=lambda row: show(row.line),
    )
    if as_json:
        echo_json(measured.model_dump_json())
        return 0
    notes = stderr()
    notes.print(f"embedding: {measured.embedding}", style="dim")
    if measured.reading:
        notes.print(f"reading: {measured.reading}", style="dim")
    notes.print(f"medians of {measured.rounds} rounds; ratios with those of the worst and the best round", style="dim")
    return 0
