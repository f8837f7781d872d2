"""Question records and an index in, a tuned adapter out: certificate, training, choice of the adapter, verdict."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import BaseModel
from safetensors import SafetensorError

from rag_ft.answering.confidence import threshold_record
from rag_ft.answering.config import MAX_ANSWER_TOKENS
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import Mode
from rag_ft.environment import library_versions, main_process
from rag_ft.errors import TrainingError, first_line
from rag_ft.files import disk_full, full_disk_as, is_disk_full, require_space, write_atomic
from rag_ft.models import compute
from rag_ft.models.adapter_record import adapter_record, documents_trained_on
from rag_ft.models.adapter_slots import AdapterSlots
from rag_ft.models.cross_encoder import CrossEncoder
from rag_ft.models.loading import LoadedModel, load_model
from rag_ft.models.weights import DEFAULT, weights_identity
from rag_ft.progress import OnProgress
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
    RUN_FOLDER,
    RUN_RECORD,
    checkpoints_of,
    clear_checkpoints,
    clear_run,
    is_run,
    make_run_folder,
)
from rag_ft.training.lora import AdapterConfig, LoraPlan
from rag_ft.training.overfitting import Diagnosis, diagnose, probe_memory
from rag_ft.training.prepare import Preflight, RunConfig, preflight
from rag_ft.training.saving import PACKAGES, draw_curves, save_adapter, step_of
from rag_ft.training.scoring import ReaderScore, score_reader
from rag_ft.training.start import read_start
from rag_ft.training.steps import setup, trainer
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.fsdp import fsdp_hidden, is_sharded
from rag_ft.training.steps.processes import from_main, told_of_lost_processes

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)

_COPIES = 12
"""Adapters in 32 bits that a run has on disk at most: three checkpoints with two moments each, the best, the last, and
the one being written."""

_SPARE_BYTES = 64 * 1024 * 1024

_DEFAULT_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"

_TRAINED = "the trained adapters are kept, and only their measurement and the last write are repeated"


@dataclass(frozen=True)
class TrainedAdapter:
    """The result of a run."""

    path: Path
    certificate: Certificate
    plan: LoraPlan
    verdict: Diagnosis
    untuned: ReaderScore | None
    tuned: ReaderScore


class RunOptions(TypedDict, total=False):
    """Keywords of `train_reader` that decide the adapter, for functions that pass them on."""

    reader: str
    start_from: str | Path | None
    lora: AdapterConfig | None
    training: TrainConfig | None
    licence: str
    data_note: str
    max_answer_tokens: int


def train_reader(
    questions: str | Path | Sequence[Question],
    index: Index,
    output: str | Path,
    *,
    reader: str = DEFAULT,
    start_from: str | Path | None = None,
    examples: ExampleConfig | None = None,
    lora: AdapterConfig | None = None,
    training: TrainConfig | None = None,
    split: Split | None = None,
    compare: bool = True,
    licence: str = "other",
    data_note: str = "The question records and documents of whoever trained it.",
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
    on_progress: OnProgress | None = None,
) -> TrainedAdapter:
    """Tune a reader on question records about the documents of an index; the adapter is written to `output`.

    Prints nothing: the plan, the certificate, the verdict and the figures are logged line by line as they come (logger
    `rag_ft`, level INFO), and `on_progress` gets every measurement. Called again with equal arguments, an interrupted
    run resumes from its newest checkpoint. Under `torchrun` or `accelerate launch`, the processes share the work of
    every step; the first one answers the held-out questions, reports and writes. `start_from`: an adapter's folder, or
    "packaged", to continue training instead of starting a new adapter; its shape is kept (`lora` then only sets
    dropout), and `training.bits` must match. `split`: records to train on and to hold out, instead of a split of
    `questions`. `compare`: also measure the untuned reader, or the adapter to start from, on the held-out questions.
    Raises TrainingError if the certificate has a red line or the run fails, DatasetError, UsageError, WeightsError.
    """
    output = Path(output)
    start = None if start_from is None else read_start(start_from)
    config = RunConfig(reader, start, examples or ExampleConfig(), lora, training or TrainConfig(), max_answer_tokens)
    checked = preflight(questions, index, output, config, split=split)
    if checked.ready.certificate.red:
        raise TrainingError(f"the run does not start: {checked.ready.certificate.red[0]}")
    run = _Run(output, index, config, checked, licence, data_note)
    run.claim_folder()
    model = run.adapted_model(compare=compare)
    history = trainer.train_rows(
        model,
        checked.loaded.tokenizer,
        checked.ready.rows,
        checked.ready.held_out_rows,
        config.training,
        run.work,
        shared=checked.ready.shared,
        on_progress=on_progress,
    )
    verdict = run.finish_for_all(model, history)
    return TrainedAdapter(
        output, checked.ready.certificate, checked.plan, verdict, run.scores.get("untuned"), run.scores["tuned"]
    )


class _Finished(BaseModel):
    """What the first process of a run tells the others in the end."""

    verdict: Diagnosis
    scores: dict[str, ReaderScore]


@dataclass(frozen=True)
class _Run:
    """One run between its preflight and its result: what it measures, decides and writes."""

    output: Path
    index: Index
    config: RunConfig
    checked: Preflight
    licence: str
    data_note: str
    scores: dict[str, ReaderScore] = field(default_factory=dict)
    """Name of a reader → its figures on the held-out questions, as they are measured."""

    @property
    def work(self) -> Path:
        """Folder beside the adapter with curves, measurements and checkpoints."""
        return self.output / RUN_FOLDER

    @property
    def base_name(self) -> str:
        """The base model's hub id, or its folder's name."""
        return _DEFAULT_HUB_ID if self.config.reader == DEFAULT else self.checked.loaded.weights.name

    def reader_of(self, model: Any, mode: Mode = "quote") -> Reader:
        """A reader with the adapter as it is in the model now, set up as users will ask it."""
        loaded = self.checked.loaded
        slots = AdapterSlots(model.eval(), loaded.weights, None)
        tuned = LoadedModel(loaded.tokenizer, loaded.weights, loaded.plan, None, shared=slots)
        return Reader(
            tuned,
            mode=mode,
            reading=self.config.examples.reading,
            shots=False,
            passage_cache_mb=0,
            whole_sentences=False,
            cross_encoder=self.reranker if mode == "quote" else None,
        )

    @cached_property
    def reranker(self) -> CrossEncoder | None:
        """What puts passages in order for such a reader where users ask it, and helps to choose spans.

        None for one that is tuned on parts.
        """
        return None if self._tunes_parts else CrossEncoder.from_pretrained()

    @property
    def _tunes_parts(self) -> bool:
        return any(example.leads for example in self.checked.ready.train.examples)

    def claim_folder(self) -> None:
        """Make the run's folder and write its record.

        Raises TrainingError if the folder holds an unfinished run of other settings, or the disk has too little space.
        """
        with full_disk_as(TrainingError, self.output, "nothing was trained yet"):
            if main_process():
                self._write_identity()
            space = _COPIES * self.checked.plan.adapter_bytes(32) + _SPARE_BYTES
            require_space(self.output, space, error=TrainingError)

    def _write_identity(self) -> None:
        make_run_folder(self.output, "adapter")
        ready, start = self.checked.ready, self.config.start
        identity = {
            "examples": fingerprint_examples(ready.train),
            "prompt": ready.prompts.fingerprint,
            "base": weights_identity(self.checked.loaded.weights),
            "start": None if start is None else start.weights.fingerprint,
            "lora": self.checked.lora.model_dump(mode="json"),
            "training": self.config.training.model_dump(mode="json"),
        }
        path = self.work / RUN_RECORD
        if is_run(self.work):
            if checkpoints_of(self.work) or (self.work / END).is_file():
                before = json.loads(path.read_text(encoding="utf-8"))
                changed = sorted(name for name in identity if before.get(name) != identity[name])
                if changed:
                    raise TrainingError(
                        f"{self.work} holds checkpoints of a run with other {', '.join(changed)}: remove the folder to"
                        " start from the beginning, or give the former settings to resume"
                    )
            else:
                clear_run(self.work)  # left by a finished run, or by one without a checkpoint
        self.work.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(identity, indent=1) + "\n")
        write_atomic(self.work / CERTIFICATE, ready.certificate.model_dump_json(indent=1) + "\n")

    def adapted_model(self, *, compare: bool) -> Any:
        """The base model with the adapter to train; with `compare`, the reader is measured before and with it."""
        loaded, start = self.checked.loaded, self.config.start
        if compare:
            self._measure("untuned", self._untuned)
        weights = None if start is None else start.weights
        model = setup.adapt(loaded, self.checked.lora, self.config.training, start=weights)
        if compare and start is not None:
            self._measure("start", lambda: self.reader_of(model))
        return model

    def _untuned(self) -> Reader:
        return Reader(
            self.checked.loaded,
            reading=self.config.examples.reading,
            passage_cache_mb=0,
            whole_sentences=False,
            cross_encoder=self.reranker,
        )

    def _measure(self, name: str, make_reader: Callable[[], Reader]) -> None:
        if not main_process():  # the others need no reader, nor its cross-encoder
            return
        held_out = self.checked.ready.held_out_questions
        self.scores[name] = score_reader(make_reader(), held_out, self.index, self.reranker)
        logger.info("%s", _score_line(name, self.scores[name]))

    @told_of_lost_processes()
    def finish_for_all(self, model: Any, history: Sequence[dict[str, float]]) -> Diagnosis:
        """Have the first process finish the run, and take its verdict and figures in the others."""
        given = None
        if main_process():
            verdict = self.finish(self.whole(model), history)
            given = _Finished(verdict=verdict, scores=self.scores).model_dump_json()
        finished = _Finished.model_validate_json(from_main(given) or "")
        self.scores.update(finished.scores)
        return finished.verdict

    def whole(self, model: Any) -> Any:
        """The trained model, or a copy of it where its base is spread over processes that do not take part in asking.

        The copy is loaded where the base was loaded first, and has an adapter of the same shape.
        """
        if not is_sharded(model):
            return model
        with fsdp_hidden():
            loaded = load_model(self.config.reader, plan=self.checked.loaded.plan)
        return setup.adapt(loaded, self.checked.lora, self.config.training)

    def finish(self, model: Any, history: Sequence[dict[str, float]]) -> Diagnosis:
        """Choose the better of the trained adapters, diagnose the run, and write the adapter; `model` then holds it."""
        setup.load_adapter(model, self.work / BEST)
        record = self.record(history)
        self.save(record, BEST)  # before anything else, so a later failure loses nothing
        kept, tuned = self.better(model)
        self.scores["tuned"] = tuned
        with compute.autocasting(model):
            memory = probe_memory(self.reader_of(model, mode="schema"), self.checked.ready.train.examples)
        step = step_of(self.work / kept)
        verdict = diagnose(history, memory, step)
        if kept == LAST:
            logger.info(
                "kept            step %s, the last: it answers better than step %s, which has the lowest held-out loss",
                step,
                verdict.best_step,
            )
        with full_disk_as(TrainingError, self.work, _TRAINED):
            draw_curves(history, step, self.work / CURVES)
        record["kept_step"] = step
        record["verdict"] = verdict.model_dump(mode="json")
        if tuned.weighed:
            record["threshold"] = threshold_record(
                tuned.threshold, self.config.examples.reading, tuned.platt, tuned.kinds
            )
        record["results"] = {name: score.model_dump(mode="json") for name, score in self.scores.items()}
        self.save(record, kept)
        clear_checkpoints(self.work)
        (self.work / END).unlink(missing_ok=True)  # last: until then, the same command only measures again
        for line in [*verdict.lines(), _score_line("tuned", tuned)]:
            logger.info("%s", line)
        if not tuned.weighed:
            logger.info(
                "threshold       not chosen: no held-out question is unanswerable, or no answer was right. Until"
                " 'rag-ft adapter calibrate' chooses one, an answer must outscore null"
            )
        return verdict

    def record(self, history: Sequence[dict[str, float]]) -> dict[str, Any]:
        """What the adapter was made from and how; its figures are added once it is measured."""
        ready, lora, weights = self.checked.ready, self.checked.lora, self.checked.loaded.weights
        train, held_out = ready.train, ready.held_out
        start, training = self.config.start, self.config.training
        # What the adapter learned before this run is not forgotten: the weights may still recite it.
        before = adapter_record(start.weights) if start is not None else {}
        return {
            "prompt_fingerprint": ready.prompts.fingerprint,
            "shots": False,
            "kinds": sorted({"part" if example.leads else "span" for example in ready.train.examples}),
            # Tuned on the words of a sentence, it leaves how and why to the cross-encoder, as the packaged one does.
            "whole_sentences": not self._tunes_parts,
            "licence": self.licence,
            "data_note": self.data_note,
            "base_model": {
                "name": self.config.reader if self.config.reader != DEFAULT else weights.name,
                "identity": weights_identity(weights),
                "bits": training.bits,
            },
            "started_from": None
            if start is None
            else {"name": start.weights.name, "fingerprint": start.weights.fingerprint},
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
            "examples": self.config.examples.model_dump(mode="json"),
            "lora": {**lora.model_dump(mode="json"), "alpha": lora.effective_alpha, "scale": lora.scale},
            "training": training.model_dump(mode="json"),
            "certificate": ready.certificate.model_dump(mode="json"),
            "versions": library_versions(PACKAGES),
            "history": _thinned(history),
            "verdict": diagnose(history).model_dump(mode="json"),
            "results": {},
        }

    def _fingerprints(self, documents: frozenset[str]) -> list[str]:
        """Fingerprints that let an evaluation recognise training documents even if they are renamed."""
        indexed = set(self.index.documents())
        return sorted({self.index.document_fingerprint(name)[:FINGERPRINT] for name in documents & indexed})

    def better(self, model: Any) -> tuple[str, ReaderScore]:
        """The kept adapter that answers the held-out questions better, loaded into the model, and its score.

        The loss counts every token against all its rivals; answers depend on the likeliest alone. So the step with the
        lowest loss need not give the best answers.
        """
        scores: dict[str, ReaderScore] = {}
        for name in (BEST, LAST):
            if (self.work / name).is_dir():
                setup.load_adapter(model, self.work / name)
                questions = self.checked.ready.held_out_questions
                scores[name] = score_reader(self.reader_of(model), questions, self.index, self.reranker)
        kept = max(scores, key=lambda name: scores[name].worth)  # the first of equal ones
        setup.load_adapter(model, self.work / kept)
        return kept, scores[kept]

    def save(self, record: dict[str, Any], kept: str) -> None:
        """Write a kept adapter to the output folder with its record and its card. Raises TrainingError."""
        card = model_card(record, self.base_name)
        try:
            save_adapter(self.work / kept, self.output, record, card, self.base_name)
        except (OSError, SafetensorError) as error:
            if is_disk_full(error):
                raise TrainingError(disk_full(self.output, _TRAINED)) from error
            reason = first_line(error)
            raise TrainingError(
                f"the adapter could not be written to {self.output} ({reason}): free some space and run the same"
                " command, which resumes from the newest whole checkpoint"
            ) from error


def _thinned(history: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Every held-out measurement, and about 200 of the others."""
    every = max(1, len(history) // 200)
    return [measurement for i, measurement in enumerate(history) if "eval_loss" in measurement or i % every == 0]


def _score_line(name: str, score: ReaderScore) -> str:
    return f"{name:<15} {score.questions} held-out questions with 3 retrieved passages: {score.figures()}"
