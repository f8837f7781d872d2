"""`rag-ft train`, `rag-ft plan` and `rag-ft data`: look before a run, run it, and read its verdict."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from rag_ft.cli.options import IndexPath, Json, ReaderName, ReadingChoice
from rag_ft.cli.terminal import echo_json
from rag_ft.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from rag_ft.training.curve import TrainedCurve
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.run import TrainedAdapter

Rank: TypeAlias = Annotated[int, typer.Option(help="Rank of the adapter; usually 8 to 64.")]
Alpha: TypeAlias = Annotated[
    float | None, typer.Option(help="The adapter's output is scaled by alpha/rank. Default: twice the rank.")
]
Targets: TypeAlias = Annotated[
    str, typer.Option("--target-modules", help="Projections to adapt, comma separated. Default: all linear layers.")
]


class BitsChoice(str, Enum):
    """How base weights are held."""

    four = "4"
    sixteen = "16"
    thirty_two = "32"


def train(
    questions: Annotated[Path, typer.Argument(help="Question records: .jsonl, or SQuAD's .json.")],
    index: IndexPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the adapter.")] = Path("adapters/reader"),
    reader: ReaderName = "default",
    rank: Rank = 16,
    alpha: Alpha = None,
    dropout: Annotated[
        float, typer.Option(help="Dropout on the adapter's inputs: try .05, .10, .15 against overfitting.")
    ] = 0.0,
    target_modules: Targets = "",
    rslora: Annotated[bool, typer.Option("--rslora", help="Scale by alpha/sqrt(rank): for large ranks.")] = False,
    dora: Annotated[
        bool, typer.Option("--dora", help="DoRA: learn magnitude and direction separately; slower.")
    ] = False,
    start_from: Annotated[
        str | None,
        typer.Option(help="Start from this adapter (a folder, or 'packaged') instead of a new one: for few questions."),
    ] = None,
    bits: Annotated[
        BitsChoice | None,
        typer.Option(help="Base weights: 4 is QLoRA (NF4), 16 and 32 plain LoRA. [default: 4, or as --start-from]"),
    ] = None,
    keep_packed: Annotated[bool, typer.Option("--keep-packed", help="Keep 4-bit weights packed on a CPU too.")] = False,
    epochs: Annotated[float, typer.Option(help="Passes over the examples; usually 1 to 5.")] = 3.0,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of the cosine schedule.")] = 5e-4,
    row_tokens: Annotated[
        int,
        typer.Option(help="Tokens per step. On a GPU, 5120 take as long as 1280 and train faster with a higher rate."),
    ] = 1280,
    reading: Annotated[ReadingChoice, typer.Option(help="How the reader will read passages.")] = ReadingChoice.separate,
    negatives: Annotated[
        float, typer.Option(help="Passages without the answer per question; their target is null.")
    ] = 1.0,
    gold_probability: Annotated[
        float | None,
        typer.Option(
            help="With --reading joint: share of prompts with the gold passage; else the target is null. [default: .8]"
        ),
    ] = None,
    unanswerable_share: Annotated[
        float | None, typer.Option(help="Maximum share of unanswerable questions. [default: keep all]")
    ] = None,
    held_out: Annotated[float, typer.Option(help="Share of the documents to hold out.")] = 0.15,
    patience: Annotated[
        int, typer.Option(help="Stop after N measurements without a lower held-out loss; 0: never.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed for split, order and initial weights.")] = 0,
    report_to: Annotated[str, typer.Option(help="Experiment tracker: tensorboard, wandb, mlflow or trackio.")] = "none",
    check: Annotated[bool, typer.Option("--check", help="Print plan and certificate, then stop.")] = False,
    show_masks: Annotated[
        int, typer.Option("--show-masks", min=0, help="Print this many examples token by token.")
    ] = 0,
    compare: Annotated[bool, typer.Option(help="Measure the untuned reader too.")] = True,
    curve: Annotated[
        int,
        typer.Option(
            min=0, max=8, help="Also train on 1/2, 1/4 ... 1/2^N of the records: shows whether more labels would help."
        ),
    ] = 0,
) -> int:
    """Tune the reader on questions about your documents: plan, certificate, training, verdict, adapter.

    Examples:
    rag-ft train questions.jsonl --index indexes/handbook --check
    rag-ft train questions.jsonl --index indexes/handbook -o adapters/handbook
    rag-ft train questions.jsonl --index indexes/handbook -o adapters/handbook --curve 3
    """
    from rag_ft.cli.render import stderr, stdout
    from rag_ft.extras import require_extra
    from rag_ft.indexing.index import Index
    from rag_ft.training.curve import train_curve
    from rag_ft.training.data.examples import ExampleConfig
    from rag_ft.training.prepare import RunConfig, preflight
    from rag_ft.training.run import train_reader
    from rag_ft.training.start import read_start
    from rag_ft.training.steps.config import TrainConfig

    require_extra("train", "training")
    lora = _lora(rank, alpha, target_modules, dropout=dropout, rslora=rslora, dora=dora)
    start = None if start_from is None else read_start(start_from)
    held = int(bits.value) if bits is not None else (start.bits if start is not None else None) or 4
    if gold_probability is not None and reading is not ReadingChoice.joint:
        raise UsageError("--gold-probability is about passages that share a prompt: give it with --reading joint")
    examples = _checked(
        ExampleConfig,
        reading=reading.value,
        negatives=negatives,
        unanswerable_share=unanswerable_share,
        held_out=held_out,
        seed=seed,
        **({} if gold_probability is None else {"gold_probability": gold_probability}),
    )
    training = _checked(
        TrainConfig,
        epochs=epochs,
        learning_rate=learning_rate,
        row_tokens=row_tokens,
        bits=held,
        keep_packed=keep_packed,
        patience=patience,
        seed=seed,
        report_to=report_to,
    )
    found = Index.load(index)
    console = stdout()
    if check or show_masks:
        _, loaded, _, ready = preflight(
            questions,
            found,
            output,
            RunConfig(reader, start, examples, lora, training),
            say=lambda line: console.print(line),
        )
        # One of each row first, for variety; then the second ones, and so on.
        most = max((len(row.records) for row in ready.rows), default=0)
        shown = [(row, place) for place in range(most) for row in ready.rows if place < len(row.records)]
        for row, place in shown[:show_masks]:
            _print_mask(row, place, loaded.tokenizer, console)
        return 1 if ready.certificate.red else 0
    from rag_ft.cli.render import TrainingLine

    with TrainingLine(stderr()) as live:
        given: dict[str, Any] = {
            "reader": reader,
            "start_from": start_from,
            "examples": examples,
            "lora": lora,
            "training": training,
            "compare": compare,
            "say": lambda line: console.print(line),
            "on_progress": live.update,
        }
        made: TrainedAdapter | TrainedCurve
        if curve:
            made = train_curve(questions, found, output, halvings=curve, **given)
        else:
            made = train_reader(questions, found, output, **given)
    console.print()
    console.print(f"adapter: {made.path}")
    console.print(f"ask with it: rag-ft ask QUESTION --index {index} --adapter {made.path}", style="dim")
    return 0


def plan(
    model: Annotated[str, typer.Argument(help="default, a model folder, or a hub id.")] = "default",
    rank: Rank = 16,
    alpha: Alpha = None,
    target_modules: Targets = "",
    rslora: Annotated[bool, typer.Option("--rslora", help="Scale by alpha/sqrt(rank).")] = False,
    dora: Annotated[bool, typer.Option("--dora", help="DoRA: learn magnitude and direction separately.")] = False,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens computed at once.")] = 1280,
    probe: Annotated[bool, typer.Option(help="Time a few steps here (10 s; loads the weights).")] = False,
    as_json: Json = False,
) -> int:
    """Show the size of an adapter, and the memory and time its training needs, before you train."""
    import json

    from rag_ft.cli.render import stdout
    from rag_ft.training.lora import lora_plan, read_config

    settings = _lora(rank, alpha, target_modules, rslora=rslora, dora=dora)
    made = lora_plan(read_config(model), settings)
    labelled = tokens // 4
    memory = {f"weights at {bits} bits": made.weight_bytes(bits) for bits in (4, 8, 16, 32)}
    memory["adapter, gradients, optimiser"] = made.optimiser_bytes()
    memory[f"activations of {tokens:,} tokens"] = made.activation_bytes(tokens, labelled, checkpointing=False)
    memory["the same, with gradient checkpointing"] = made.activation_bytes(tokens, labelled, checkpointing=True)
    speed = None
    if probe:
        from rag_ft.training.steps.probe import tokens_per_second

        speed = tokens_per_second(model, settings, tokens)
    if as_json:
        echo_json(
            json.dumps(
                {
                    "projections": [one.model_dump() for one in made.projections],
                    "trainable": made.trainable,
                    "share": made.share,
                    "scale": settings.scale,
                    "adapter_bytes": made.adapter_bytes(),
                    "memory_bytes": memory,
                    "tokens_per_second": speed,
                }
            )
        )
        return 0
    console = stdout()
    for one in made.projections:
        times = one.weights / one.adapter
        magnitudes = f" + {one.outputs}" if dora else ""
        console.print(
            f"{one.name:<12} {one.count} x  {one.inputs} x {one.outputs} = {one.weights:>11,}   adapter"
            f" {rank} x ({one.inputs} + {one.outputs}){magnitudes} = {one.adapter:,}: {times:.0f} times fewer",
        )
    console.print(
        f"\n{made.trainable:,} parameters to train, {made.share:.2%} of the model;"
        f" {made.adapter_bytes() / 1e6:.1f} MB on disk at 16 bits",
    )
    console.print(settings.scale_note())
    console.print()
    console.print("memory (estimates)")
    for name, size in memory.items():
        console.print(f"  {name:<40} {size / 1e6:>9,.0f} MB")
    if speed:
        console.print(
            f"\nspeed here: {speed:,.0f} tokens a second, {1000 * 70 / speed:,.0f} s for 1,000 examples of 70"
        )
    else:
        console.print()
        console.print("--probe times a few steps on this machine", style="dim")
    return 0


_PROBLEMS_SHOWN = 100
"""Wrong records that are named; a file with more of them is probably of another kind."""

data_app = typer.Typer(help="Question records.", no_args_is_help=True)


@data_app.command("check")
def check_data(
    questions: Annotated[Path, typer.Argument(help="Question records: .jsonl, or SQuAD's .json.")],
    index: IndexPath,
    held_out: Annotated[float, typer.Option(help="Share of the documents to hold out.")] = 0.15,
    seed: Annotated[int, typer.Option(help="Seed for the split.")] = 0,
    as_json: Json = False,
) -> int:
    """Report what question records hold: counts, lengths, evidence that the index cannot find, duplicates, leaks."""
    from rag_ft.cli.render import stdout
    from rag_ft.indexing.index import Index
    from rag_ft.training.data.check import check_questions
    from rag_ft.training.data.examples import ExampleConfig

    examples = _checked(ExampleConfig, held_out=held_out, seed=seed)
    loaded = Index.load(index)
    try:
        report = check_questions(questions, loaded, examples)
    except DatasetError as error:
        if len(error.problems) == 1:
            raise
        for problem in error.problems[:_PROBLEMS_SHOWN]:
            stdout().print(problem)
        more = len(error.problems) - _PROBLEMS_SHOWN
        left = f", {more:,} of them not shown" if more > 0 else ""
        raise DatasetError(f"{questions} holds {len(error.problems):,} wrong records{left}: correct them") from error
    if as_json:
        echo_json(report.model_dump_json())
    else:
        for line in report.lines():
            stdout().print(line)
    return 1 if report.wrong else 0


@data_app.command("fetch")
def fetch_data(
    name: Annotated[str, typer.Argument(help="A data set's id on the hub, in SQuAD's columns; or a local folder.")],
    output: Annotated[Path, typer.Argument(help="Folder for documents.jsonl and questions.jsonl.")],
    split: Annotated[str, typer.Option(help="Split to take.")] = "train",
) -> int:
    """Write a hub data set as documents to index and question records to train and evaluate on.

    Example:
    rag-ft data fetch rajpurkar/squad_v2 squad --split validation
    """
    from rag_ft.cli.render import stdout
    from rag_ft.questions.hub import fetch_hub_questions

    found = fetch_hub_questions(name, output, split)
    stdout().print(f"{found.document_count:,} documents: {found.documents}")
    stdout().print(f"{found.question_count:,} question records: {found.questions}")
    return 0


def _lora(rank: int, alpha: float | None, targets: str, **more: Any) -> AdapterConfig:
    from rag_ft.training.lora import AdapterConfig

    names = tuple(name.strip() for name in targets.split(",") if name.strip())
    return _checked(AdapterConfig, rank=rank, alpha=alpha, target_modules=names, **more)  # type: ignore[no-any-return]


def _checked(kind: Any, **values: Any) -> Any:
    """A settings object; a value out of range is a usage error that names the option."""
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{name} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}") from error


def _print_mask(row: Any, place: int, tokenizer: Any, console: Any) -> None:
    """One of a row's examples: prompt grey, completion coloured, a dot between tokens."""
    from rich.text import Text

    from rag_ft.training.data.collator import IGNORE_INDEX, sequence_of

    record, tokens, labels = sequence_of(row, place)
    text = Text(f"\n{record}\n", style="bold")
    learned = False
    for token, label in zip(tokens, labels, strict=True):
        piece = tokenizer.decode([token])
        if console.color_system is None and learned != (label != IGNORE_INDEX):
            text.append("⟧" if learned else "⟦")  # without colours, in a file or a pipe
        learned = label != IGNORE_INDEX
        text.append(piece, style="bold green" if learned else "bright_black")
        text.append("·" if not piece.endswith("\n") else "", style="bright_black")
    if console.color_system is None and learned:
        text.append("⟧")
    counted = sum(label != IGNORE_INDEX for label in labels)
    text.append(f"\n{counted} of {len(labels)} tokens are learned", style="dim")
    for line in text.split("\n", allow_blank=True):
        console.print(line)
