"""`rag-ft adapter`: info, calibrate, average, merge, export, compare, bench."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_ft.cli.options import IndexPath, Json, K, ReaderName
from rag_ft.cli.terminal import echo_json

if TYPE_CHECKING:
    from rag_ft.answering.reading import ReadRequest

adapter_app = typer.Typer(help="Inspect, calibrate, merge, export and compare adapters.", no_args_is_help=True)

Adapter = Annotated[str, typer.Argument(help="Folder of a LoRA adapter, or packaged.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what was written there before.")]
Probes = Annotated[
    Path | None,
    typer.Option("--questions", help="Question records to measure with (needs --index). Default: the handbook's."),
]
ProbeIndex = Annotated[Path | None, typer.Option("--index", "-i", help="Index that the questions are asked of.")]
Bound = Annotated[
    float | None, typer.Option(min=0, help="Largest difference of a logit that passes. Default: depends on the type.")
]


class DtypeChoice(str, Enum):
    """What merged weights are stored in; nf4 is here to be refused with the reason."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    nf4 = "nf4"


class FormatChoice(str, Enum):
    """What to export to."""

    safetensors = "safetensors"
    gguf_f16 = "gguf-f16"
    gguf_q8_0 = "gguf-q8_0"
    peft = "peft"


Dtype = Annotated[DtypeChoice, typer.Option(help="Type of the merged weights; 4-bit storage is refused.")]


@adapter_app.command()
def info(
    adapter: Adapter,
    as_json: Json = False,
    card: Annotated[bool, typer.Option(help="Also print the model card.")] = True,
) -> int:
    """Show what an adapter is, what it was made from, and how much it changes each layer."""
    from rag_ft.adapters.info import adapter_info
    from rag_ft.cli.render import print_adapter, stdout

    found = adapter_info(adapter)
    if as_json:
        echo_json(found.model_dump_json())
    else:
        print_adapter(found, stdout(), card=card)
    return 0


@adapter_app.command()
def calibrate(
    adapter: Annotated[
        str, typer.Argument(help="Folder of a LoRA adapter, where the threshold goes. With --dry-run also packaged.")
    ],
    questions: Annotated[Path, typer.Argument(help="Question records, some of them unanswerable.")],
    index: IndexPath,
    k: K = 3,
    reader: ReaderName = "default",
    recognise: Annotated[
        float | None,
        typer.Option(
            help="Share of the unanswerable to recognise, such as 0.9: the lowest threshold that does so, instead of"
            " the one that serves both kinds of questions best."
        ),
    ] = None,
    margin: Annotated[
        bool,
        typer.Option(help="With --recognise: add a margin for sampling error."),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure.")] = False,
    as_json: Json = False,
) -> int:
    """Recalibrate the abstention threshold on your own questions.

    How sure a reader is depends on the documents, the index and k, and a tuned one is surer than it is right: a scale
    is fitted, too, that makes confidence the share of such answers that are right. No weight changes. Questions about
    documents that the adapter was trained on are left out.
    """
    from rag_ft.adapters.calibrate import calibrate_adapter
    from rag_ft.cli.render import stderr, stdout
    from rag_ft.indexing.index import Index

    score = calibrate_adapter(
        adapter,
        questions,
        Index.load(index),
        k=k,
        reader=reader,
        recognise=recognise,
        margin=margin,
        dry_run=dry_run,
        say=lambda line: stderr().print(line),
    )
    if as_json:
        echo_json(score.model_dump_json())
        return 0
    stdout().print(score.line())
    stderr().print("not written (--dry-run)" if dry_run else f"written to {adapter}")
    return 0


@adapter_app.command()
def average(
    adapters: Annotated[
        list[str], typer.Argument(help="Two adapters or more that started from the same one.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for their mean.")],
    overwrite: Overwrite = False,
) -> int:
    """Average adapters fine-tuned from the same start (--start-from).

    It is often better than each of them and costs no more than one. It has no threshold: calibrate it.
    """
    from rag_ft.adapters.average import average_adapters
    from rag_ft.cli.render import stdout

    made = average_adapters(adapters, output, overwrite=overwrite)
    stdout().print(f"written: {made}, without a threshold: rag-ft adapter calibrate {made} QUESTIONS --index INDEX")
    return 0


@adapter_app.command()
def merge(
    adapter: Adapter,
    output: Annotated[Path, typer.Argument(help="Folder for the merged model.", show_default=False)],
    reader: ReaderName = "default",
    dtype: Dtype = DtypeChoice.float32,
    bound: Bound = None,
    questions: Probes = None,
    index: ProbeIndex = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> int:
    """Merge an adapter into its base, measure it against the adapter beside the base, and write it if it is close.

    Example: rag-ft adapter merge adapters/docs merged/docs
    """
    import json

    from rag_ft.adapters.merge import merge_adapter
    from rag_ft.cli.render import stderr, stdout

    made = merge_adapter(
        adapter,
        output,
        base=reader,
        dtype=dtype.value,
        bound=bound,
        probes=_probes(questions, index),
        overwrite=overwrite,
        say=lambda line: (stderr() if as_json else stdout()).print(line),
    )
    if as_json:
        candidates = [one.model_dump() for one in made.candidates]
        echo_json(json.dumps({"path": str(made.path), "base": made.base, "candidates": candidates}))
    else:
        stdout().print(made.line())
        stdout().print(f"ask it: rag-ft ask QUESTION --index DIR --reader {made.path}", style="dim")
    return 0


@adapter_app.command()
def export(
    adapter: Annotated[
        str, typer.Argument(help="Folder of an adapter or a merged model, or packaged.", show_default=False)
    ],
    output: Annotated[Path, typer.Argument(help="Folder, or for GGUF a file.", show_default=False)],
    to: Annotated[FormatChoice, typer.Option("--to", help="peft: the adapter alone, for PEFT and vLLM.")],
    reader: ReaderName = "default",
    questions: Probes = None,
    index: ProbeIndex = None,
    overwrite: Overwrite = False,
) -> int:
    """Write a reader for another program, and check what was written.

    Examples:
    rag-ft adapter export merged/docs docs.gguf --to gguf-q8_0
    rag-ft adapter export adapters/docs vllm/docs --to peft
    """
    from rag_ft.adapters.export import export_adapter
    from rag_ft.cli.render import stdout

    def say(line: str) -> None:
        stdout().print(line)

    exported = export_adapter(
        adapter, output, to.value, base=reader, probes=_probes(questions, index), overwrite=overwrite, say=say
    )
    for line in (*exported.notes, f"written: {exported.path}"):
        say(line)
    return 0


@adapter_app.command()
def compare(
    first: Adapter,
    second: Annotated[
        str, typer.Argument(help="Second adapter, or 'none' for the untuned reader.", show_default=False)
    ],
    questions: Annotated[Path, typer.Argument(help="Question records: .jsonl, or SQuAD's .json.", show_default=False)],
    index: IndexPath,
    k: K = 3,
    reader: ReaderName = "default",
    as_json: Json = False,
) -> int:
    """Ask the same questions of two adapters and show where they differ."""
    from rag_ft.adapters.compare import compare_adapters
    from rag_ft.cli.render import print_comparison, stdout
    from rag_ft.indexing.index import Index

    found = compare_adapters(first, second, questions, Index.load(index), reader=reader, k=k)
    if as_json:
        echo_json(found.model_dump_json())
    else:
        print_comparison(found, stdout())
    return 0


@adapter_app.command()
def bench(
    adapter: Adapter,
    reader: ReaderName = "default",
    merged: Annotated[Path | None, typer.Option(help="An already merged model. Default: merge temporarily.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements per model; the median counts.")] = 3,
    as_json: Json = False,
) -> int:
    """Measure here what merging an adapter would change: speed, memory, disk, loading."""
    from rag_ft.adapters.bench import bench_adapter
    from rag_ft.cli.render import stderr, stdout

    found = bench_adapter(adapter, base=reader, merged=merged, rounds=rounds, say=lambda line: stderr().print(line))
    if as_json:
        echo_json(found.model_dump_json())
        return 0
    for line in (found.plan, "", *found.lines()):
        stdout().print(line)
    return 0


def _probes(questions: Path | None, index: Path | None) -> list[ReadRequest] | None:
    from rag_ft.errors import UsageError

    if questions is None and index is None:
        return None
    if questions is None or index is None:
        raise UsageError("--questions and --index go together: give both, or neither for the handbook's questions")
    from rag_ft.adapters.probes import retrieved_probes
    from rag_ft.indexing.index import Index

    return retrieved_probes(questions, Index.load(index))
