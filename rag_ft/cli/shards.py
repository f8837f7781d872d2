"""`rag-ft index shards`: several indexes searched as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag_ft.cli.options import JsonOption
from rag_ft.cli.terminal import echo_json

shards_app = typer.Typer(help="Search several indexes, its shards, as one.", no_args_is_help=True)

ShardsFolder = Annotated[Path, typer.Argument(help="Folder with the list of shards.", show_default=False)]


@shards_app.command("list")
def shards_list(folder: ShardsFolder, as_json: JsonOption = False) -> int:
    """Show the shards and what each holds; exit status 1 if one cannot be used."""
    import json

    from rag_ft.cli.render import stdout
    from rag_ft.indexing.shards.changing import list_shards

    shards = list_shards(folder)
    if as_json:
        echo_json(json.dumps([shard._asdict() for shard in shards]))
    else:
        console = stdout()
        for shard in shards:
            holds = f"{shard.documents:,} documents, {shard.passages:,} passages"
            console.print(f"{shard.name}: {holds}, at {shard.path}" if not shard.problem else f"{shard.name}: ", end="")
            console.print(shard.problem, style="red")
    return 1 if any(shard.problem for shard in shards) else 0


@shards_app.command("add")
def shards_add(
    folder: ShardsFolder,
    shards: Annotated[list[str], typer.Argument(help="Folders of indexes.", show_default=False)],
) -> None:
    """Add indexes to the shards; the first ones make the list. A running server searches them within seconds.

    The indexes stay where they are. They must have one embedder and one size of passages, and no document in common.

    Example:
    rag-ft index shards add indexes/all indexes/handbook indexes/wiki
    """
    from rag_ft.cli.render import stderr
    from rag_ft.indexing.shards.changing import add_shards

    names = add_shards(folder, shards)
    stderr().print(f"added to {folder}: {', '.join(names)}", style="dim")


@shards_app.command("retire")
def shards_retire(
    folder: ShardsFolder,
    shards: Annotated[list[str], typer.Argument(help="Names or folders of shards.", show_default=False)],
) -> None:
    """Take shards off the list; a running server stops searching them within seconds. The indexes stay as they are.

    Example:
    rag-ft index shards retire indexes/all wiki
    """
    from rag_ft.cli.render import stderr
    from rag_ft.indexing.shards.changing import retire_shards

    names = retire_shards(folder, shards)
    stderr().print(f"retired from {folder}: {', '.join(names)}", style="dim")


@shards_app.command("limit")
def shards_limit(
    folder: ShardsFolder,
    seconds: Annotated[
        float, typer.Argument(help="Seconds, up to 86400; 10 without this command.", show_default=False)
    ],
) -> None:
    """Set how long a shard may take for one step of a search; one that takes longer is left out, and the answer says
    so.
    """
    from rag_ft.indexing.shards.changing import limit_shards

    limit_shards(folder, seconds)
