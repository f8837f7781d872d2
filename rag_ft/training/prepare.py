"""Everything before the first step: the settings, plan, examples and certificate of a run, and its folder."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag_ft.answering.config import MAX_ANSWER_TOKENS, MAX_PROMPT_TOKENS
from rag_ft.answering.prompt import PromptBuilder, reader_budget
from rag_ft.errors import TrainingError, UsageError
from rag_ft.extras import require_extra
from rag_ft.files import is_plain_file, is_real_folder
from rag_ft.models.adapter_record import ADAPTER_RECORD, adapter_record, check_base
from rag_ft.models.loading import LoadedModel
from rag_ft.questions.records import origin_counts, read_questions
from rag_ft.questions.split import Split, documents_of, split_by_document
from rag_ft.schema import Question
from rag_ft.training.data.certificate import Certificate, certify
from rag_ft.training.data.collator import Encoded, Row, encode, pack
from rag_ft.training.data.examples import ExampleConfig, ExampleSet, make_examples
from rag_ft.training.folder import (
    END,
    RUN_FOLDER,
    RUN_RECORD,
    check_run_folder,
    foreign_among,
    foreign_in_run,
    is_run,
)
from rag_ft.training.lora import AdapterConfig, LoraPlan, model_plan
from rag_ft.training.saving import ADAPTER_FILES, is_record
from rag_ft.training.start import StartAdapter
from rag_ft.training.steps import setup
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.fsdp import check_fsdp
from rag_ft.training.steps.processes import check_launch

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfig:
    """What decides the adapter of a run, besides its question records and its index."""

    reader: str
    """The base model: `default`, a folder, or a hub id."""
    start: StartAdapter | None
    """The adapter to continue; None trains a new one."""
    examples: ExampleConfig
    lora: AdapterConfig | None
    """Shape of the adapter; None is the default shape, or that of `start`."""
    training: TrainConfig
    max_answer_tokens: int = MAX_ANSWER_TOKENS
    """Maximum tokens of a completion."""


@dataclass(frozen=True)
class Prepared:
    """What a run would train and measure on."""

    certificate: Certificate
    train: ExampleSet
    held_out: ExampleSet
    held_out_questions: tuple[Question, ...]
    encoded: Encoded
    rows: list[Row]
    held_out_rows: list[Row]
    prompts: PromptBuilder
    shared: bool
    """Whether examples share a context in one sequence; False if the model's attention does not allow it."""

    def lines(self) -> list[str]:
        """The certificate for people to read, with a note if the rows cannot share contexts."""
        separate = "sequences       one for each example: this model's attention does not share a context exactly"
        return [*self.certificate.lines(), *([] if self.shared else [separate])]


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
    """Split the records, make examples and rows, and certify them; red lines are not raised. Raises DatasetError."""
    from rag_ft.answering.forward.decoder import window_of
    from rag_ft.training.steps.tree_attention import takes_trees

    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    split = split or split_by_document(records, examples.held_out, examples.seed)
    held_out = make_examples(split.held_out, index, examples)
    train = make_examples(split.train, index, examples, apart=documents_of(split.held_out))
    measured = tuple(question for question in split.held_out if question.id not in held_out.dropped)
    prompts = PromptBuilder(loaded.tokenizer, shots=False)
    budget = reader_budget(prompts, window_of(loaded.model), max_prompt_tokens, max_answer_tokens)
    encoded = encode(train.examples, prompts, budget)
    shared = takes_trees(loaded.model)
    rows = pack(encoded, training.row_tokens, training.seed, shared=shared)
    held_out_rows = pack(encode(held_out.examples, prompts, budget), training.row_tokens, training.seed, shared=shared)
    certificate = certify(train, held_out, encoded, rows, prompts)
    if origin_counts([*split.train, *split.held_out]):
        certificate = certificate.model_copy(
            update={
                "origins": dict(Counter(record.origin for record in split.train)),
                "held_out_origins": dict(Counter(record.origin for record in split.held_out)),
            }
        )
    return Prepared(certificate, train, held_out, measured, encoded, rows, held_out_rows, prompts, shared)


class Preflight(NamedTuple):
    """A run that may start unless its certificate has a red line."""

    lora: AdapterConfig
    loaded: LoadedModel
    plan: LoraPlan
    ready: Prepared


def preflight(
    questions: str | Path | Sequence[Question],
    index: Index,
    output: Path,
    config: RunConfig,
    *,
    split: Split | None = None,
) -> Preflight:
    """Do all that a run does before it writes or trains; plan and certificate are logged line by line.

    Raises DatasetError, UsageError, WeightsError, PromptMismatchError; red lines of the certificate are not raised.
    """
    start, training = config.start, config.training
    check_run(output, training, start)
    lora = start.with_dropout(config.lora) if start is not None else config.lora or AdapterConfig()
    loaded = setup.load_base(config.reader, training)
    if start is not None:
        check_base(adapter_record(start.weights), loaded.weights, start.weights)
    plan = model_plan(loaded.model, lora)
    for line in plan_lines(plan, training, loaded):
        logger.info("%s", line)
    if start is not None:
        logger.info("starts from     %s", start.weights.path)
    ready = prepare(
        questions, index, loaded, config.examples, training, split=split, max_answer_tokens=config.max_answer_tokens
    )
    if start is not None:
        start.check_prompt(ready.prompts)
    for line in ready.lines():
        logger.info("%s", line)
    return Preflight(lora, loaded, plan, ready)


def check_run(output: Path, training: TrainConfig, start: StartAdapter | None) -> None:
    """Check all that can be checked before a model is loaded. Raises UsageError."""
    require_extra("train", "training")
    check_launch()
    check_fsdp(training.bits)
    if training.bits == 4:
        require_extra("nf4", "training in 4 bits")
    check_output_folder(output)
    check_trackers(training.report_to)
    if start is not None:
        start.check_bits(training.bits)


def check_output_folder(output: Path) -> None:
    """Raise UsageError if a run would remove or replace a file that no run wrote.

    Raises TrainingError if the folder holds a run's record that is damaged.
    """
    check_run_folder(output, "adapter", _foreign)


def _foreign(output: Path) -> Path | None:
    """The first file that a run would remove or replace and that no run wrote, if there is one."""
    work = output / RUN_FOLDER
    if os.path.lexists(work):
        if not is_real_folder(work):
            return work
        if is_plain_file(work / RUN_RECORD):
            if not is_run(work):
                raise TrainingError(
                    f"{work / RUN_RECORD} is damaged or not from rag_ft, so the run that the files beside it belong to"
                    f" is unknown: move {work} away to start from the beginning"
                )
        elif any(not path.name.startswith(f".{RUN_RECORD}.partial-") for path in work.iterdir()):
            return work
        foreign = foreign_in_run(work)
        if foreign is not None:
            return foreign
    # Nothing is written beside the run's own folder before the last step is done.
    ours = is_record(output / ADAPTER_RECORD) or (is_run(work) and is_plain_file(work / END))
    return foreign_among(output, ADAPTER_FILES, ours=ours)


def check_trackers(report_to: str) -> None:
    """Raise UsageError for an experiment tracker that is unknown or not installed."""
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    if report_to in ("none", "all") or report_to in get_available_reporting_integrations():
        return
    if report_to in INTEGRATION_TO_CALLBACK:
        raise UsageError(f"the experiment tracker {report_to!r} is not installed: install it, or leave --report-to out")
    raise UsageError(
        f"{report_to!r} is not an experiment tracker: use {', '.join(sorted(INTEGRATION_TO_CALLBACK))}, all or none"
    )


def plan_lines(plan: LoraPlan, training: TrainConfig, loaded: LoadedModel) -> list[str]:
    """The plan of a run for people to read."""
    held = {4: "4-bit NF4 (QLoRA)", 16: "16 bits", 32: "32 bits"}[training.bits]
    on_cpu = loaded.plan.device == "cpu"
    if training.bits == 4 and on_cpu and loaded.plan.quantisation == "nf4" and not training.keep_packed:
        held += "; kept packed, which is slower: unpacked, they would take more than half of the free memory"
    if training.bits == 16 and loaded.plan.dtype == "float32":
        held = "32 bits, because 16-bit products are slower on this machine"
    return [
        f"adapter         rank {plan.config.rank} on {', '.join(sorted({layer.name for layer in plan.projections}))}",
        f"                {plan.trainable:,} parameters ({plan.share:.2%} of the model),"
        f" {plan.adapter_bytes() / 1e6:.1f} MB on disk; {plan.config.scale_note()}",
        f"base model      {plan.base_parameters:,} parameters, frozen, {held}",
    ]
