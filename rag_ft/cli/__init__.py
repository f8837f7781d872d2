"""The command line: parse, one call into the library, print. Results on stdout, progress and errors on stderr.

Exit codes: 0 done, 1 the work failed (or some of it), 2 the call was wrong, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from typing import Annotated, Any, NoReturn

import typer

import rag_ft
from rag_ft.cli.adapt import adapt
from rag_ft.cli.adapter import adapter_app
from rag_ft.cli.ask import ask
from rag_ft.cli.bench import bench
from rag_ft.cli.data import data_app
from rag_ft.cli.demo import demo
from rag_ft.cli.evaluate import eval_app
from rag_ft.cli.help import PanelGroup, unwrap_help
from rag_ft.cli.index import index_app
from rag_ft.cli.mcp import mcp
from rag_ft.cli.models import models
from rag_ft.cli.plan import plan
from rag_ft.cli.serve import serve
from rag_ft.cli.terminal import LogFormatter, shown, shown_lines, shown_traceback, unprinted
from rag_ft.cli.token import token_app
from rag_ft.cli.train import train
from rag_ft.cli.why import why
from rag_ft.environment import main_process, process_number
from rag_ft.errors import RagFtError, UsageError

app = typer.Typer(
    name="rag-ft",
    cls=PanelGroup,
    help="Answer questions from your own documents, with citations, on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",  # older versions of typer choose another mode, which joins paragraphs and lists
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(index_app, name="index", rich_help_panel="Build")
app.command(rich_help_panel="Ask")(demo)
app.command(rich_help_panel="Ask")(ask)
app.command(rich_help_panel="Ask")(why)
app.command(rich_help_panel="Ask")(models)
app.command(rich_help_panel="Ask")(bench)
app.add_typer(data_app, name="data", rich_help_panel="Train")
app.command(rich_help_panel="Train")(adapt)
app.command(rich_help_panel="Train")(plan)
app.command(rich_help_panel="Train")(train)
app.add_typer(adapter_app, name="adapter", rich_help_panel="Train")
app.add_typer(eval_app, name="eval", rich_help_panel="Judge")
app.command(rich_help_panel="Serve")(serve)
app.command(rich_help_panel="Serve")(mcp)
app.add_typer(token_app, name="token", rich_help_panel="Serve")
unwrap_help(app)

_CallError: type[Any] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""Base class of wrong calls that typer finds: click's ClickException, of which newer versions of typer have a copy."""

_NOISY_LIBRARIES = ("transformers", "sentence_transformers", "huggingface_hub", "bitsandbytes", "bm25s")
"""Libraries whose warnings on stderr would stand between the user and the answer."""


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"rag-ft {rag_ft.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show log lines, and the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    level = logging.INFO if debug else logging.WARNING
    handler.setLevel(level)
    handler.addFilter(unprinted)
    logging.basicConfig(level=level, handlers=[handler])
    if not debug:
        for name in _NOISY_LIBRARIES:
            logging.getLogger(name).setLevel(logging.ERROR)


def main() -> None:
    """Run the `rag-ft` command and exit with its code."""
    if main_process():
        _run()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        _run()  # the first process of a launch speaks for all: the others say only what ended them


def _run() -> NoReturn:
    format_warning = warnings.formatwarning
    warnings.formatwarning = lambda *arguments, **options: shown_lines(format_warning(*arguments, **options))
    try:
        code = app(standalone_mode=False)
    except RagFtError as error:
        _fail(str(error), 2 if isinstance(error, UsageError) else 1)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:
        # Whatever read our output has closed it; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except _CallError as error:
        # typer has pydantic check some values, and keeps the words that pydantic puts first.
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        _fail(f"{message} (see rag-ft --help)", error.exit_code)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        _fail(f"unexpected {type(error).__name__}: {reason} (run again with 'rag-ft --debug ...' and report it)", 1)
    sys.exit(code if isinstance(code, int) else 0)


_PATIENCE_SECONDS = 5
"""How long a process of a launch that is not the first one waits before it says its error. Where all fail alike, the
first one's sentence is enough, and the launcher ends the others as soon as one has failed."""


def _fail(message: str, code: int) -> NoReturn:
    error = sys.exc_info()[1]
    stream, speaker = sys.stderr, ""
    if not main_process():
        stream, speaker = sys.__stderr__ or sys.stderr, f"process {process_number()}: "
        if code == 130:
            sys.exit(code)
        time.sleep(_PATIENCE_SECONDS)
    if "--debug" in sys.argv and error is not None and code != 130:
        print(shown_traceback(error), end="", file=stream)
    print(f"error: {speaker}{shown(message)}", file=stream)
    sys.exit(code)
