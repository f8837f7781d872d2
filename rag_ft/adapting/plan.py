"""What an adaptation will do and take: who is trained on what, for how long, measured on this machine beforehand."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict

from rag_ft.adapting.sides import Sides
from rag_ft.adapting.stages import seconds_in_words
from rag_ft.questions.split import Split
from rag_ft.schema import Question
from rag_ft.training.data.examples import ExampleConfig
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.prepare import RunConfig, preflight
from rag_ft.training.scoring import MAX_HELD_OUT, retrieved_requests
from rag_ft.training.start import StartAdapter
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.probe import tokens_per_second

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)

_PROBE_SECONDS = 8.0
_PROBE_QUESTIONS = 8
_MOST_EPOCHS = 3.0
_FEWEST_EPOCHS = 1.0
_FEWEST_RECORDS = 40
"""Records that are trained on however little time there is."""
_MOST_JUDGED = 400
"""More questions would narrow the interval by little."""
_JUDGING_SHARE = 0.5
"""Maximum share of the time left that judging may take."""
_ARMS = 3
"""Readers under an adapter that are judged."""
_UNTUNED_COST = 2.0
"""Seconds of an untuned reader, whose prompt has worked examples, per second of a tuned one."""
_CHOSEN_ARMS = 1 + _UNTUNED_COST
"""What choosing thresholds costs per question, in seconds of a tuned reader."""
_KEPT_ADAPTERS = 2
"""Adapters of a run that are measured before one is kept."""
_EVALUATIONS = 10
_FORWARD_COST = 1 / 3
"""Seconds of a forward pass per second of a training step."""
_MARGIN = 1.15
"""Estimated times are multiplied by this: a machine has other things to do."""
_LABELLED_SHARE = 4
"""One token in this many is assumed to be labelled."""


Tuned: TypeAlias = Literal["reader", "cross-encoder"]

_SENTENCES = (
    "nearly all answers are whole sentences, which the cross-encoder chooses: it is tuned, and the reader left as it is"
)


class Speed(NamedTuple):
    """What this machine does in a second."""

    tokens: float
    """Tokens trained on."""
    question_seconds: float
    """Seconds per question that a tuned reader answers from three passages."""


class AdaptPlan(BaseModel):
    """What an adaptation will do, and about how long it will take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: int
    """Number of records to train on."""
    left_out: int
    """Number of records that could be trained on, and for which there is no time."""
    parts: int
    """Number of records that are judged only, because whole sentences are not the reader's to choose."""
    choose: int
    """Number of records that checkpoint and threshold are chosen on."""
    judge: int
    """Number of records that the readers are judged on."""
    judged_documents: int
    epochs: float
    epoch_tokens: int
    train_seconds: float
    judge_seconds: float
    tokens_per_second: float
    """Tokens that this machine trains on in a second."""
    question_seconds: float
    """Seconds per question that a tuned reader answers."""
    memory_bytes: int
    """Estimated peak of a training step: weights, adapter with its optimiser, activations."""
    minutes: float
    """The time that the whole was to stay within."""
    over: bool
    """Whether the least that makes sense will take longer than that."""
    too_few: str = ""
    """Why tuning cannot be judged on these records, so that nothing is trained; empty where it can."""
    tunes: Tuned = "reader"
    """Which of the two models that answer is tuned."""

    @classmethod
    def nothing(cls, reason: str, minutes: float) -> AdaptPlan:
        """The plan to train nothing."""
        zeros = {name: 0 for name in cls.model_fields if name not in ("minutes", "over", "too_few", "tunes")}
        return cls(**zeros, minutes=minutes, over=False, too_few=reason)

    def lines(self) -> list[str]:
        """The plan for people to read."""
        if self.too_few:
            return [f"nothing is trained, because tuning could not be judged. {self.too_few}"]
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs:g} epochs"
        tokens = f" of {self.epoch_tokens:,} tokens" if self.epoch_tokens else ""
        lines = [
            f"train on {self.train:,} records, {epochs}{tokens}: about {seconds_in_words(self.train_seconds)}",
            f"choose checkpoint and threshold on {self.choose:,} others, judge on {self.judge:,} more, about"
            f" {self.judged_documents:,} documents: about {seconds_in_words(self.judge_seconds)}",
        ]
        if self.tunes == "cross-encoder":
            lines.insert(0, _SENTENCES)
        else:
            lines.append(
                f"measured here: {self.tokens_per_second:,.0f} tokens trained per second, {self.question_seconds:.1f} s"
                f" per question; memory about {self.memory_bytes / 1e6:,.0f} MB"
            )
        if self.left_out:
            lines.append(
                f"{self.left_out:,} records are left out to stay within {self.minutes:g} minutes (--minutes gives more)"
            )
        if self.parts:
            lines.append(
                f"{self.parts:,} records whose answer is whole sentences are judged and not trained on: the"
                " cross-encoder chooses sentences, and tuning on words leaves that as it is"
            )
        if self.over:
            lines.append(f"{self.minutes:g} minutes are too few: this is the least that makes sense, and takes longer")
        return lines


class Training(NamedTuple):
    """Settings that the plan and the run share."""

    start: StartAdapter
    reader: str
    seed: int

    @property
    def examples(self) -> ExampleConfig:
        """How records become examples: read as the adapter to start from reads."""
        from rag_ft.models.adapter_record import adapter_record

        reading = adapter_record(self.start.weights).get("examples", {}).get("reading", "separate")
        return ExampleConfig(seed=self.seed, reading=reading)

    def steps(self, epochs: float) -> TrainConfig:
        """Settings of the training steps."""
        bits: Any = self.start.bits or 4
        return TrainConfig(epochs=epochs, bits=bits, seed=self.seed, evaluations=_EVALUATIONS)

    @property
    def knows_parts(self) -> bool:
        """Whether the adapter to start from answers with parts of passages itself."""
        from rag_ft.models.adapter_record import adapter_record

        return "part" in adapter_record(self.start.weights).get("kinds", ())


def trainable(records: Sequence[Question], training: Training) -> list[Question]:
    """The records to train on: those whose answer is words, unless the adapter to start from knows whole parts.

    An adapter that was tuned on words leaves how and why to the cross-encoder; a few records of parts would take that
    from it.
    """
    return [record for record in records if record.kind == "span" or training.knows_parts]


def training_split(sides: Sides, training: Training, plan: AdaptPlan | None = None) -> Split:
    """The records that a run trains on, and those that it chooses checkpoint and threshold on."""
    records = trainable(sides.train, training)
    train = records if plan is None else chosen_records(records, plan, training.seed)
    return Split(tuple(train), tuple(trainable(sides.choose, training)))


def make_plan(sides: Sides, index: Index, training: Training, output: Path, minutes: float, spent: float) -> AdaptPlan:
    """Measure this machine, and fit the run into what is left of `minutes` after `spent` seconds."""
    split = training_split(sides, training)
    checked = preflight(
        [],
        index,
        output,
        RunConfig(training.reader, training.start, training.examples, None, training.steps(_MOST_EPOCHS)),
        split=split,
    )
    ready = checked.ready
    tokens = sum(len(row.input_ids) for row in ready.rows)
    held_out_tokens = sum(len(row.input_ids) for row in ready.held_out_rows)
    speed = measure_speed(training, checked.lora, [record.question for record in sides.choose], index)
    size = checked.plan
    row_tokens = training.steps(1).row_tokens
    memory = size.weight_bytes(32) + size.optimiser_bytes()
    memory += size.activation_bytes(row_tokens, row_tokens // _LABELLED_SHARE, checkpointing=False)
    return fit(sides, len(split.train), tokens, held_out_tokens, speed, minutes, spent, memory)


def fit(
    sides: Sides,
    records: int,
    tokens: int,
    held_out_tokens: int,
    speed: Speed,
    minutes: float,
    spent: float,
    memory: int,
) -> AdaptPlan:
    """The plan that stays within the time: first the judging, which decides, then as many epochs as fit.

    `records`: how many could be trained on, which are `tokens` tokens. `spent`: seconds that are over.
    """
    left = max(0.0, 60 * minutes - spent) / _MARGIN
    answer = speed.question_seconds
    choosing = len(sides.choose) * answer * _CHOSEN_ARMS
    each = answer * (_ARMS + _UNTUNED_COST)
    affordable = int(max(0.0, _JUDGING_SHARE * left - choosing) / each)
    judge = min(len(sides.judge), _MOST_JUDGED, max(affordable, _FEWEST_SAMPLE))
    judging = choosing + judge * each
    keeping = _KEPT_ADAPTERS * min(len(sides.choose), MAX_HELD_OUT) * answer
    measuring = _EVALUATIONS * held_out_tokens * _FORWARD_COST / speed.tokens
    epoch = max(tokens / speed.tokens, 1e-9)
    epochs = (left - judging - keeping - measuring) / epoch
    train = records
    if epochs < _FEWEST_EPOCHS:
        train = min(records, max(_FEWEST_RECORDS, int(records * max(0.0, epochs))))
        epochs = _FEWEST_EPOCHS
    epochs = min(_MOST_EPOCHS, int(4 * epochs) / 4)
    training = epochs * epoch * train / max(records, 1) + keeping + measuring
    return AdaptPlan(
        train=train,
        left_out=records - train,
        parts=len(sides.train) - records,
        choose=len(sides.choose),
        judge=judge,
        judged_documents=len(sides.judged_documents),
        epochs=epochs,
        epoch_tokens=round(tokens * train / max(records, 1)),
        train_seconds=round(training * _MARGIN, 1),
        judge_seconds=round(judging * _MARGIN, 1),
        tokens_per_second=round(speed.tokens, 1),
        question_seconds=round(speed.question_seconds, 3),
        memory_bytes=memory,
        minutes=minutes,
        over=training + judging > left + 1,
    )


_FEWEST_SAMPLE = 40
"""Questions that are judged on however little time there is, if there are as many."""


def chosen_records(records: Sequence[Question], plan: AdaptPlan, seed: int) -> list[Question]:
    """The records that the plan trains on, in their order."""
    if plan.train >= len(records):
        return list(records)
    drawn = random.Random(f"adapt {seed}").sample(range(len(records)), plan.train)
    return [records[i] for i in sorted(drawn)]


def measure_speed(training: Training, lora: AdapterConfig, questions: Sequence[str], index: Index) -> Speed:
    """Train artificial rows for some seconds, and answer some questions."""
    steps = training.steps(1)
    tokens = tokens_per_second(training.reader, lora, steps.row_tokens, _PROBE_SECONDS, bits=steps.bits)
    return Speed(tokens, question_seconds(training, questions, index))


def question_seconds(training: Training, questions: Sequence[str], index: Index) -> float:
    """Seconds that the reader to start from takes for a question, measured on some."""
    from rag_ft.answering.reader import Reader

    reader = Reader.from_pretrained(
        training.reader, adapter=training.start.weights.path, passage_cache_mb=0, whole_sentences=False
    )
    requests = retrieved_requests(list(questions[:_PROBE_QUESTIONS]), index)
    reader.read_batch(requests[:1])  # the first one sets things up
    begin = time.perf_counter()
    reader.read_batch(requests)
    return (time.perf_counter() - begin) / max(1, len(requests))
