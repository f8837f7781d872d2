"""`rag-ft ask`: one question, questions from stdin or a file, or a conversation at the prompt."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_ft.cli.building import with_options
from rag_ft.cli.bulk import BulkOptions, answer_file
from rag_ft.cli.options import IndexOption, JsonOption
from rag_ft.cli.pipeline import PipelineChoice, PipelineOptions
from rag_ft.cli.terminal import echo_json

if TYPE_CHECKING:
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.schema import Answer

_BATCH = 16
"""Questions from stdin that are read together: enough for the model, few enough that lines come soon."""

NEW_SUBJECT = "/new"
"""Line of a conversation after which questions no longer follow up those before."""


@with_options(BulkOptions)
@with_options(PipelineOptions, "pipeline_options")
def ask(
    index: IndexOption,
    question: Annotated[
        str | None,
        typer.Argument(
            help="If omitted, questions are read from stdin (one per line) or prompted for.", show_default=False
        ),
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            help="A question asked before, which this one follows up; repeat the option, the oldest first.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    *,
    pipeline_options: PipelineOptions,
    options: BulkOptions,
) -> int:
    """Answer a question from an index, with citations.

    At the prompt each question follows up those before it; /new begins another subject. A line of stdin is a question,
    or JSON: {"question": "And how often?", "history": ["an earlier question"]}. A file (--questions) may have any
    number of questions: a run that is interrupted resumes when the command is repeated.

    Examples:
    rag-ft ask "How does LoRA start?" --index indexes/handbook
    rag-ft ask "And how does it end?" --after "How does LoRA start?" --index indexes/handbook
    rag-ft ask --index indexes/handbook < questions.txt > answers.jsonl
    rag-ft ask --index indexes/handbook --questions questions.jsonl -o answers.jsonl
    """
    from rag_ft.errors import UsageError

    many = options.check(question, after)
    choice = PipelineChoice(index, pipeline_options)
    if many:
        return answer_file(options, choice, as_json=as_json)
    pipeline = choice.load()
    if question is not None and question != "-":
        return _answer_one(pipeline, question, after or (), as_json=as_json)
    if sys.stdin.isatty() and question is None:
        return _converse(pipeline, after or ())
    if after:
        raise UsageError("--after is for one question: on stdin, give each line's own history in JSON")
    return _answer_lines(pipeline, sys.stdin)


def _answer_one(pipeline: Pipeline, question: str, after: Sequence[str], *, as_json: bool) -> int:
    """Print the answer to one question; exit status 1 if it is not complete."""
    from rag_ft.cli.render import print_answer, stdout

    answer = pipeline.ask(question, history=after)
    if as_json:
        echo_json(answer.model_dump_json())
    else:
        print_answer(answer, stdout())
        _hint(answer, pipeline)
    return 0 if answer.complete else 1


def _hint(answer: Answer, pipeline: Pipeline) -> None:
    """Say how to see what an untuned reader would have quoted: it nearly always prefers null."""
    from rag_ft.answering.remote import RemoteReader
    from rag_ft.cli.render import stderr

    if isinstance(pipeline.reader, RemoteReader):
        return
    if answer.abstained and answer.passages and pipeline.reader.threshold is None and answer.provenance.adapter is None:
        note = "the reader is untuned and mostly prefers null: --threshold 0 shows its best quote, right or wrong"
        stderr().print(note, style="dim")


def _answer_lines(pipeline: Pipeline, lines: Iterable[str]) -> int:
    """Print one JSON object per line, in order; a question that fails gives an object with `question` and `error`."""
    import json

    from rag_ft.answering.bulk.questions import line_object

    failed = False
    batch: list[Any] = []

    def flush() -> None:
        nonlocal failed
        answers = pipeline.batch(list(batch), return_exceptions=True)
        for asked, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                failed = True
                question = asked if isinstance(asked, str) else asked.get("question", "")
                failure = {"question": str(question)[:200], "error": str(answer)}
                echo_json(json.dumps(failure, ensure_ascii=False))
            else:
                failed = failed or not answer.complete
                echo_json(answer.model_dump_json())
        sys.stdout.flush()
        batch.clear()

    for line in lines:
        text = line.strip()
        if text:
            given = line_object(text)
            batch.append(text if given is None else given)
        if len(batch) == _BATCH:
            flush()
    if batch:
        flush()
    return 1 if failed else 0


def _converse(pipeline: Pipeline, after: Iterable[str]) -> int:
    """Answer questions at a prompt, each as a follow-up of those before, until an empty line or the end of input."""
    from rich.text import Text

    from rag_ft.cli.render import print_answer, stdout
    from rag_ft.errors import RagFtError

    console = stdout()
    console.print(
        f"Ask about the documents, then follow up; {NEW_SUBJECT} begins another subject, an empty line quits.",
        style="dim",
    )
    history = list(after)
    while True:
        try:
            question = console.input(Text("? ", style="bold")).strip()
        except EOFError:
            break
        if not question:
            break
        if question == NEW_SUBJECT:
            history.clear()
            continue
        try:
            answer = pipeline.ask(question, history=history)
        except RagFtError as error:
            console.print(f"error: {error}", style="red")
            continue
        history.append(question)
        print_answer(answer, console)
        _hint(answer, pipeline)
    return 0
