"""Everything before the first step: examples, plan, certificate, the run's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag_ft.answering.config import MAX_ANSWER_TOKENS, MAX_PROMPT_TOKENS
from rag_ft.answering.prompt import PromptBuilder, reader_budget
from rag_ft.errors import TrainingError, UsageError
from rag_ft.files import is_disk_full, is_plain_file, is_real_folder
from rag_ft.models.adapter_record import ADAPTER_RECORD, adapter_record, check_base
from rag_ft.models.loading import LoadedModel
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import Split, documents_of, split_by_document
from rag_ft.schema import Question
from rag_ft.training.data.certificate import Certificate, certify
from rag_ft.training.data.collator import Encoded, Row, encode, pack
from rag_ft.training.data.examples import ExampleConfig, ExampleSet, make_examples
from rag_ft.training.folder import END, RUN_RECORD, foreign_in_run, is_run
from rag_ft.training.lora import LoraPlan, LoraSettings, model_plan
from rag_ft.training.saving import FILES, is_record
from rag_ft.training.start import Start
from rag_ft.training.steps import setup
from rag_ft.training.steps.config import TrainConfig

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

RUN = "training"
"""Folder inside the adapter's with what the run left: curves, measurements, the certificate."""


@dataclass(frozen=True)
class Prepared:
    """All that a run would train on."""

    certificate: Certificate
    train: ExampleSet
    held_out: ExampleSet
    held_out_questions: tuple[Question, ...]
    encoded: Encoded
    rows: list[Row]
    held_out_rows: list[Row]
    prompts: PromptBuilder
    shared: bool
    """False where the model takes no tree mask, so that every example has a sequence of its own."""

    def lines(self) -> list[str]:
        """The certificate as a person reads it, and how the rows are made where that is not the fast way."""
        apart = "sequences       one for each example: this model's attention does not share a context exactly"
        return [*self.certificate.lines(), *([] if self.shared else [apart])]


def prepare(
    questions: str | Path | Sequence[Question],
    index: Index,
    loaded: LoadedModel,
    examples: ExampleConfig,
    training: TrainConfig,
    *,
    split: Split | None = None,
    max_prompt_tokens: int = MAX_PROMPT_TOKENS,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
) -> Prepared:
    """Split, examples, rows and their certificate, whose red lines are not raised here. Raises DatasetError."""
    from rag_ft.answering.forward.decoder import window_of
    from rag_ft.training.steps.tree_attention import takes_trees

    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    split = split or split_by_document(records, examples.held_out, examples.seed)
    held_out = make_examples(split.held_out, index, examples)
    train = make_examples(split.train, index, examples, apart=documents_of(split.held_out))
    measured = tuple(one for one in split.held_out if one.id not in held_out.dropped)
    prompts = PromptBuilder(loaded.tokenizer, shots=False)
    budget = reader_budget(prompts, window_of(loaded.model), max_prompt_tokens, max_answer_tokens)
    encoded = encode(train.examples, prompts, budget)
    shared = takes_trees(loaded.model)
    rows = pack(encoded, training.row_tokens, training.seed, shared=shared)
    held_out_rows = pack(encode(held_out.examples, prompts, budget), training.row_tokens, training.seed, shared=shared)
    certificate = certify(train, held_out, encoded, rows, prompts)
    return Prepared(certificate, train, held_out, measured, encoded, rows, held_out_rows, prompts, shared)


class Preflight(NamedTuple):
    """A run that could start, if its certificate has no red line."""

    lora: LoraSettings
    loaded: LoadedModel
    plan: LoraPlan
    ready: Prepared


def preflight(
    questions: str | Path | Sequence[Question],
    index: Index,
    output: Path,
    *,
    reader: str,
    start: Start | None,
    examples: ExampleConfig,
    lora: LoraSettings | None,
    training: TrainConfig,
    split: Split | None = None,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
    say: Callable[[str], None],
) -> Preflight:
    """All that a run does before it writes or trains anything; `say` gets plan and certificate line by line.

    Raises DatasetError, UsageError, WeightsError, PromptMismatchError; red lines of the certificate are not raised.
    """
    check_run(output, training, start)
    lora = start.settings(lora) if start is not None else lora or LoraSettings()
    loaded = setup.load_base(reader, training)
    if start is not None:
        check_base(adapter_record(start.weights), loaded.weights, start.weights)
    plan = model_plan(loaded.model, lora)
    for line in plan_lines(plan, training, loaded):
        say(line)
    if start is not None:
        say(f"starts from      {start.weights.path}")
    ready = prepare(questions, index, loaded, examples, training, split=split, max_answer_tokens=max_answer_tokens)
    if start is not None:
        start.check_prompt(ready.prompts)
    for line in ready.lines():
        say(line)
    return Preflight(lora, loaded, plan, ready)


def check_run(output: Path, training: TrainConfig, start: Start | None) -> None:
    """All that can be checked before anything is loaded. Raises UsageError."""
    check_output(output)
    check_trackers(training.report_to)
    if start is not None:
        start.check_bits(training.bits)


def check_output(output: Path) -> None:
    """Raise UsageError where a run in this folder would remove or replace what no run has written there, TrainingError
    for a run's record that is damaged.
    """
    there = next(one for one in (output, *output.absolute().parents) if os.path.lexists(one))
    if not there.is_dir():
        raise UsageError(f"{there} is a file: give a folder for the adapter (--output)")
    theirs = _foreign(output)
    if theirs is not None:
        raise UsageError(
            f"{theirs} is not from a run of rag_ft, and training would write over it: give another folder for the"
            " adapter (--output)"
        )


def _foreign(output: Path) -> Path | None:
    """What a run would remove or replace and has not written; None where there is nothing of the kind."""
    work = output / RUN
    if os.path.lexists(work):
        if not is_real_folder(work):
            return work
        if is_plain_file(work / RUN_RECORD):
            if not is_run(work):
                raise TrainingError(
                    f"{work / RUN_RECORD} is damaged or not from rag_ft, so that nobody can say what run the files"
                    f" beside it are of: move {work} away to start anew"
                )
        elif any(not path.name.startswith(f".{RUN_RECORD}.partial-") for path in work.iterdir()):
            return work
        theirs = foreign_in_run(work)
        if theirs is not None:
            return theirs
    # Nothing is written beside the run's own folder before the last step is done.
    ours = is_record(output / ADAPTER_RECORD) or (is_run(work) and is_plain_file(work / END))
    for name in FILES:
        if os.path.lexists(output / name) and not (ours and is_plain_file(output / name)):
            return output / name
    return None


def make_folder(output: Path) -> None:
    """Raise UsageError where there can be no such folder, OSError for a full disk."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise UsageError(
            f"{output} cannot be a folder ({error.strerror}): give another one for the adapter (--output)"
        ) from error


def check_trackers(report_to: str) -> None:
    """Raise UsageError for an experiment tracker that is unknown or not installed, before anything is paid for."""
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    if report_to in ("none", "all") or report_to in get_available_reporting_integrations():
        return
    if report_to in INTEGRATION_TO_CALLBACK:
        raise UsageError(f"the experiment tracker {report_to!r} is not installed: install it, or leave --report-to out")
    raise UsageError(
        f"{report_to!r} is no experiment tracker: use one of {', '.join(sorted(INTEGRATION_TO_CALLBACK))}, all or none"
    )


def plan_lines(plan: LoraPlan, training: TrainConfig, loaded: LoadedModel) -> list[str]:
    """The plan of a run as a person reads it."""
    lora = plan.settings
    held = {4: "4-bit NF4 (QLoRA)", 16: "16 bits", 32: "32 bits"}[training.bits]
    on_cpu = loaded.plan.device == "cpu"
    if training.bits == 4 and on_cpu and loaded.plan.quantisation == "nf4" and not training.keep_packed:
        held += "; kept packed, which is slower, because unpacked they would take more than half of the free memory"
    if training.bits == 16 and loaded.plan.dtype == "float32":
        held = "in 32 bits, because 16-bit values compute slower here"
    return [
        f"adapter         rank {lora.rank} on {', '.join(sorted({one.name for one in plan.projections}))}",
        f"                {plan.trainable:,} parameters ({plan.share:.2%} of the model),"
        f" {plan.adapter_bytes() / 1e6:.1f} MB on disk; {lora.scale_note()}",
        f"base model      {plan.base_parameters:,} parameters, frozen, {held}",
    ]
