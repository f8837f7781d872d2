"""Question records + index → a tuned adapter: a certificate before, a verdict after, figures for both readers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from rag_ft.answering.confidence import threshold_record
from rag_ft.answering.config import MAX_ANSWER_TOKENS
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import Mode
from rag_ft.environment import library_versions
from rag_ft.errors import TrainingError, first_line
from rag_ft.files import disk_full, full_disk_as, is_disk_full, require_space, write_atomic
from rag_ft.models import compute
from rag_ft.models.adapter_record import adapter_record, documents_trained_on
from rag_ft.models.adapter_slots import AdapterSlots
from rag_ft.models.loading import LoadedModel
from rag_ft.models.weights import DEFAULT, weights_identity
from rag_ft.questions.split import Split
from rag_ft.schema import FINGERPRINT, Question
from rag_ft.training.card import model_card
from rag_ft.training.data.certificate import Certificate, fingerprint_examples
from rag_ft.training.data.examples import ExampleConfig
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
    is_run,
)
from rag_ft.training.lora import LoraPlan, LoraSettings
from rag_ft.training.overfitting import Verdict, judge, probe_memory
from rag_ft.training.prepare import RUN, Prepared, make_folder, preflight
from rag_ft.training.saving import PACKAGES, draw_curves, save_adapter, step_of
from rag_ft.training.scoring import ReaderScore, score_reader
from rag_ft.training.start import Start, read_start
from rag_ft.training.steps import setup, trainer
from rag_ft.training.steps.config import TrainConfig

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

_COPIES = 12
"""Adapters in 32 bits that a run has on disk at most: three checkpoints with two moments each, the best, the last, and
what is being written."""


_SPARE_BYTES = 64 * 1024 * 1024


_DEFAULT_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class TrainedAdapter:
    """What a run made."""

    path: Path
    certificate: Certificate
    plan: LoraPlan
    verdict: Verdict
    untuned: ReaderScore | None
    tuned: ReaderScore


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
    model = setup.adapt(loaded, lora, training, start=None if start is None else start.weights)
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
    setup.load_adapter(model, run.work / BEST)
    record = run.record(history)
    run.save(record, BEST)  # before anything else is done with it
    kept, tuned = run.better(model)
    with compute.autocasting(model):
        memory = probe_memory(run.reader_of(model, mode="schema"), ready.train.examples)
    step = step_of(run.work / kept)
    verdict = judge(history, memory, step)
    scores["tuned"] = tuned
    if kept == LAST:
        tell(
            f"kept            step {step}, the last: it answers better than step {verdict.best_step} of the lowest loss"
        )
    record["kept_step"] = step
    if setup.main_process():
        with full_disk_as(TrainingError, run.work, _TRAINED):
            draw_curves(history, step, run.work / CURVES)
    record["verdict"] = verdict.model_dump(mode="json")
    if tuned.weighed:
        record["threshold"] = threshold_record(tuned.threshold, examples.reading, tuned.platt)
    record["results"] = {name: one.model_dump(mode="json") for name, one in scores.items()}
    run.save(record, kept)
    if setup.main_process():
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
        weights, plan = self.loaded.weights, self.loaded.plan
        slots = AdapterSlots(model.eval(), weights, None)
        tuned = LoadedModel(model, self.loaded.tokenizer, weights, plan, None, shared=slots)
        return Reader(tuned, mode=mode, reading=self.examples.reading, shots=False, passage_cache_mb=0)

    def claim_folder(self) -> None:
        """A folder with an unfinished run of other data or settings is not gone on from. Raises TrainingError."""
        if not setup.main_process():
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
                setup.load_adapter(model, self.work / name)
                found[name] = score_reader(self.reader_of(model), self.ready.held_out_questions, self.index)
        kept = max(found, key=lambda name: found[name].worth)  # the first of equal ones
        setup.load_adapter(model, self.work / kept)
        return kept, found[kept]

    def save(self, record: dict[str, Any], kept: str) -> None:
        """The adapter of a step that was kept, with its record and its card."""
        if not setup.main_process():
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
