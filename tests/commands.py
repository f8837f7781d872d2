"""The command line called in this process, where a process of its own for each call would take too long."""

from typing import Any

from click.testing import Result
from typer.testing import CliRunner


def invoke(*arguments: object) -> Result:
    """What `rag-ft ARGUMENTS` does; an error of ours is in `exception` and not printed."""
    from rag_ft.cli import app

    result: Any = CliRunner().invoke(app, [str(one) for one in arguments], standalone_mode=False)
    return result
