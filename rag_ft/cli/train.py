"""`rag-ft train`: plan, certificate, training, verdict, adapter; or a look at the examples before."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from rag_ft.cli.options import ADAPTER_PANEL, IndexOption, ReaderOption, ReadingChoice
from rag_ft.cli.settings import (
    AlphaOption,
    DoraOption,
    RankOption,
    RsloraOption,
    TargetsOption,
    adapter_config,
    checked,
)
from rag_ft.cli.terminal import printed_lines
from rag_ft.errors import UsageError

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index
    from rag_ft.schema import Question
    from rag_ft.training.cross_encoder.config import CrossEncoderConfig
    from rag_ft.training.curve import TrainedCurve
    from rag_ft.training.data.collator import Row
    from rag_ft.training.prepare import RunConfig
    from rag_ft.training.run import TrainedAdapter

_DATA, _TRAINING, _CHECKING, _OUTPUT = "Data", "Training", "Checking", "Output"
"""Panels of options in the help."""


class TuneChoice(str, Enum):
    """Which of the two models that answer is tuned."""

    reader = "reader"
    cross_encoder = "cross-encoder"
    both = "both"


class BitsChoice(str, Enum):
    """Bits that a base weight is held in."""

    four = "4"
    sixteen = "16"
    thirty_two = "32"


def _option(panel: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=panel, **settings)


TuneOption: TypeAlias = Annotated[
    TuneChoice,
    typer.Option(
        metavar="MODEL",
        help="reader (finds the few words that answer), cross-encoder (reranks passages, and chooses the sentences that"
        " answer how, why, yes or no: minutes), or both.",
    ),
]
StartCrossEncoderOption: TypeAlias = Annotated[
    str | None,
    _option(
        _TRAINING,
        "--cross-encoder",
        metavar="FOLDER|packaged|none",
        help="With --tune cross-encoder or both: start from this cross-encoder; none: from the embedder, which needs"
        " thousands of questions. Default: packaged.",
        show_default=False,
    ),
]
DropoutOption: TypeAlias = Annotated[
    float, _option(ADAPTER_PANEL, help="Dropout on the adapter's inputs: try .05, .10, .15 against overfitting.")
]
StartOption: TypeAlias = Annotated[
    str | None,
    _option(
        ADAPTER_PANEL,
        help="Start from this adapter (a folder, or 'packaged') instead of a new one: better with few questions.",
        show_default=False,
    ),
]
BitsOption: TypeAlias = Annotated[
    BitsChoice | None,
    _option(
        _TRAINING,
        help="Bits of the base weights: 4 is QLoRA (NF4), 16 and 32 are plain LoRA. Default: 4, or the bits of"
        " --start-from.",
        show_default=False,
    ),
]
PackedOption: TypeAlias = Annotated[
    bool, _option(_TRAINING, "--keep-packed", help="On a CPU, keep 4-bit weights packed: less memory, but slower.")
]
EpochsOption: TypeAlias = Annotated[float, _option(_TRAINING, help="Passes over the examples; usually 1 to 5.")]
LearningRateOption: TypeAlias = Annotated[float, _option(_TRAINING, help="Peak learning rate of the cosine schedule.")]
RowTokensOption: TypeAlias = Annotated[
    int,
    _option(
        _TRAINING,
        help="Tokens per step. On a GPU, 5120 take as long as 1280 and train faster with a higher learning rate.",
    ),
]
PatienceOption: TypeAlias = Annotated[
    int, _option(_TRAINING, help="Stop after N measurements without a lower held-out loss; 0: never.")
]
SeedOption: TypeAlias = Annotated[int, _option(_TRAINING, help="Seed for split, order and initial weights.")]
TrackerOption: TypeAlias = Annotated[
    str, _option(_OUTPUT, "--report-to", help="Experiment tracker: tensorboard, wandb, mlflow or trackio.")
]
FeedbackOption: TypeAlias = Annotated[
    bool, _option(_DATA, "--feedback", help="Also train on the feedback kept beside the index.")
]
ReadingOption: TypeAlias = Annotated[
    ReadingChoice,
    _option(
        _DATA,
        metavar="METHOD",
        help="How the reader will read passages: separate (one prompt each) or joint (one for all).",
    ),
]
NegativesOption: TypeAlias = Annotated[
    float, _option(_DATA, help="Extra passages without the answer per question, with null as the target.")
]
GoldOption: TypeAlias = Annotated[
    float | None,
    _option(
        _DATA,
        help="With --reading joint: share of prompts with the gold passage; the target of the others is null. Default:"
        " 0.8.",
        show_default=False,
    ),
]
UnanswerableOption: TypeAlias = Annotated[
    float | None, _option(_DATA, help="Maximum share of unanswerable questions. Default: keep all.", show_default=False)
]
HeldOutOption: TypeAlias = Annotated[float, _option(_DATA, help="Share of the documents to hold out.")]
OutputOption: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the adapter; a cross-encoder goes into cross_encoder/ in it.")
]
CheckOption: TypeAlias = Annotated[bool, _option(_CHECKING, "--check", help="Print plan and certificate, then stop.")]
MasksOption: TypeAlias = Annotated[
    int, _option(_CHECKING, "--show-masks", metavar="N", min=0, help="Print N examples token by token, then stop.")
]
CompareOption: TypeAlias = Annotated[bool, _option(_OUTPUT, help="Also measure the untuned reader.")]
CurveOption: TypeAlias = Annotated[
    int,
    _option(
        _CHECKING,
        metavar="N",
        min=0,
        max=8,
        help="Also train on 1/2, 1/4 ... 1/2^N of the records: shows whether more records would help.",
    ),
]


def train(
    questions: Annotated[Path, typer.Argument(help="Question records: .jsonl, or SQuAD's .json.", show_default=False)],
    index: IndexOption,
    output: OutputOption = Path("adapters/reader"),
    tune: TuneOption = TuneChoice.reader,
    reader: ReaderOption = "default",
    feedback: FeedbackOption = False,
    reading: ReadingOption = ReadingChoice.separate,
    negatives: NegativesOption = 1.0,
    gold_probability: GoldOption = None,
    unanswerable_share: UnanswerableOption = None,
    held_out: HeldOutOption = 0.15,
    rank: RankOption = 16,
    alpha: AlphaOption = None,
    dropout: DropoutOption = 0.0,
    target_modules: TargetsOption = "",
    rslora: RsloraOption = False,
    dora: DoraOption = False,
    start_from: StartOption = None,
    cross_encoder: StartCrossEncoderOption = None,
    bits: BitsOption = None,
    keep_packed: PackedOption = False,
    epochs: EpochsOption = 3.0,
    learning_rate: LearningRateOption = 5e-4,
    row_tokens: RowTokensOption = 1280,
    patience: PatienceOption = 0,
    seed: SeedOption = 0,
    report_to: TrackerOption = "none",
    check: CheckOption = False,
    show_masks: MasksOption = 0,
    compare: CompareOption = True,
    curve: CurveOption = 0,
) -> int:
    """Tune the models that answer on questions about your documents: plan, certificate, training, verdict, adapter.

    Examples:
    rag-ft train questions.jsonl --index indexes/handbook --check
    rag-ft train questions.jsonl --index indexes/handbook -o adapters/handbook
    rag-ft train questions.jsonl --index indexes/handbook -o adapters/handbook --curve 3
    rag-ft train questions.jsonl --index indexes/handbook -o adapters/handbook --tune cross-encoder
    """
    from rag_ft.extras import require_extra
    from rag_ft.indexing.index import Index
    from rag_ft.training.data.examples import ExampleConfig
    from rag_ft.training.prepare import RunConfig
    from rag_ft.training.start import read_start
    from rag_ft.training.steps.config import TrainConfig
    from rag_ft.training.steps.processes import leave

    require_extra("train", "training")
    _check_tuned(tune, start_from, cross_encoder, curve, show_masks)
    settings: dict[str, Any] = {
        "lora": adapter_config(rank, alpha, target_modules, dropout=dropout, rslora=rslora, dora=dora)
    }
    start = None if start_from is None else read_start(start_from)
    if gold_probability is not None and reading is not ReadingChoice.joint:
        raise UsageError("--gold-probability applies to passages that share a prompt: give it with --reading joint")
    settings["examples"] = checked(
        ExampleConfig,
        reading=reading.value,
        negatives=negatives,
        unanswerable_share=unanswerable_share,
        held_out=held_out,
        seed=seed,
        **({} if gold_probability is None else {"gold_probability": gold_probability}),
    )
    settings["training"] = checked(
        TrainConfig,
        epochs=epochs,
        learning_rate=learning_rate,
        row_tokens=row_tokens,
        bits=int(bits.value) if bits is not None else (start.bits if start is not None else None) or 4,
        keep_packed=keep_packed,
        patience=patience,
        seed=seed,
        report_to=report_to,
    )
    scorer = _CrossEncoderRun.of(tune, cross_encoder, output, epochs, held_out, seed)
    loaded = Index.load(index)
    records = _with_feedback(questions, loaded) if feedback else questions
    if check or show_masks:
        run = RunConfig(reader, start, settings["examples"], settings["lora"], settings["training"])
        status = 0 if tune is TuneChoice.cross_encoder else _preview(records, loaded, output, run, show_masks)
        if scorer is not None:
            scorer.preview(records, loaded)
        return status
    if tune is not TuneChoice.cross_encoder:
        settings.update(reader=reader, start_from=start_from, compare=compare)
        _train(records, loaded, output, curve, settings)
    if scorer is not None:
        scorer.train(records, loaded)
    leave()
    _print_next_step(tune, output, index)
    return 0


def _check_tuned(tune: TuneChoice, start_from: str | None, cross_encoder: str | None, curve: int, masks: int) -> None:
    """Raise UsageError for an option of a model that is not tuned."""
    if tune is TuneChoice.reader and cross_encoder is not None:
        raise UsageError("--cross-encoder says what to tune further: give it with --tune cross-encoder or --tune both")
    if tune is TuneChoice.cross_encoder:
        given = [("--start-from", start_from is not None), ("--curve", curve), ("--show-masks", masks)]
        for option in (option for option, is_given in given if is_given):
            raise UsageError(f"{option} is for the reader, which --tune cross-encoder leaves as it is: leave it out")


class _CrossEncoderRun(NamedTuple):
    """What a cross-encoder is tuned from, how, and where it is written."""

    output: Path
    start_from: str | None
    config: CrossEncoderConfig

    @classmethod
    def of(
        cls, tune: TuneChoice, start: str | None, output: Path, epochs: float, held_out: float, seed: int
    ) -> _CrossEncoderRun | None:
        """The run that options ask for, checked before anything is trained; None for none."""
        from rag_ft.models.folder import CROSS_ENCODER_FOLDER
        from rag_ft.models.weights import NO_ADAPTER, PACKAGED

        if tune is TuneChoice.reader:
            return None
        from rag_ft.training.cross_encoder.config import CrossEncoderConfig
        from rag_ft.training.cross_encoder.run import check_cross_encoder_run

        config = checked(CrossEncoderConfig, epochs=epochs, held_out=held_out, seed=seed)
        run = cls(output / CROSS_ENCODER_FOLDER, None if start == NO_ADAPTER else start or PACKAGED, config)
        check_cross_encoder_run(run.output, run.start_from)
        return run

    def preview(self, questions: Path | list[Question], index: Index) -> None:
        """Print what would be trained on."""
        from rag_ft.cli.render import stdout
        from rag_ft.training.cross_encoder.run import prepare_pairs

        with printed_lines("rag_ft.training", stdout().print):
            prepare_pairs(questions, index, self.config)

    def train(self, questions: Path | list[Question], index: Index) -> None:
        """Train with a status line on stderr."""
        from rag_ft.cli.render import TrainingLine, stderr, stdout
        from rag_ft.training.cross_encoder.run import train_cross_encoder

        with TrainingLine(stderr()) as live, printed_lines("rag_ft.training", stdout().print):
            train_cross_encoder(
                questions,
                index,
                self.output,
                start_from=self.start_from,
                config=self.config,
                on_progress=live.update,
            )


def _with_feedback(questions: Path, index: Index) -> list[Question]:
    """The records of a file, and those that follow from the feedback beside the index; what gave none is told."""
    from rag_ft.cli.render import stderr
    from rag_ft.questions.records import read_questions

    made = index.feedback_questions()
    for line in made.lines():
        stderr().print(f"feedback: {line}")
    records = {
        record.id: record for record in (*made.records, *read_questions(questions))
    }  # an exported one comes once
    return list(records.values())


def _preview(questions: Path | list[Question], index: Index, output: Path, run: RunConfig, masks: int) -> int:
    """Print plan, certificate and the first examples; exit status 1 where the run would not start."""
    from rag_ft.cli.render import stdout
    from rag_ft.training.prepare import preflight

    console = stdout()
    with printed_lines("rag_ft.training", console.print):
        preview = preflight(questions, index, output, run)
    rows = preview.ready.rows
    # The first example of each row, for variety; then the second ones, and so on.
    longest = max((len(row.records) for row in rows), default=0)
    examples = [(row, i) for i in range(longest) for row in rows if i < len(row.records)]
    for row, i in examples[:masks]:
        _print_mask(row, i, preview.loaded.tokenizer, console)
    return 1 if preview.ready.certificate.red else 0


def _train(
    questions: Path | list[Question], index: Index, output: Path, halvings: int, settings: dict[str, Any]
) -> TrainedAdapter | TrainedCurve:
    """Train one adapter, or one for each size of a curve, with a status line on stderr."""
    from rag_ft.cli.render import TrainingLine, stderr, stdout
    from rag_ft.training.curve import train_curve
    from rag_ft.training.run import train_reader

    with TrainingLine(stderr()) as live, printed_lines("rag_ft.training", stdout().print):
        settings["on_progress"] = live.update
        if halvings:
            return train_curve(questions, index, output, halvings=halvings, **settings)
        return train_reader(questions, index, output, **settings)


def _print_next_step(tune: TuneChoice, output: Path, index: Path) -> None:
    from rag_ft.cli.render import stdout
    from rag_ft.models.folder import CROSS_ENCODER_FOLDER

    console = stdout()
    console.print()
    if tune is TuneChoice.cross_encoder:
        name, option, path = "cross-encoder", "--cross-encoder", output / CROSS_ENCODER_FOLDER
    else:
        name, option, path = "adapter", "--adapter", output
    console.print(f"{name}: {path}")
    console.print(f"ask with it: rag-ft ask QUESTION --index {index} {option} {path}", style="dim")


def _print_mask(row: Row, position: int, tokenizer: Any, console: Any) -> None:
    """Print the example at a position of a row: prompt grey, completion coloured, a dot between tokens."""
    from rich.text import Text

    from rag_ft.training.data.collator import IGNORE_INDEX, sequence_of

    record, tokens, labels = sequence_of(row, position)
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
    count = sum(label != IGNORE_INDEX for label in labels)
    text.append(f"\n{count} of {len(labels)} tokens are learned", style="dim")
    for line in text.split("\n", allow_blank=True):
        console.print(line)
