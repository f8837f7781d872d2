"""`rag-ft demo`: the bundled handbook, indexed and asked."""

from __future__ import annotations

from typing import Annotated

import typer

from rag_ft.cli.options import AdapterOption, JsonOption, ReaderOption
from rag_ft.cli.terminal import echo_json

DEMO_QUESTIONS = (
    "What does gradient checkpointing cost?",
    "Who proposed rank-stabilised LoRA?",
    "How many parameters does GPT-4 have?",
)
"""Two that the packaged reader gets right, and one that the handbook does not answer."""

UNTUNED_THRESHOLD = 0.02
"""An untuned reader nearly always prefers null; this lets it answer where it is least unsure."""


def demo(
    question: Annotated[
        list[str] | None, typer.Argument(help="Your own questions instead.", show_default=False)
    ] = None,
    reader: ReaderOption = "default",
    adapter: AdapterOption = None,
    as_json: JsonOption = False,
) -> int:
    """Index the bundled handbook and answer three questions from it, with citations."""
    from rag_ft import environment
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.answering.reader import Reader
    from rag_ft.cli.render import print_answer, short, stderr, stdout
    from rag_ft.indexing.index import Index
    from rag_ft.models.weights import chosen_adapter

    handbook = environment.handbook_path()
    notes, console = stderr(), stdout()
    if not as_json:
        notes.print(f"handbook: {short(handbook)} (CC BY 4.0)", style="dim")
    index = Index.build(handbook, environment.home() / "demo-index")
    untuned = chosen_adapter(reader, adapter) is None
    answering = Reader.from_pretrained(reader, adapter=adapter, threshold=UNTUNED_THRESHOLD if untuned else None)
    if not as_json:
        counts = index.manifest.counts
        notes.print(f"index: {counts.documents} pages, {counts.passages} passages, at {short(index.path)}", style="dim")
        notes.print(f"reader: {answering.loaded.weights.name} on {answering.loaded.plan.line}", style="dim")
        if untuned:
            notes.print("the reader is untuned: expect it to be wrong often, and check what it quotes", style="yellow")
    for answer in Pipeline(index.as_retriever(), answering).ask_batch(question or DEMO_QUESTIONS):
        if as_json:
            echo_json(answer.model_dump_json())
            continue
        console.print()
        console.print(f"? {answer.question}", style="bold cyan")
        print_answer(answer, console)
    return 0
