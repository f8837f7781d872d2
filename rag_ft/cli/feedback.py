"""`rag-ft data feedback`: what people said of answers, as question records to train and evaluate on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from rag_ft.cli.options import IndexOption, JsonOption
from rag_ft.cli.terminal import echo_json
from rag_ft.errors import DatasetError, UsageError

OutputOption: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", help="File for the records (.jsonl).", show_default=False)
]
PruneOption: TypeAlias = Annotated[
    bool, typer.Option("--prune", help="Erase feedback whose words are gone from the changed document.")
]
ClearOption: TypeAlias = Annotated[bool, typer.Option("--clear", help="Erase all feedback once the file is written.")]


def feedback(
    index: IndexOption,
    output: OutputOption = None,
    prune: PruneOption = False,
    clear: ClearOption = False,
    as_json: JsonOption = False,
) -> int:
    """Count the feedback given on the page and by POST /v1/feedback, and write it as question records.

    Examples:
    rag-ft data feedback --index indexes/docs
    rag-ft data feedback --index indexes/docs -o feedback.jsonl
    rag-ft train feedback.jsonl --index indexes/docs
    """
    import json

    from rag_ft.cli.render import stdout
    from rag_ft.indexing.feedback import erase_feedback, read_feedback
    from rag_ft.indexing.index import Index
    from rag_ft.questions.records import write_questions

    if clear and output is None:
        raise UsageError("--clear erases the feedback, so give the file to keep it in (--output)")
    if output is not None:
        _check_output(output)
    loaded = Index.load(index)
    entries = read_feedback(loaded)
    made = loaded.feedback_questions()
    if output is not None and made.records:
        try:
            write_questions(made.records, output)
        except OSError as error:
            raise UsageError(f"{output} cannot be written ({error.strerror or error}): give another path") from error
    if clear and made.records:
        erase_feedback(loaded, entries)
    elif prune:
        erase_feedback(loaded, made.moved)
    if as_json:
        echo_json(json.dumps([entry.model_dump(mode="json") for entry in entries]))
        return 0
    console = stdout()
    for line in made.lines() if entries else ["no feedback was given on answers from this index"]:
        console.print(line)
    if output is not None:
        console.print(f"written: {output}" if made.records else "no file was written, and no feedback erased")
    return 0


def _check_output(path: Path) -> None:
    """Raise UsageError for a file that holds more than exported feedback."""
    from rag_ft.questions.records import read_questions

    if not path.exists():
        return
    try:
        ours = {record.origin for record in read_questions(path)} == {"feedback"}
    except DatasetError:
        ours = False
    if not ours:
        raise UsageError(f"{path} holds other things than exported feedback, and is not replaced: give another path")
