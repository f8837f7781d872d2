"""`rag-ft data unanswerable`: unanswerable question records made out of answerable ones."""

from __future__ import annotations

from typing import Annotated

import typer

from rag_ft.cli.options import IndexOption
from rag_ft.cli.records import OverwriteOption, QuestionsArgument, RecordsOption, check_output, save_questions
from rag_ft.cli.settings import checked


def unanswerable(
    questions: QuestionsArgument,
    index: IndexOption,
    output: RecordsOption,
    most: Annotated[
        int | None,
        typer.Option(
            "--most",
            "-n",
            help="Maximum number of records. Default: one for every three answerable ones.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for choosing what is exchanged.")] = 0,
    overwrite: OverwriteOption = False,
) -> int:
    """Make unanswerable question records out of answerable ones, without a language model.

    A name, a number, a word with an opposite, or what is asked for is exchanged. Each changed question is searched for
    in the whole index, by vectors and by words, and left out where a passage may still answer it.

    Example:
    rag-ft data unanswerable qa.jsonl --index indexes/docs -o null.jsonl
    """
    from rag_ft.cli.render import stderr, stdout
    from rag_ft.errors import DatasetError
    from rag_ft.indexing.index import Index
    from rag_ft.questions.records import read_questions
    from rag_ft.training.data.unanswerable import UnanswerableConfig, make_unanswerable

    config = checked(UnanswerableConfig, most=most, seed=seed)
    check_output(output, overwrite, (questions,))
    records = read_questions(questions)
    made = make_unanswerable(records, Index.load(index), config)
    if not made.records:
        for line in made.lines():
            stderr().print(line)
        raise DatasetError(f"no unanswerable record could be made from {questions}: the lines above say why")
    save_questions(made.records, output)
    for line in made.lines():
        stdout().print(line)
    stdout().print(f"records   {output}; 'rag-ft data review {output} --index {index}' looks through them")
    return 0
