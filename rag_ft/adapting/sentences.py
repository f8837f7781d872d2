"""Records whose answers are whole sentences: the cross-encoder chooses those, so it is what an adaptation tunes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.adapting.plan import AdaptPlan, Training, Tuned, question_seconds, training_split
from rag_ft.adapting.sides import Sides
from rag_ft.checksums import sha256_of
from rag_ft.models.adapter_record import ADAPTER_RECORD, adapter_record
from rag_ft.models.folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CROSS_ENCODER_FOLDER,
    CROSS_ENCODER_WEIGHTS,
)
from rag_ft.models.weights import resolve_adapter
from rag_ft.progress import OnProgress
from rag_ft.questions.split import Split
from rag_ft.schema import Question
from rag_ft.training.cross_encoder.config import CrossEncoderConfig
from rag_ft.training.cross_encoder.run import train_cross_encoder

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

SENTENCE_WEIGHTS = f"{CROSS_ENCODER_FOLDER}/{CROSS_ENCODER_WEIGHTS}"
"""The weights of a cross-encoder that was tuned beside an adapter, in the adapter's folder."""

FEWEST_WORDS = 20
"""Records of words from which on the reader is tuned, where more of the others have whole sentences."""

_ASKED = 8
_STEP_COST = 3.0
"""Seconds of a training step per second of a forward pass."""
_CHOOSING_COST = 2 * 6
"""Forward passes of five passages per question to choose on: ten passages, at six states."""
_JUDGED_TWICE = 5.0
"""Seconds of judging per second of one reader: three under an adapter, and a prompt with worked examples."""
_MOST_EPOCHS = 3.0


def what_to_tune(sides: Sides, training: Training) -> Tuned | None:
    """Which model has something to learn from these records; None where neither has."""
    words = [sum(record.answerable for record in side) for side in training_split(sides, training)]
    parts = [sum(_is_part(record) for record in side) for side in (sides.train, sides.choose)]
    leaves_sentences = adapter_record(training.start.weights).get("whole_sentences") is True
    if all(parts) and leaves_sentences and words[0] < min(FEWEST_WORDS, parts[0]):
        return "cross-encoder"
    return "reader" if all(words) else None


def sentence_split(sides: Sides) -> Split:
    """All records of both sides: a cross-encoder learns from words, too, and that unanswerable questions have none."""
    return Split(sides.train, sides.choose)


def sentence_plan(sides: Sides, index: Index, training: Training, minutes: float, spent: float) -> AdaptPlan:
    """Measure this machine, and say what tuning the cross-encoder takes; as many passes as fit into the time left."""
    answer = question_seconds(training, [record.question for record in sides.choose], index)
    forward = _forward_seconds(sides.choose, index)
    judge = len(sides.judge)
    judging = (judge + len(sides.choose)) * answer * _JUDGED_TWICE
    choosing = len(sides.choose) * forward * _CHOOSING_COST
    one_pass = max(len(sides.train) * forward * _STEP_COST, 1e-9)
    left = max(0.0, 60 * minutes - spent)
    epochs = min(_MOST_EPOCHS, max(1.0, int((left - judging - choosing) / one_pass)))
    taken = epochs * one_pass + choosing
    zero = AdaptPlan.nothing("", minutes)
    return zero.model_copy(
        update={
            "tunes": "cross-encoder",
            "train": len(sides.train),
            "choose": len(sides.choose),
            "judge": judge,
            "judged_documents": len(sides.judged_documents),
            "epochs": epochs,
            "train_seconds": round(taken, 1),
            "judge_seconds": round(judging, 1),
            "question_seconds": round(answer, 3),
            "over": taken + judging > left + 1,
        }
    )


def train_sentences(
    sides: Sides, index: Index, start: Path, output: Path, plan: AdaptPlan, seed: int, on_progress: OnProgress | None
) -> dict[str, Any]:
    """Tune the packaged cross-encoder, beside a copy of the adapter to start from; what the stage keeps of it."""
    output.mkdir(parents=True, exist_ok=True)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_RECORD, "README.md"):
        if (start / name).is_file():
            shutil.copyfile(start / name, output / name)
    trained = train_cross_encoder(
        [*sides.train, *sides.choose],
        index,
        output / CROSS_ENCODER_FOLDER,
        split=sentence_split(sides),
        config=CrossEncoderConfig(epochs=plan.epochs, seed=seed),
        on_progress=on_progress,
    )
    before = [] if trained.start is None else [f"before, on the records to choose by: {trained.start.figures()}"]
    after = f"after {trained.kept_step} steps: {trained.tuned.figures()}"
    if not trained.kept_step:
        after = "no step made it better on those, so the one that it started from is kept"
    return {
        "weights": sha256_of(output / SENTENCE_WEIGHTS),
        "threshold": adapter_record(resolve_adapter(output)).get("threshold"),
        "verdict": [*before, after],
    }


def _is_part(record: Question) -> bool:
    return record.answerable and record.kind == "part"


def _forward_seconds(records: Sequence[Question], index: Index) -> float:
    """Seconds for five passages of a question, measured on some."""
    from rag_ft.models.cross_encoder import CrossEncoder

    scorer = CrossEncoder.from_pretrained()
    questions = [record.question for record in records[:_ASKED]]
    found = index.as_retriever(k=CrossEncoderConfig().passages).retrieve_batch(questions)
    passages = [[hit.passage for hit in hits] for hits in found]
    scorer.score(questions[0], passages[0])  # the first one sets things up
    begin = time.perf_counter()
    for question, read in zip(questions, passages, strict=True):
        scorer.score(question, read)
    return (time.perf_counter() - begin) / len(questions)
