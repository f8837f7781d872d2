"""`rag-ft data next`: the questions that are worth a person's time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_ft.cli.options import (
    AdapterOption,
    IndexOption,
    JsonOption,
    KOption,
    MoreAdaptersOption,
    ReaderOption,
    parse_adapters,
)
from rag_ft.cli.records import OverwriteOption, check_output, save_questions
from rag_ft.cli.terminal import echo_json
from rag_ft.errors import UsageError

if TYPE_CHECKING:
    from rag_ft.schema import Question


def next_questions(
    questions: Annotated[
        Path,
        typer.Argument(help="Question records, or a .txt with a question per line.", show_default=False),
    ],
    index: IndexOption,
    count: Annotated[int, typer.Option("-n", min=1, help="Questions to pick.")] = 20,
    labelled: Annotated[
        Path | None,
        typer.Option(
            help="Your records so far: questions about other documents and passages are worth more.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the picked records here.", show_default=False)
    ] = None,
    overwrite: OverwriteOption = False,
    k: KOption = 3,
    reader: ReaderOption = "default",
    adapter: AdapterOption = None,
    with_adapter: MoreAdaptersOption = None,
    as_json: JsonOption = False,
) -> int:
    """Pick the questions that are worth a person's time, and say why.

    Turn by turn: confidence nearest the threshold, adapters that disagree (--with-adapter), documents and passages that
    no labelled record is about (--labelled). Lines of a .txt are written with the reader's answer, to be reviewed.

    Examples:
    rag-ft data next questions.txt --index indexes/docs --labelled qa.jsonl -o next.jsonl
    rag-ft data review next.jsonl --index indexes/docs
    """
    from rag_ft.answering.pipeline import Pipeline
    from rag_ft.answering.reader import Reader
    from rag_ft.cli.render import stdout
    from rag_ft.indexing.index import Index
    from rag_ft.questions.records import read_questions
    from rag_ft.training.data.worth_labelling import ask_all, pick_questions

    if output is not None:
        check_output(output, overwrite, tuple(path for path in (questions, labelled) if path is not None))
    plain = questions.suffix.lower() == ".txt"
    records = _lines(questions) if plain else read_questions(questions)
    known = None if labelled is None else read_questions(labelled)
    retriever = Index.load(index).as_retriever(k=k)
    asked_of = Reader.from_pretrained(reader, adapter=adapter, adapters=parse_adapters(with_adapter))
    picks = pick_questions(ask_all(records, Pipeline(retriever, asked_of), suggest=plain), known, count)
    if output is not None:
        save_questions([pick.question for pick in picks], output)
    if as_json:
        rows = [{"id": pick.question.id, "question": pick.question.question, "why": pick.reasons} for pick in picks]
        echo_json(json.dumps(rows, ensure_ascii=False))
        return 0
    for i, pick in enumerate(picks, start=1):
        stdout().print(f"{i:>3}. {pick.question.question}  ({pick.question.id})")
        for reason in pick.reasons:
            stdout().print(f"     {reason}")
    if output is not None:
        stdout().print(f"{len(picks):,} records: {output}; 'rag-ft data review {output} --index {index}' shows them")
    return 0


def _lines(path: Path) -> list[Question]:
    """Each line of a text as a question without a label. Raises UsageError."""
    from rag_ft.schema import Question

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path} cannot be read ({reason}): give a text with a question per line") from error
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise UsageError(f"{path} holds no question: give a text with a question per line")
    return [Question(id=f"{path.stem}-{i}", question=line, answerable=False) for i, line in lines]
