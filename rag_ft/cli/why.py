"""`rag-ft why`: an answer's chain of fingerprints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rag_ft.cli.options import Json, parse_groups
from rag_ft.cli.terminal import echo_json


def why(
    answer: Annotated[
        str, typer.Argument(help="File with an answer's JSON ('rag-ft ask --json'), or - for stdin.")
    ] = "-",
    index: Annotated[Path | None, typer.Option("--index", "-i", help="Where the index is now, if it moved.")] = None,
    reader: Annotated[str | None, typer.Option("--reader", help="Compare this base model too.")] = "default",
    groups: Annotated[
        str | None,
        typer.Option(help="Groups that it was answered for: names with commas between.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> int:
    """Trace an answer back to the bytes it was made from; exit status 1 if anything has changed.

    Example: rag-ft ask "What is alpha?" --index indexes/handbook --json | rag-ft why
    """
    import json

    from pydantic import ValidationError

    from rag_ft.answering.provenance import trace
    from rag_ft.cli.render import stdout
    from rag_ft.errors import UsageError, first_problem
    from rag_ft.schema import Answer

    try:
        text = sys.stdin.read() if answer == "-" else Path(answer).read_text(encoding="utf-8")
        given = Answer.model_validate_json(text)
    except OSError as error:
        raise UsageError(
            f"{answer} cannot be read ({error.strerror}): give a file made by 'rag-ft ask --json'"
        ) from error
    except ValidationError as error:
        raise UsageError(
            f"{answer} is not one answer's JSON ({first_problem(error)}): make it by 'rag-ft ask --json'"
        ) from error
    links = trace(given, index_path=index, reader=reader, groups=None if groups is None else parse_groups(groups))
    if as_json:
        echo_json(json.dumps([link._asdict() for link in links]))
    else:
        console = stdout()
        console.print(f"{given.question} → {given.answer}", style="bold")
        for link in links:
            mark, style = {True: ("ok", "green"), False: ("differs", "red"), None: ("-", "dim")}[link.ok]
            console.print(f"{mark:<7}", style=style, end=" ")
            console.print(f"{link.name}: {link.detail}")
    return 1 if any(link.ok is False for link in links) else 0
