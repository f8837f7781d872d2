"""`rag-ft why`: an answer's chain of fingerprints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_ft.cli.options import JsonOption, parse_groups
from rag_ft.cli.terminal import echo_json

if TYPE_CHECKING:
    from rag_ft.schema import Answer


def why(
    answer: Annotated[
        str, typer.Argument(help="File with the JSON of an answer ('rag-ft ask --json'), or - for stdin.")
    ] = "-",
    index: Annotated[
        Path | None,
        typer.Option(
            "--index", "-i", help="Folder of the index. Default: the one that the answer names.", show_default=False
        ),
    ] = None,
    reader: Annotated[
        str, typer.Option("--reader", help="Base model to compare: 'default', a model folder or a hub id.")
    ] = "default",
    groups: Annotated[
        str | None,
        typer.Option(help="Groups that the answer was made for: names separated by commas.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Trace an answer back to the bytes it was made from; exit status 1 if anything has changed.

    Opens the index (without --index, the folder that the answer names) and the cited source files, and lists them on
    stderr first. Answers from people you do not trust are safe to trace: these files are only read, as data, and
    checked; nothing in them is run, and nothing is written to them. The model is the one in --reader, never one that
    the answer names.

    Example:
    rag-ft ask "What is alpha?" --index indexes/handbook --json | rag-ft why
    """
    import json

    from rag_ft.answering.provenance import trace
    from rag_ft.cli.render import stderr, stdout

    given = _read_answer(answer)
    for path in _paths(given, index):
        stderr().print(f"reading {path}", style="dim")
    links = trace(given, index_path=index, reader=reader, groups=None if groups is None else parse_groups(groups))
    if as_json:
        echo_json(json.dumps([link._asdict() for link in links]))
    else:
        console = stdout()
        unsure = "" if given.declined is None else f", not sure enough of: {given.declined.answer}"
        console.print(f"{given.question} → {given.answer}{unsure}", style="bold")
        if given.searched is not None:
            console.print(f"searched with it: {given.searched}", style="dim")
        for link in links:
            mark, style = {True: ("ok", "green"), False: ("differs", "red"), None: ("-", "dim")}[link.ok]
            console.print(f"{mark:<7}", style=style, end=" ")
            console.print(f"{link.name}: {link.detail}")
    return 1 if any(link.ok is False for link in links) else 0


def _read_answer(file: str) -> Answer:
    """The answer in a file, or on stdin for `-`. Raises UsageError."""
    from pydantic import ValidationError

    from rag_ft.errors import UsageError, first_problem
    from rag_ft.schema import Answer

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return Answer.model_validate_json(text)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read ({error.strerror}): give a file made by 'rag-ft ask --json'"
        ) from error
    except ValidationError as error:
        raise UsageError(
            f"{file} is not one answer's JSON ({first_problem(error)}): make it with 'rag-ft ask --json'"
        ) from error


def _paths(answer: Answer, index: Path | None) -> list[str]:
    """The folder and the files that tracing an answer opens."""
    folder = str(index or answer.provenance.index_path or "")
    if not folder:
        return []
    sources = [citation.source for citation in (answer.declined or answer).citations if Path(citation.source).is_file()]
    return list(dict.fromkeys([folder, *sources]))
