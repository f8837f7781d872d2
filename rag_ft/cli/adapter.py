"""`rag-ft adapter`: info, calibrate, average, merge, export, compare, bench."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag_ft.cli.options import IndexOption, JsonOption, KOption, ReaderOption
from rag_ft.cli.terminal import echo_json, printed_lines

if TYPE_CHECKING:
    from rag_ft.answering.reading import ReadRequest

adapter_app = typer.Typer(help="Inspect, calibrate, merge, export and compare adapters.", no_args_is_help=True)

AdapterFolder = Annotated[str, typer.Argument(help="Folder of a LoRA adapter, or 'packaged'.", show_default=False)]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")]
ProbesOption = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        help="Question records to measure with (needs --index). Default: the handbook's.",
        show_default=False,
    ),
]
ProbeIndexOption = Annotated[
    Path | None,
    typer.Option("--index", "-i", help="Index to retrieve passages for --questions from.", show_default=False),
]
BoundOption = Annotated[
    float | None,
    typer.Option(
        min=0, help="Largest difference in a logit to accept. Default: depends on --dtype.", show_default=False
    ),
]


class DtypeChoice(str, Enum):
    """Type of merged weights; nf4 is listed so that it can be refused with the reason."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    nf4 = "nf4"


class FormatChoice(str, Enum):
    """Format to export to."""

    safetensors = "safetensors"
    gguf_f16 = "gguf-f16"
    gguf_q8_0 = "gguf-q8_0"
    peft = "peft"


_FORMATS = "safetensors, gguf-f16 or gguf-q8_0: a merged model. peft: the adapter alone, for PEFT and vLLM."

DtypeOption = Annotated[
    DtypeChoice, typer.Option(metavar="TYPE", help="Type of the merged weights: float32, float16 or bfloat16.")
]


@adapter_app.command("info")
def adapter_show(
    adapter: AdapterFolder,
    as_json: JsonOption = False,
    card: Annotated[bool, typer.Option(help="Also print the model card.")] = True,
) -> int:
    """Show what an adapter is, what it was trained on, and how much it changes each layer."""
    from rag_ft.adapters.info import adapter_info
    from rag_ft.cli.render import print_adapter, stdout

    details = adapter_info(adapter)
    if as_json:
        echo_json(details.model_dump_json())
    else:
        print_adapter(details, stdout(), card=card)
    return 0


@adapter_app.command("calibrate")
def adapter_calibrate(
    adapter: Annotated[
        str,
        typer.Argument(
            help="Folder of a LoRA adapter; the threshold is written there. 'packaged' only with --dry-run.",
            show_default=False,
        ),
    ],
    questions: Annotated[Path, typer.Argument(help="Question records, some of them unanswerable.", show_default=False)],
    index: IndexOption,
    k: KOption = 3,
    reader: ReaderOption = "default",
    recognise: Annotated[
        float | None,
        typer.Option(
            help="Share of unanswerable questions to recognise, for example 0.9: takes the lowest threshold that does,"
            " instead of the best one for all questions.",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        bool,
        typer.Option(help="With --recognise: add a margin for sampling error."),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and write nothing.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Recalibrate the abstention threshold on your own questions.

    A reader's confidence depends on the documents, the index and k, and a tuned reader is overconfident: a scale is
    fitted too, so that about 80% of answers with confidence 0.8 are right. Spans, parts, and yes or no are calibrated
    apart where there are at least 20 answers of each. No weight changes. Questions about documents that the adapter
    was trained on are skipped.
    """
    from rag_ft.adapters.calibrate import calibrate_adapter
    from rag_ft.cli.render import stderr, stdout
    from rag_ft.indexing.index import Index

    with printed_lines("rag_ft.adapters", stderr().print):
        score = calibrate_adapter(
            adapter,
            questions,
            Index.load(index),
            k=k,
            reader=reader,
            recognise=recognise,
            margin=margin,
            dry_run=dry_run,
        )
    if as_json:
        echo_json(score.model_dump_json())
        return 0
    stdout().print(score.line())
    stderr().print("not written (--dry-run)" if dry_run else f"written to {adapter}")
    return 0


@adapter_app.command("average")
def adapter_average(
    adapters: Annotated[
        list[str], typer.Argument(help="Two or more adapters that started from the same one.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the averaged adapter.")],
    overwrite: OverwriteOption = False,
) -> int:
    """Average adapters fine-tuned from the same start ('rag-ft train --start-from').

    The average is often better than any of them and costs no more to use than one. It has no threshold: calibrate it.
    """
    from rag_ft.adapters.average import average_adapters
    from rag_ft.cli.render import stdout

    folder = average_adapters(adapters, output, overwrite=overwrite)
    stdout().print(
        f"written: {folder}; it has no threshold yet: rag-ft adapter calibrate {folder} QUESTIONS --index INDEX"
    )
    return 0


@adapter_app.command("merge")
def adapter_merge(
    adapter: AdapterFolder,
    output: Annotated[Path, typer.Argument(help="Folder for the merged model.", show_default=False)],
    reader: ReaderOption = "default",
    dtype: DtypeOption = DtypeChoice.float32,
    bound: BoundOption = None,
    questions: ProbesOption = None,
    index: ProbeIndexOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> int:
    """Merge an adapter into its base model, compare the result with the unmerged pair, and write it if they agree.

    Example:
    rag-ft adapter merge adapters/docs merged/docs
    """
    import json

    from rag_ft.adapters.merge import merge_adapter
    from rag_ft.cli.render import stderr, stdout

    with printed_lines("rag_ft.adapters", (stderr() if as_json else stdout()).print):
        merged = merge_adapter(
            adapter,
            output,
            base=reader,
            dtype=dtype.value,
            bound=bound,
            probes=_probes(questions, index),
            overwrite=overwrite,
        )
    if as_json:
        candidates = [candidate.model_dump() for candidate in merged.candidates]
        echo_json(json.dumps({"path": str(merged.path), "base": merged.base, "candidates": candidates}))
    else:
        stdout().print(merged.line())
        stdout().print(f"ask with it: rag-ft ask QUESTION --index DIR --reader {merged.path}", style="dim")
    return 0


@adapter_app.command("export")
def adapter_export(
    adapter: Annotated[
        str, typer.Argument(help="Folder of an adapter or a merged model, or 'packaged'.", show_default=False)
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write; for GGUF, a file.", show_default=False)],
    to: Annotated[FormatChoice, typer.Option("--to", metavar="FORMAT", help=_FORMATS)],
    reader: ReaderOption = "default",
    questions: ProbesOption = None,
    index: ProbeIndexOption = None,
    overwrite: OverwriteOption = False,
) -> int:
    """Export a reader for another program, and check what was written.

    Examples:
    rag-ft adapter export merged/docs docs.gguf --to gguf-q8_0
    rag-ft adapter export adapters/docs vllm/docs --to peft
    """
    from rag_ft.adapters.export import export_adapter
    from rag_ft.cli.render import stdout

    console = stdout()
    with printed_lines("rag_ft.adapters", console.print):
        exported = export_adapter(
            adapter, output, to.value, base=reader, probes=_probes(questions, index), overwrite=overwrite
        )
    for line in (*exported.notes, f"written: {exported.path}"):
        console.print(line)
    return 0


@adapter_app.command("compare")
def adapter_compare(
    first: AdapterFolder,
    second: Annotated[
        str, typer.Argument(help="Second adapter, or 'none' for the untuned reader.", show_default=False)
    ],
    questions: Annotated[Path, typer.Argument(help="Question records: .jsonl, or SQuAD's .json.", show_default=False)],
    index: IndexOption,
    k: KOption = 3,
    reader: ReaderOption = "default",
    as_json: JsonOption = False,
) -> int:
    """Ask two adapters the same questions and show where their answers differ."""
    from rag_ft.adapters.compare import compare_adapters
    from rag_ft.cli.render import print_comparison, stdout
    from rag_ft.indexing.index import Index

    comparison = compare_adapters(first, second, questions, Index.load(index), reader=reader, k=k)
    if as_json:
        echo_json(comparison.model_dump_json())
    else:
        print_comparison(comparison, stdout())
    return 0


@adapter_app.command("bench")
def adapter_bench(
    adapter: AdapterFolder,
    reader: ReaderOption = "default",
    merged: Annotated[
        Path | None,
        typer.Option(help="Folder of a merged model. Default: merge into a temporary folder.", show_default=False),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements per model; the median is reported.")] = 3,
    as_json: JsonOption = False,
) -> int:
    """Measure what merging an adapter would change on this machine: speed, memory, disk, loading."""
    from rag_ft.adapters.bench import bench_adapter
    from rag_ft.cli.render import stderr, stdout

    with printed_lines("rag_ft.adapters", stderr().print):
        result = bench_adapter(adapter, base=reader, merged=merged, rounds=rounds)
    if as_json:
        echo_json(result.model_dump_json())
        return 0
    for line in (result.plan, "", *result.lines()):
        stdout().print(line)
    return 0


def _probes(questions: Path | None, index: Path | None) -> list[ReadRequest] | None:
    from rag_ft.errors import UsageError

    if questions is None and index is None:
        return None
    if questions is None or index is None:
        raise UsageError("--questions and --index go together: give both, or neither to use the handbook's questions")
    from rag_ft.adapters.probes import retrieved_probes
    from rag_ft.indexing.index import Index

    return retrieved_probes(questions, Index.load(index))
