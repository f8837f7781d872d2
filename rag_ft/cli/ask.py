"""`rag-ft ask`: one question, questions from stdin, or a conversation at the prompt."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_ft.cli.options import (
    AdapterPath,
    IndexEmbedder,
    IndexPath,
    Json,
    K,
    Mode,
    ModeChoice,
    ReaderName,
    Reading,
    Retrieval,
    Threshold,
    Where,
    parse_groups,
    parse_where,
)
from rag_ft.cli.terminal import echo_json

if TYPE_CHECKING:
    from rag_ft.answering.config import ReaderSettings
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.schema import Answer

_BATCH = 16
"""Questions of stdin that are read together: enough for the model, few enough that lines come soon."""


def ask(
    index: IndexPath,
    question: Annotated[
        str | None,
        typer.Argument(
            help="If omitted, questions are read from stdin (one per line) or prompted for.", show_default=False
        ),
    ] = None,
    k: K = 3,
    mode: Mode = ModeChoice.quote,
    reading: Reading = None,
    threshold: Threshold = None,
    retrieval: Retrieval = None,
    where: Where = None,
    reader: ReaderName = "default",
    adapter: AdapterPath = None,
    embedder: IndexEmbedder = None,
    groups: Annotated[
        str | None,
        typer.Option(
            help="Answer only from what these groups may read: names with commas between.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Answer a question from an index, with citations.

    Examples:
    rag-ft ask "How does LoRA start?" --index indexes/handbook
    rag-ft ask --index indexes/handbook < questions.txt > answers.jsonl
    """
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.answering.reader import Reader
    from rag_ft.cli.render import stdout
    from rag_ft.errors import UsageError
    from rag_ft.indexing.filters import OWN_FIELDS
    from rag_ft.indexing.index import Index

    found = Index.load(index, embedder=embedder)
    if groups is not None:
        found = found.visible_to(parse_groups(groups))
    filters: Any = parse_where(where)
    rows = found.rows_where(filters)
    if rows is not None and not len(rows):
        fields = sorted({*OWN_FIELDS, *(name for one in found.entries() for name in one.metadata)})
        raise UsageError(
            f"no document of the index at {found.path} matches {' and '.join(where or ())}: its fields are"
            f" {', '.join(fields)}"
        )
    chosen: Any = found.as_retriever(k=k, mode=retrieval.value if retrieval else None, where=filters)
    settings: ReaderSettings = {"mode": mode.value, "threshold": threshold}
    if reading is not None:
        settings["reading"] = reading.value
    pipeline = Pipeline(chosen, Reader.from_pretrained(reader, adapter=adapter, **settings))
    if question is not None and question != "-":
        answer = pipeline.ask(question)
        if as_json:
            echo_json(answer.model_dump_json())
        else:
            _print(answer, stdout())
            _hint(answer, pipeline)
        return 0 if answer.complete else 1
    if sys.stdin.isatty() and question is None:
        return _converse(pipeline)
    return _lines(pipeline, sys.stdin)


def _print(answer: Any, console: Any) -> None:
    from rag_ft.cli.render import print_answer

    print_answer(answer, console)


def _hint(answer: Answer, pipeline: Pipeline) -> None:
    """An untuned reader nearly always prefers null: say how to see what it would have quoted."""
    from rag_ft.cli.render import stderr

    if answer.abstained and answer.passages and pipeline.reader.threshold is None and answer.provenance.adapter is None:
        note = "the reader is not tuned and mostly prefers null: --threshold 0 shows its best quote, right or wrong"
        stderr().print(note, style="dim")


def _lines(pipeline: Pipeline, lines: Iterable[str]) -> int:
    """One JSON object a line, in order; a question that fails gives an object with `question` and `error`."""
    import json

    failed = False
    batch: list[str] = []

    def flush() -> None:
        nonlocal failed
        answers = pipeline.batch(list(batch), return_exceptions=True)
        for asked, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                failed = True
                failure = {"question": asked[:200], "error": str(answer)}
                echo_json(json.dumps(failure, ensure_ascii=False))
            else:
                failed = failed or not answer.complete
                echo_json(answer.model_dump_json())
        sys.stdout.flush()
        batch.clear()

    for line in lines:
        if line.strip():
            batch.append(line.strip())
        if len(batch) == _BATCH:
            flush()
    if batch:
        flush()
    return 1 if failed else 0


def _converse(pipeline: Pipeline) -> int:
    """Questions at a prompt until an empty line or end of file."""
    from rich.text import Text

    from rag_ft.cli.render import stdout
    from rag_ft.errors import RagFtError

    console = stdout()
    console.print("Ask about the documents; an empty line ends.", style="dim")
    while True:
        try:
            asked = console.input(Text("? ", style="bold")).strip()
        except EOFError:
            break
        if not asked:
            break
        try:
            answer = pipeline.ask(asked)
            _print(answer, console)
            _hint(answer, pipeline)
        except RagFtError as error:
            console.print(f"error: {error}", style="red")
    return 0
