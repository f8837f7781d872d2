"""Files of question records as commands take and write them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from rag_ft.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_ft.schema import Question

QuestionsArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="Question records: .jsonl, or SQuAD's .json.", show_default=False)
]
RecordsOption: TypeAlias = Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)]
OverwriteOption: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")]


def check_output(output: Path, overwrite: bool, inputs: tuple[Path, ...]) -> None:
    """Refuse a file to write that is one of the inputs, or exists without `overwrite`. Raises UsageError."""
    if any(path.exists() and output.exists() and output.samefile(path) for path in inputs):
        raise UsageError(f"{output} would be written over what it is made from: give another path")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} already exists: choose another path, or overwrite it (--overwrite)")
    if output.is_dir() or not output.parent.is_dir():
        raise UsageError(f"{output} cannot be written: give the path of a file in a folder that exists")


def save_questions(questions: Sequence[Question], output: Path) -> None:
    """Write records, all or none. Raises DatasetError."""
    from rag_ft.files import disk_full, is_disk_full
    from rag_ft.questions.records import write_questions

    try:
        write_questions(questions, output)
    except OSError as error:
        if is_disk_full(error):
            raise DatasetError(disk_full(output.parent, f"no part of {output.name} was kept")) from error
        raise DatasetError(f"{output} cannot be written ({error.strerror}): choose another path") from error
