"""`rag-ft token`: the file of personal tokens of `rag-ft serve --tokens`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from rag_ft.cli.options import JsonOption, parse_groups
from rag_ft.cli.terminal import echo_json

token_app = typer.Typer(help="Create, list and remove a server's personal tokens.", no_args_is_help=True)

TokensPath = Annotated[Path, typer.Option("--file", "-f", help="File of tokens (TOML).", show_default=False)]
Name = Annotated[str, typer.Option(help="Token owner: letters, digits, '.', '_', '-', '@'.", show_default=False)]


class RightChoice(str, Enum):
    """What a token allows; each includes those before it."""

    read = "read"
    write = "write"
    admin = "admin"


@token_app.command("add")
def token_add(
    file: TokensPath,
    name: Name,
    groups: Annotated[str, typer.Option(help="The owner's groups, comma-separated.")] = "",
    rights: Annotated[
        RightChoice, typer.Option(help="read; write: also upload and remove; admin: everything.")
    ] = RightChoice.read,
    expires: Annotated[
        str | None, typer.Option(help="Last valid day (UTC), for example 2027-01-31.", show_default=False)
    ] = None,
) -> None:
    """Create a token and print it once; the file stores only its hash. A running server accepts it at once.

    Example:
    rag-ft token add --file tokens.toml --name anna --groups staff,legal
    """
    import datetime

    from rag_ft.cli.render import stderr
    from rag_ft.errors import UsageError
    from rag_ft.serving.http.tokens import add_token

    try:
        last = None if expires is None else datetime.date.fromisoformat(expires)
    except ValueError as error:
        raise UsageError(f"--expires is {expires!r}: give a day, for example 2027-01-31") from error
    token = add_token(file, name, groups=parse_groups(groups), rights=rights.value, expires=last)
    typer.echo(token)
    stderr().print(f"{name}: shown only this once; {file} stores its hash", style="dim")


@token_app.command("list")
def token_list(file: TokensPath, as_json: JsonOption = False) -> None:
    """List the tokens of a file: names, groups, rights, last days."""
    import json

    from rag_ft.cli.render import stdout
    from rag_ft.serving.http.tokens import TokenFile

    tokens = TokenFile(file).tokens
    if as_json:
        echo_json(json.dumps([entry.model_dump(mode="json", exclude={"hash"}) for entry in tokens.token]))
        return
    console = stdout()
    for entry in tokens.token:
        end = f", until {entry.expires.isoformat()}" if entry.expires is not None else ""
        console.print(f"{entry.name}: {entry.rights}, groups {', '.join(entry.groups) or 'none'}{end}")
    default = tokens.default_access
    readers = "every token" if default is None else ", ".join(default) or "administrators only"
    console.print(f"documents without 'access' can be read by: {readers}", style="dim")


@token_app.command("remove")
def token_remove(file: TokensPath, name: Name) -> None:
    """Remove a token from the file: a running server refuses it from its next request on."""
    from rag_ft.cli.render import stdout
    from rag_ft.serving.http.tokens import remove_token

    remove_token(file, name)
    stdout().print(f"{name} removed")
