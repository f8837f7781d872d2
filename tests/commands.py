"""The command line called in this process: a process of its own for each call takes three seconds to import PyTorch."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

from click.testing import Result
from typer.testing import CliRunner


def invoke(*arguments: object) -> Result:
    """What `rag-ft ARGUMENTS` does; an error of ours is in `exception` and not printed."""
    from rag_ft.cli import app

    result: Any = CliRunner().invoke(app, [str(argument) for argument in arguments], standalone_mode=False)
    return result


def run_main(*arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """What `rag-ft ARGUMENTS` prints, and its exit code; errors of ours are printed too."""
    from rag_ft.cli import main

    words = ["rag-ft", *map(str, arguments)]
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", words),
        patch.object(sys, "stdin", io.StringIO(stdin)),
        patch.object(warnings, "formatwarning", warnings.formatwarning),
        patch.dict("os.environ", {"COLUMNS": "100", **environment}),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, stdout.getvalue(), stderr.getvalue())
