"""Question records + index → a tuned adapter: a certificate before, a verdict after, figures for both readers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from rag_ft.dataset import read_questions
from rag_ft.errors import TrainingError
from rag_ft.evaluation.answer_metrics import token_f1
from rag_ft.model import LoadedModel
from rag_ft.prompt import PromptBuilder, reader_budget
from rag_ft.reader import MAX_ANSWER_TOKENS, MAX_PROMPT_TOKENS, Reader, ReadRequest
from rag_ft.schema import Question
from rag_ft.training import trainer
from rag_ft.training.collator import Encoded, Row, encode, pack
from rag_ft.training.examples import ExampleConfig, ExampleSet, Split, make_examples, split_by_document
from rag_ft.training.lora import LoraPlan, LoraSettings, model_plan
from rag_ft.training.overfitting import Verdict, judge, probe_memory
from rag_ft.training.preflight import Certificate, certify, fingerprint_examples
from rag_ft.training.saving import (
    clear_checkpoints,
    draw_curves,
    model_card,
    package_versions,
    save_adapter,
    write_text,
)
from rag_ft.training.trainer import TrainConfig
from rag_ft.weights import DEFAULT, weights_identity

if TYPE_CHECKING:
    from rag_ft.index import Index

RUN = "training"
"""Folder inside the adapter's with what the run left: curves, measurements, the certificate."""

_DEFAULT_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_MOST_ASKED = 200
"""Held-out questions that the figures and the threshold come from."""


class ReaderScore(BaseModel):
    """A reader on held-out questions with retrieved passages."""

    model_config = ConfigDict(frozen=True)

    questions: int
    answerable: int
    must_answer_f1: float | None
    """Token F1 over answerable questions when null is not allowed."""
    answerable_f1: float | None
    """The same at the threshold."""
    null_recognised: float | None
    """Share of unanswerable questions that get null at the threshold."""
    threshold: float


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

    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    split = split or split_by_document(records, examples.held_out, examples.seed)
    train = make_examples(split.train, index, examples)
    held_out = make_examples(split.held_out, index, examples)
    prompts = PromptBuilder(loaded.tokenizer, shots=False)
    budget = reader_budget(prompts, window_of(loaded.model), max_prompt_tokens, max_answer_tokens)
    encoded = encode(train.examples, prompts, budget)
    shared = getattr(loaded.model.config, "_attn_implementation", "sdpa") in ("sdpa", "eager")
    rows = pack(encoded, training.row_tokens, training.seed, shared=shared)
    held_out_rows = pack(encode(held_out.examples, prompts, budget), training.row_tokens, training.seed, shared=shared)
    certificate = certify(train, held_out, encoded, rows, prompts)
    return Prepared(certificate, train, held_out, split.held_out, encoded, rows, held_out_rows, prompts, shared)


def train_reader(
    questions: str | Path | Sequence[Question],
    index: Index,
    output: str | Path,
    *,
    reader: str = DEFAULT,
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
    equal arguments. `split`: records to train on and to hold out, instead of a split of `questions`. `compare`:
    measure the untuned reader on the held-out questions too. Raises TrainingError where
    the certificate has a red line or the run fails, DatasetError, UsageError, WeightsError.
    """
    output = Path(output)
    examples, lora, training = examples or ExampleConfig(), lora or LoraSettings(), training or TrainConfig()
    tell = say or (lambda line: None)
    loaded = trainer.load_base(reader, training)
    plan = model_plan(loaded.model, lora)
    for line in plan_lines(plan, training):
        tell(line)
    ready = prepare(questions, index, loaded, examples, training, split=split, max_answer_tokens=max_answer_tokens)
    for line in ready.certificate.lines():
        tell(line)
    if not ready.shared:
        tell("sequences       one for each example: this model's attention takes no mask of ours")
    if ready.certificate.red:
        raise TrainingError(f"the run does not start: {ready.certificate.red[0]}")
    work = output / RUN
    _same_run(work, ready, lora, training, loaded)
    untuned = None
    if compare:
        untuned = score_reader(Reader(loaded, reading=examples.reading), ready.held_out_questions, index)
        tell(_score_line("untuned", untuned))
    model = trainer.adapt(loaded, lora, training)
    history = trainer.run(
        model,
        loaded.tokenizer,
        ready.rows,
        ready.held_out_rows,
        training,
        work,
        on_progress=on_progress,
    )
    return finish(
        output,
        ready,
        loaded,
        model,
        history,
        index,
        reader,
        examples,
        lora,
        plan,
        training,
        untuned,
        licence,
        data_note,
        tell,
    )


def finish(
    output: Path,
    ready: Prepared,
    loaded: LoadedModel,
    model: Any,
    history: list[dict[str, float]],
    index: Index,
    reader: str,
    examples: ExampleConfig,
    lora: LoraSettings,
    plan: LoraPlan,
    training: TrainConfig,
    untuned: ReaderScore | None,
    licence: str,
    data_note: str,
    tell: Callable[[str], None],
) -> TrainedAdapter:
    """What follows the last step: the adapter is written first, then looked into, measured and described."""
    work = output / RUN
    base = {
        "name": reader if reader != DEFAULT else loaded.weights.name,
        "identity": weights_identity(loaded.weights),
        "bits": training.bits,
    }
    _load_best(model, work / trainer.BEST)
    record: dict[str, Any] = {
        "prompt_fingerprint": ready.prompts.fingerprint,
        "shots": False,
        "base_model": base,
        "data": {
            "fingerprint": fingerprint_examples(ready.train),
            "index": index.fingerprint,
            "train_questions": ready.train.questions,
            "held_out_questions": ready.held_out.questions,
            "train_documents": len(ready.train.documents),
            "held_out_documents": len(ready.held_out.documents),
            "held_out": sorted(ready.held_out.documents),
            "documents": sorted(ready.train.documents),
        },
        "examples": examples.model_dump(mode="json"),
        "lora": {**lora.model_dump(mode="json"), "alpha": lora.effective_alpha, "scale": lora.scale},
        "training": training.model_dump(mode="json"),
        "certificate": ready.certificate.model_dump(mode="json"),
        "versions": package_versions(),
        "history": history[:: max(1, len(history) // 200)],
        "verdict": judge(history).model_dump(mode="json"),
        "results": {},
    }
    base_name = _DEFAULT_HUB_ID if reader == DEFAULT else loaded.weights.name
    # Before anything else is done with it.
    save_adapter(work / trainer.BEST, output, record, model_card(record, base_name, licence, data_note), base_name)
    tuned_model = LoadedModel(model.eval(), loaded.tokenizer, loaded.weights, loaded.plan, None)
    memory = probe_memory(Reader(tuned_model, mode="schema", shots=False), ready.train.examples)
    verdict = judge(history, memory)
    tuned = score_reader(Reader(tuned_model, reading=examples.reading, shots=False), ready.held_out_questions, index)
    draw_curves(history, verdict.best_step, work / "curves.png")
    record["verdict"] = verdict.model_dump(mode="json")
    record["threshold"] = {"value": tuned.threshold, "mode": "quote", "reading": examples.reading}
    scores = {"untuned": untuned, "tuned": tuned}
    record["results"] = {name: one.model_dump(mode="json") for name, one in scores.items() if one is not None}
    save_adapter(work / trainer.BEST, output, record, model_card(record, base_name, licence, data_note), base_name)
    clear_checkpoints(work / trainer.CHECKPOINTS)
    for line in [*verdict.lines(), _score_line("tuned", tuned)]:
        tell(line)
    return TrainedAdapter(output, ready.certificate, plan, verdict, untuned, tuned)


def plan_lines(plan: LoraPlan, training: TrainConfig) -> list[str]:
    """The plan of a run as a person reads it."""
    lora = plan.settings
    held = {4: "4-bit NF4 (QLoRA)", 16: "16 bits", 32: "32 bits"}[training.bits]
    return [
        f"adapter         rank {lora.rank} on {', '.join(sorted({one.name for one in plan.projections}))}",
        f"                {plan.trainable:,} parameters ({plan.share:.2%} of the model),"
        f" {plan.adapter_bytes() / 1e6:.1f} MB on disk; {lora.scale_note()}",
        f"base model      {plan.base_parameters:,} parameters, frozen, {held}",
    ]


def _same_run(work: Path, ready: Prepared, lora: LoraSettings, training: TrainConfig, loaded: LoadedModel) -> None:
    """A folder with checkpoints of a run with other data or settings is not gone on from. Raises TrainingError."""
    identity = {
        "examples": fingerprint_examples(ready.train),
        "prompt": ready.prompts.fingerprint,
        "base": weights_identity(loaded.weights),
        "lora": lora.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
    }
    path = work / "run.json"
    if path.is_file() and (work / trainer.CHECKPOINTS).is_dir():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name in identity if before.get(name) != identity[name])
        if changed:
            raise TrainingError(
                f"{work} holds checkpoints of a run with other {', '.join(changed)}: remove the folder to start anew,"
                " or give the former settings to go on"
            )
    elif work.is_dir():
        import shutil

        shutil.rmtree(work)  # left by a finished run
    work.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(identity, indent=1) + "\n")
    write_text(work / "certificate.json", ready.certificate.model_dump_json(indent=1) + "\n")


def _load_best(model: Any, folder: Path) -> None:
    """Put the adapter of the best step into the model."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))


def score_reader(reader: Reader, questions: Sequence[Question], index: Index, k: int = 3) -> ReaderScore:
    """Token F1 and null on questions with retrieved passages, at the threshold that serves both best here."""
    chosen = list(questions)[:: max(1, len(questions) // _MOST_ASKED)]
    found = index.as_retriever(k=k).retrieve_batch([one.question for one in chosen])
    before, reader.threshold = reader.threshold, 0.0
    try:
        readings = reader.read_batch(
            [
                ReadRequest(one.question, tuple(hit.passage for hit in hits))
                for one, hits in zip(chosen, found, strict=True)
            ]
        )
    finally:
        reader.threshold = before
    answered = [
        (one.answer_confidence, token_f1(one.answer, question.answers))
        for one, question in zip(readings, chosen, strict=True)
        if question.answerable
    ]
    null = [one.answer_confidence for one, question in zip(readings, chosen, strict=True) if not question.answerable]
    threshold = best_threshold(answered, null)
    return ReaderScore(
        questions=len(chosen),
        answerable=len(answered),
        must_answer_f1=_mean([f1 for _, f1 in answered]),
        answerable_f1=_mean([f1 if confidence >= threshold else 0.0 for confidence, f1 in answered]),
        null_recognised=_mean([float(confidence < threshold) for confidence in null]),
        threshold=threshold,
    )


def best_threshold(answered: Sequence[tuple[float, float]], null: Sequence[float]) -> float:
    """The confidence under which an answer should become null: where the harmonic mean of answerable F1 and
    the share of unanswerable questions recognised is highest, so that neither is given up for the other; the lowest
    such one. 0 where nothing is unanswerable.

    `answered`: confidence and F1 of each answerable question; `null`: confidence of each unanswerable one.
    """
    if not null or not answered:
        return 0.0
    values = sorted({0.0, 1.0, *(confidence for confidence, _ in answered), *null})
    # Between two observed confidences: a threshold on one of them would hang on its last digit.
    candidates = [0.0, *((low + high) / 2 for low, high in pairwise(values))]

    def worth(threshold: float) -> float:
        f1 = sum(one for confidence, one in answered if confidence >= threshold) / len(answered)
        recognised = sum(confidence < threshold for confidence in null) / len(null)
        return 2 * f1 * recognised / (f1 + recognised) if f1 and recognised else 0.0

    return max(candidates, key=lambda one: (worth(one), -one))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


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
