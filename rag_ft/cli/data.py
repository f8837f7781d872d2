"""`rag-ft data`: question records, made, checked before a run, looked through, or taken from a hub data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_ft.cli import make_questions, next_questions, review, unanswerable
from rag_ft.cli.feedback import feedback
from rag_ft.cli.options import IndexOption, JsonOption
from rag_ft.cli.settings import checked
from rag_ft.cli.terminal import echo_json
from rag_ft.errors import DatasetError

_MOST_SHOWN = 100
"""Wrong records to name; a file with more of them probably has another format."""

data_app = typer.Typer(
    help="Make question records, check them, look through them, or fetch them from a hub data set.",
    no_args_is_help=True,
)


@data_app.command("check")
def data_check(
    questions: Annotated[Path, typer.Argument(help="Question records: .jsonl, or SQuAD's .json.", show_default=False)],
    index: IndexOption,
    held_out: Annotated[float, typer.Option(help="Share of the documents to hold out.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Seed for the split.")] = 0,
    as_json: JsonOption = False,
) -> int:
    """Check question records against an index: counts, lengths, evidence not found, duplicates, leaks."""
    from rag_ft.cli.render import stdout
    from rag_ft.indexing.index import Index
    from rag_ft.training.data.check import check_questions
    from rag_ft.training.data.examples import ExampleConfig

    examples = checked(ExampleConfig, held_out=held_out, seed=seed)
    loaded = Index.load(index)
    try:
        report = check_questions(questions, loaded, examples)
    except DatasetError as error:
        if len(error.problems) == 1:
            raise
        for problem in error.problems[:_MOST_SHOWN]:
            stdout().print(problem)
        hidden = len(error.problems) - _MOST_SHOWN
        note = f" ({hidden:,} of them not shown)" if hidden > 0 else ""
        raise DatasetError(f"{questions} holds {len(error.problems):,} wrong records{note}: correct them") from error
    if as_json:
        echo_json(report.model_dump_json())
    else:
        for line in report.lines():
            stdout().print(line)
    return 1 if report.wrong else 0


@data_app.command("fetch")
def data_fetch(
    name: Annotated[
        str, typer.Argument(help="Hub id of a data set with SQuAD's columns, or a local folder.", show_default=False)
    ],
    output: Annotated[Path, typer.Argument(help="Folder for documents.jsonl and questions.jsonl.", show_default=False)],
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
) -> int:
    """Save a hub data set as documents to index and question records to train and evaluate on.

    Example:
    rag-ft data fetch rajpurkar/squad_v2 squad --split validation
    """
    from rag_ft.cli.render import stdout
    from rag_ft.questions.hub import fetch_hub_questions

    fetched = fetch_hub_questions(name, output, split)
    stdout().print(f"{fetched.document_count:,} documents: {fetched.documents}")
    stdout().print(f"{fetched.question_count:,} question records: {fetched.questions}")
    return 0


data_app.command("make")(make_questions.make)
data_app.command("review")(review.review)
data_app.command("reviewed")(review.reviewed)
data_app.command("agreement")(review.agreement)
data_app.command("next")(next_questions.next_questions)
data_app.command("unanswerable")(unanswerable.unanswerable)
data_app.command("feedback")(feedback)
