"""`rag-ft data make`: question records made from the passages of an index."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_ft.cli.options import WRITER_HELP, IndexOption, Writer
from rag_ft.cli.terminal import printed_lines

if TYPE_CHECKING:
    from rich.console import Console

    from rag_ft.models.chat import TokenPrice
    from rag_ft.question_generation.made import MadeQuestions

_DOCUMENTS_SHOWN = 3
_CHAT_PANEL = "Chat model"
_NO_PRICE = "for the price, give the model's prices per million tokens: --prompt-million and --completion-million"


def make(
    output: Annotated[Path, typer.Argument(help="JSONL file to write.", show_default=False)],
    index: IndexOption,
    count: Annotated[int, typer.Option("--count", "-n", help="Records to make.")] = 300,
    unanswerable: Annotated[float, typer.Option(help="Share of the records that have no answer.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed for passages and questions.")] = 0,
    writer: Annotated[
        Writer | None,
        typer.Option(metavar="WRITER", help=WRITER_HELP, show_default="sentences, where there is no --model"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Chat model that writes the questions instead: a name at --url, or module:function that returns one.",
            show_default=False,
            rich_help_panel=_CHAT_PANEL,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="URL of an OpenAI-compatible server, ending in /v1.",
            show_default=False,
            rich_help_panel=_CHAT_PANEL,
        ),
    ] = None,
    key_variable: Annotated[
        str,
        typer.Option(help="Environment variable that holds the server's key.", rich_help_panel=_CHAT_PANEL),
    ] = "OPENAI_API_KEY",
    prompt_million: Annotated[
        float | None,
        typer.Option(
            metavar="PRICE",
            help="Price per million prompt tokens: what the calls cost is then printed first.",
            show_default=False,
            rich_help_panel=_CHAT_PANEL,
        ),
    ] = None,
    completion_million: Annotated[
        float | None,
        typer.Option(
            metavar="PRICE",
            help="Price per million completion tokens.",
            show_default=False,
            rich_help_panel=_CHAT_PANEL,
        ),
    ] = None,
    currency: Annotated[str, typer.Option(help="Currency of the prices.", rich_help_panel=_CHAT_PANEL)] = "USD",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace the file if it exists, and forget an unfinished run with other options."
        ),
    ] = False,
) -> int:
    """Make question records from the passages of an index.

    "To resume, repeat the command" answers "How do I resume?": sentences that answer a question by themselves are
    turned around. --writer both adds what a small generator writes, with words of the passage as its answer: more
    questions, and fewer good ones among them. A question is kept where it stands on its own, is not asked
    twice, and where search and reader come back with the same words. The others are in NAME.rejected.jsonl, with the
    reason. A run that is interrupted resumes when the command is repeated.

    Example:
    rag-ft data make --index indexes/docs -n 300 made.jsonl
    """
    from rag_ft.cli.render import StageLine, stderr, stdout
    from rag_ft.errors import UsageError
    from rag_ft.indexing.index import Index
    from rag_ft.models.chat import chosen_chat_model
    from rag_ft.question_generation.chat_source import ChatSource, estimate_calls
    from rag_ft.question_generation.make import make_questions

    if writer and model:
        raise UsageError(f"--writer {writer} and --model {model} both say what writes the questions: give one of them")
    if url and not model:
        raise UsageError("--url names a server but not its model: give --model NAME")
    price = _price(prompt_million, completion_million)
    if price and not model:
        raise UsageError("--prompt-million and --completion-million are prices of a chat model: give --model NAME")
    loaded = Index.load(index)
    with printed_lines("rag_ft.question_generation", stderr().print):
        source = None
        if model is not None:
            source = ChatSource(chosen_chat_model(model, url, key_variable))
            estimate = estimate_calls(loaded.passages(), count, unanswerable)
            stderr().print(f"{model}: {estimate.line(price, currency)}")
            if price is None:
                stderr().print(_NO_PRICE)
        with StageLine(stderr()) as live:
            made = make_questions(
                loaded,
                count,
                output,
                source=source,
                writer=writer,
                unanswerable=unanswerable,
                seed=seed,
                overwrite=overwrite,
                on_progress=live.update,
            )
    print_made(made, index, stdout())
    return 0


def _price(prompt_million: float | None, completion_million: float | None) -> TokenPrice | None:
    """The prices given, None without any. Raises UsageError where one is missing or is not a price."""
    from rag_ft.errors import UsageError
    from rag_ft.models.chat import TokenPrice

    if prompt_million is None and completion_million is None:
        return None
    prices = {"prompt_million": prompt_million, "completion_million": completion_million}
    for name, price in prices.items():
        option = f"--{name.replace('_', '-')}"
        if price is None:
            raise UsageError(f"{option} is missing beside the other price: give both, 0 where tokens cost nothing")
        if not 0 <= price < math.inf:
            raise UsageError(f"{option} is {price} but must be 0 or more")
    return TokenPrice.model_validate(prices)


def print_made(made: MadeQuestions, index: Path, console: Console) -> None:
    """Print what was kept and rejected, the documents that are not retrieved, and what to do next."""
    console.print(f"kept      {len(made.records):,} records of {len(made.kept_by_document):,} documents")
    _print_counts(made.kept_by_kind, len(made.records), console)
    if made.rejected:
        console.print(f"rejected  {len(made.rejected):,} of {made.asked:,} questions")
        _print_counts(made.rejected_by_reason, made.asked, console)
    missed = made.rejected_by_document()
    if missed:
        console.print("not retrieved most often, so look at these documents")
        for name, count in [*missed.items()][:_DOCUMENTS_SHOWN]:
            console.print(f"  {count:>5,}        {name}")
    output, folder = shlex.quote(str(made.output)), shlex.quote(str(index))
    console.print(f"records   {made.output}")
    console.print(f"rejected  {made.rejected_output}")
    console.print(f"next      rag-ft data review {output} --index {folder}")
    console.print(f"          rag-ft train {output} --index {folder} --start-from packaged")


def _print_counts(counts: Mapping[str, int], total: int, console: Console) -> None:
    for name, count in counts.items():
        console.print(f"  {count:>5,}  {count / total:>4.0%}  {name}")
