"""Question records + index → a tuned adapter: a certificate before, a verdict after, figures for both readers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError

from rag_ft.dataset import read_questions
from rag_ft.errors import PromptMismatchError, TrainingError, UsageError, first_line
from rag_ft.files import (
    disk_full,
    full_disk_as,
    is_disk_full,
    is_plain_file,
    is_real_folder,
    require_space,
    write_atomic,
)
from rag_ft.index_build import library_versions
from rag_ft.model import LoadedModel
from rag_ft.prompt import PromptBuilder, reader_budget
from rag_ft.reader import MAX_ANSWER_TOKENS, MAX_PROMPT_TOKENS, Mode, Reader
from rag_ft.reader_score import ReaderScore, score_reader
from rag_ft.schema import FINGERPRINT, Question
from rag_ft.shared_base import named_folder
from rag_ft.threshold import threshold_record
from rag_ft.training import trainer
from rag_ft.training.collator import Encoded, Row, encode, pack
from rag_ft.training.examples import ExampleConfig, ExampleSet, Split, documents_of, make_examples, split_by_document
from rag_ft.training.folder import (
    BEST,
    CERTIFICATE,
    CURVES,
    END,
    LAST,
    RUN_RECORD,
    checkpoints_of,
    clear_checkpoints,
    clear_run,
    foreign_in_run,
    is_run,
)
from rag_ft.training.lora import LoraPlan, LoraSettings, model_plan
from rag_ft.training.overfitting import Verdict, judge, probe_memory
from rag_ft.training.preflight import Certificate, certify, fingerprint_examples
from rag_ft.training.saving import FILES, PACKAGES, draw_curves, is_record, model_card, save_adapter, step_of
from rag_ft.training.trainer import TrainConfig
from rag_ft.tuning_record import ADAPTER_RECORD, adapter_record, check_base, documents_trained_on, lora_config
from rag_ft.weights import DEFAULT, Weights, resolve_adapter, weights_identity

if TYPE_CHECKING:
    from rag_ft.index import Index

RUN = "training"
"""Folder inside the adapter's with what the run left: curves, measurements, the certificate."""

_COPIES = 12
"""Adapters in 32 bits that a run has on disk at most: three checkpoints with two moments each, the best, the last, and
what is being written."""
_SPARE_BYTES = 64 * 1024 * 1024

_DEFAULT_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


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


@dataclass(frozen=True)
class TrainedAdapter:
    """What a run made."""

    path: Path
    certificate: Certificate
    plan: LoraPlan
    verdict: Verdict
    untuned: ReaderScore | None
    tuned: ReaderScore


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
    from rag_ft.decoder import window_of
    from rag_ft.training.tree_attention import takes_trees

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
    loaded = trainer.load_base(reader, training)
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


def train_reader(
    questions: str | Path | Sequence[Question],
    index: Index,
    output: str | Path,
    *,
    reader: str = DEFAULT,
    start_from: str | Path | None = None,
    examples: ExampleConfig | None = None,
    lora: LoraSettings | None = None,
    training: TrainConfig | None = None,
    split: Split | None = None,
    compare: bool = True,
    licence: str = "other",
    data_note: str = "The question records and documents of whoever trained it.",
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
    say: Callable[[str], None] | None = None,
    on_progress: Callable[[dict[str, float]], None] | None = None,
) -> TrainedAdapter:
    """Tune a reader on question records about the documents of an index; the adapter is in `output`.

    Prints nothing: `say` gets the plan, the certificate, the verdict and the figures line by line as they come,
    `on_progress` every measurement. A run that was stopped goes on from its newest checkpoint when called again with
    equal arguments. `start_from`: an adapter's folder, or "packaged", to go on learning from instead of from nothing;
    its shape is kept (`lora` then only sets dropout), and `training.bits` must be its own. `split`: records to train
    on and to hold out, instead of a split of `questions`. `compare`: measure the untuned reader, or the adapter that
    is started from, on the held-out questions too. Raises TrainingError where the certificate has a red line or the
    run fails, DatasetError, UsageError, WeightsError.
    """
    output = Path(output)
    examples, training = examples or ExampleConfig(), training or TrainConfig()
    tell = say or (lambda line: None)
    start = None if start_from is None else read_start(start_from)
    lora, loaded, plan, ready = preflight(
        questions,
        index,
        output,
        reader=reader,
        start=start,
        examples=examples,
        lora=lora,
        training=training,
        split=split,
        max_answer_tokens=max_answer_tokens,
        say=tell,
    )
    if ready.certificate.red:
        raise TrainingError(f"the run does not start: {ready.certificate.red[0]}")
    run = _Run(output, reader, index, loaded, ready, examples, lora, training, start, licence, data_note)
    with full_disk_as(TrainingError, output, "nothing was trained yet"):
        run.claim_folder()
        require_space(output, _COPIES * plan.adapter_bytes(32) + _SPARE_BYTES, error=TrainingError)
    scores: dict[str, ReaderScore] = {}
    if compare:
        scores["untuned"] = score_reader(
            Reader(loaded, reading=examples.reading, passage_cache_mb=0), ready.held_out_questions, index
        )
        tell(_score_line("untuned", scores["untuned"]))
    model = trainer.adapt(loaded, lora, training, start=None if start is None else start.weights)
    if compare and start is not None:
        scores["start"] = score_reader(run.reader_of(model), ready.held_out_questions, index)
        tell(_score_line("start", scores["start"]))
    history = trainer.run(
        model,
        loaded.tokenizer,
        ready.rows,
        ready.held_out_rows,
        training,
        run.work,
        shared=ready.shared,
        on_progress=on_progress,
    )
    trainer.load_adapter(model, run.work / BEST)
    record = run.record(history)
    run.save(record, BEST)  # before anything else is done with it
    kept, tuned = run.better(model)
    with trainer.autocasting(model):
        memory = probe_memory(run.reader_of(model, mode="schema"), ready.train.examples)
    step = step_of(run.work / kept)
    verdict = judge(history, memory, step)
    scores["tuned"] = tuned
    if kept == LAST:
        tell(
            f"kept            step {step}, the last: it answers better than step {verdict.best_step} of the lowest loss"
        )
    record["kept_step"] = step
    if trainer.main_process():
        with full_disk_as(TrainingError, run.work, _TRAINED):
            draw_curves(history, step, run.work / CURVES)
    record["verdict"] = verdict.model_dump(mode="json")
    if tuned.weighed:
        record["threshold"] = threshold_record(tuned.threshold, examples.reading, tuned.platt)
    record["results"] = {name: one.model_dump(mode="json") for name, one in scores.items()}
    run.save(record, kept)
    if trainer.main_process():
        clear_checkpoints(run.work)
        (run.work / END).unlink(missing_ok=True)  # the last thing: until here the same command only measures again
    for line in [*verdict.lines(), _score_line("tuned", tuned)]:
        tell(line)
    if not tuned.weighed:
        tell(
            "threshold       none is chosen: no held-out question is unanswerable, or nothing was got right; null"
            " competes with the answer until 'rag-ft adapter calibrate' has chosen one"
        )
    return TrainedAdapter(output, ready.certificate, plan, verdict, scores.get("untuned"), tuned)


@dataclass(frozen=True)
class Start:
    """An adapter that a run goes on from."""

    weights: Weights
    config: Mapping[str, Any]
    """PEFT's own."""
    bits: int | None
    """How the base was held when it was trained; None where nobody wrote it down."""
    prompt: str | None
    """Fingerprint of the prompt that it was trained under, likewise."""

    def settings(self, given: LoraSettings | None) -> LoraSettings:
        """Its shape, with the dropout that was asked for. Raises UsageError where another shape was asked for."""
        modules = self.config.get("target_modules")
        if not isinstance(modules, list) or not modules:
            raise UsageError(
                f"the adapter {self.weights.path} names the modules that it changes by {modules!r} and not one by one:"
                " start from another adapter, or from nothing"
            )
        own = LoraSettings(
            rank=self.config["r"],
            alpha=self.config["lora_alpha"],
            target_modules=tuple(sorted(modules)),
            rslora=self.config.get("use_rslora", False),
            dora=self.config.get("use_dora", False),
        )
        given = given or LoraSettings()
        asked = given.model_copy(update={"dropout": 0.0})
        if asked not in (LoraSettings(), own):
            raise UsageError(
                f"the adapter {self.weights.path} has rank {own.rank}, alpha {own.effective_alpha:g} and its own target"
                " modules, which cannot be changed on the way: leave these settings out, or start from nothing"
            )
        return own.model_copy(update={"dropout": given.dropout})

    def check_prompt(self, prompts: PromptBuilder) -> None:
        """Raise PromptMismatchError where it knows another prompt."""
        if self.prompt is not None and self.prompt != prompts.fingerprint:
            raise PromptMismatchError(
                f"the adapter {self.weights.path} was trained under prompt {self.prompt[:12]} and this version builds"
                f" prompt {prompts.fingerprint[:12]}: start from another adapter, or from nothing"
            )

    def check_bits(self, bits: int) -> None:
        """Raise UsageError where the base would be held in another way than the adapter knows it."""
        if self.bits is not None and (self.bits == 4) != (bits == 4):
            raise UsageError(
                f"the adapter {self.weights.path} was trained on a base held in {self.bits} bits and this run would"
                f" hold it in {bits}: give bits={self.bits} (--bits {self.bits})"
            )


def read_start(name: str | Path) -> Start:
    """The adapter to go on from: a folder, or `packaged`. Raises WeightsError, UsageError."""
    weights = resolve_adapter(named_folder(name))
    record = adapter_record(weights)
    return Start(
        weights, lora_config(weights), record.get("base_model", {}).get("bits"), record.get("prompt_fingerprint")
    )


_TRAINED = "what was trained is kept, and is only measured and written again"


@dataclass(frozen=True)
class _Run:
    """The settings of one run and what they write to its folder."""

    output: Path
    name: str
    index: Index
    loaded: LoadedModel
    ready: Prepared
    examples: ExampleConfig
    lora: LoraSettings
    training: TrainConfig
    start: Start | None
    licence: str
    data_note: str

    @property
    def work(self) -> Path:
        """What is kept beside the adapter: curves, measurements, checkpoints."""
        return self.output / RUN

    @property
    def base_name(self) -> str:
        """A hub id, or a folder's name."""
        return _DEFAULT_HUB_ID if self.name == DEFAULT else self.loaded.weights.name

    def reader_of(self, model: Any, mode: Mode = "quote") -> Reader:
        """The model with its adapter as it is now, as the user will ask it."""
        tuned = LoadedModel(model.eval(), self.loaded.tokenizer, self.loaded.weights, self.loaded.plan, None)
        return Reader(tuned, mode=mode, reading=self.examples.reading, shots=False, passage_cache_mb=0)

    def claim_folder(self) -> None:
        """A folder with an unfinished run of other data or settings is not gone on from. Raises TrainingError."""
        if not trainer.main_process():
            return
        make_folder(self.output)
        identity = {
            "examples": fingerprint_examples(self.ready.train),
            "prompt": self.ready.prompts.fingerprint,
            "base": weights_identity(self.loaded.weights),
            "start": None if self.start is None else self.start.weights.fingerprint,
            "lora": self.lora.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
        }
        path = self.work / RUN_RECORD
        if is_run(self.work):
            if checkpoints_of(self.work) or (self.work / END).is_file():
                before = json.loads(path.read_text(encoding="utf-8"))
                changed = sorted(name for name in identity if before.get(name) != identity[name])
                if changed:
                    raise TrainingError(
                        f"{self.work} holds checkpoints of a run with other {', '.join(changed)}: remove the folder to"
                        " start anew, or give the former settings to go on"
                    )
            else:
                clear_run(self.work)  # left by a finished run, or by one that had not come to its first checkpoint
        self.work.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(identity, indent=1) + "\n")
        write_atomic(self.work / CERTIFICATE, self.ready.certificate.model_dump_json(indent=1) + "\n")

    def record(self, history: Sequence[dict[str, float]]) -> dict[str, Any]:
        """What the adapter was made from and how, before it is measured."""
        train, held_out = self.ready.train, self.ready.held_out
        # What was learned before the start is not forgotten: the weights may still recite it.
        before = adapter_record(self.start.weights) if self.start is not None else {}
        return {
            "prompt_fingerprint": self.ready.prompts.fingerprint,
            "shots": False,
            "licence": self.licence,
            "data_note": self.data_note,
            "base_model": {
                "name": self.name if self.name != DEFAULT else self.loaded.weights.name,
                "identity": weights_identity(self.loaded.weights),
                "bits": self.training.bits,
            },
            "started_from": None
            if self.start is None
            else {"name": self.start.weights.name, "fingerprint": self.start.weights.fingerprint},
            "data": {
                "fingerprint": fingerprint_examples(train),
                "index": self.index.fingerprint,
                "train_questions": train.questions,
                "held_out_questions": held_out.questions,
                "train_documents": len(train.documents),
                "held_out_documents": len(held_out.documents),
                "held_out": sorted(held_out.documents),
                "documents": sorted(train.documents),
                "document_fingerprints": sorted({*self._fingerprints(train.documents), *documents_trained_on(before)}),
            },
            "examples": self.examples.model_dump(mode="json"),
            "lora": {**self.lora.model_dump(mode="json"), "alpha": self.lora.effective_alpha, "scale": self.lora.scale},
            "training": self.training.model_dump(mode="json"),
            "certificate": self.ready.certificate.model_dump(mode="json"),
            "versions": library_versions(PACKAGES),
            "history": _thinned(history),
            "verdict": judge(history).model_dump(mode="json"),
            "results": {},
        }

    def _fingerprints(self, documents: frozenset[str]) -> list[str]:
        """By which an evaluation finds documents that were trained on, whatever their names have become."""
        there = set(self.index.documents())
        return sorted({self.index.document_fingerprint(name)[:FINGERPRINT] for name in documents & there})

    def better(self, model: Any) -> tuple[str, ReaderScore]:
        """Of the adapters that the run kept, the one that answers the held-out questions better, now in the model.

        The loss is about every token and all its rivals, the answers about the likeliest alone: the lowest loss and
        the best answers need not fall on one step.
        """
        found: dict[str, ReaderScore] = {}
        for name in (BEST, LAST):
            if (self.work / name).is_dir():
                trainer.load_adapter(model, self.work / name)
                found[name] = score_reader(self.reader_of(model), self.ready.held_out_questions, self.index)
        kept = max(found, key=lambda name: found[name].worth)  # the first of equal ones
        trainer.load_adapter(model, self.work / kept)
        return kept, found[kept]

    def save(self, record: dict[str, Any], kept: str) -> None:
        """The adapter of a step that was kept, with its record and its card."""
        if not trainer.main_process():
            return
        card = model_card(record, self.base_name)
        try:
            save_adapter(self.work / kept, self.output, record, card, self.base_name)
        except (OSError, SafetensorError) as error:
            if is_disk_full(error):
                raise TrainingError(disk_full(self.output, _TRAINED)) from error
            reason = first_line(error)
            raise TrainingError(
                f"the adapter could not be written to {self.output} ({reason}): free some space and run the same"
                " command, which goes on from the newest whole checkpoint"
            ) from error


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


def _thinned(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Every held-out measurement, and some two hundred of the others."""
    every = max(1, len(history) // 200)
    return [one for number, one in enumerate(history) if "eval_loss" in one or number % every == 0]


def _score_line(name: str, score: ReaderScore) -> str:
    parts = [f"{name:<15} {score.questions} held-out questions with 3 retrieved passages:"]
    if score.must_answer_f1 is not None:
        parts.append(f"F1 {100 * score.must_answer_f1:.1f} when made to answer;")
    if score.null_recognised is not None and score.answerable_f1 is not None:
        parts.append(
            f"at threshold {score.threshold:.2g} F1 {100 * score.answerable_f1:.1f} and"
            f" {score.null_recognised:.0%} of the unanswerable recognised"
        )
    return " ".join(parts).rstrip(";")
