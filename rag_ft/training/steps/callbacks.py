"""Between the steps of a run: timed checkpoints, measurements, the best adapter, checks of the gradients."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rag_ft.errors import TrainingError
from rag_ft.files import RESULT, append_whole, staged, sync_tree, write_atomic
from rag_ft.progress import OnProgress, Progress, notify
from rag_ft.training.folder import foreign_in_kept, measurements, without_gain
from rag_ft.training.saving import KEPT_STEP
from rag_ft.training.steps.kbit import check_gradients
from rag_ft.training.steps.processes import any_process


class TimedCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Requests a checkpoint every few minutes, and held-out measurements at regular steps and at the end."""

    def __init__(self, minutes: float, evaluations: int, held_out: bool) -> None:
        self._seconds = minutes * 60
        self._last = time.monotonic()
        self._evaluations = evaluations
        self._held_out = held_out
        self._asked = False
        self.stopped = False
        """Whether the run stops: some process was asked to, and all have learned it at the end of the same step."""

    def stop(self) -> None:
        """Finish and keep the current step, then stop."""
        self._asked = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Request measurements and checkpoints after an update."""
        every = max(1, state.max_steps // self._evaluations)
        if self._held_out and (state.global_step % every == 0 or state.global_step == state.max_steps):
            control.should_evaluate = True
        # A checkpoint is written by all processes, whose clocks and interrupts do not agree.
        self.stopped, due = any_process([self._asked, time.monotonic() - self._last > self._seconds])
        if self.stopped:
            control.should_save = control.should_training_stop = True
        if due:
            control.should_save = True
            self._last = time.monotonic()
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop after a held-out measurement too, which takes a while, even the one of the last step."""
        (self.stopped,) = any_process([self._asked])
        if self.stopped:
            control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Flush a checkpoint to disk, or one cut by a power failure would look whole."""
        if state.is_world_process_zero:
            sync_tree(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class Pace(NamedTuple):
    """Examples and tokens per step, on average."""

    examples: float
    tokens: float


class MeasurementLog(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Keeps the measurements in memory and in a JSONL file, and reports each as progress."""

    def __init__(
        self,
        path: Path,
        on_progress: OnProgress | None,
        pace: Pace,
        *,
        writes: bool = True,
    ) -> None:
        """`writes`: whether this process writes the file."""
        self._path = path
        self._writes = writes
        self._on_progress = on_progress
        self._start = time.monotonic()
        self._first = 0
        self._pace = pace
        self.history: list[dict[str, float]] = []

    def resume(self, step: int) -> None:
        """Keep the measurements up to the step to resume from; step 0 starts a new file."""
        self._first = step
        self.history = [record for record in measurements(self._path.parent) if record["step"] <= step]
        if self._writes:
            write_atomic(self._path, "".join(json.dumps(record) + "\n" for record in self.history))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record a loss. Raises TrainingError if it is not finite."""
        logs = logs or {}
        kept: dict[str, float] = {
            name: float(logs[name]) for name in ("loss", "eval_loss", "learning_rate", "grad_norm") if name in logs
        }
        if not kept or ("loss" not in kept and "eval_loss" not in kept):
            return
        for name, label in (("loss", "loss"), ("eval_loss", "held-out loss")):
            if not math.isfinite(kept.get(name, 0.0)):
                raise TrainingError(
                    f"the {label} is {kept[name]} at step {state.global_step}: lower the learning rate, or use --bits"
                    " 32"
                )
        seconds = time.monotonic() - self._start
        steps = state.global_step - self._first
        record: dict[str, float] = {
            "step": state.global_step,
            "steps": state.max_steps,
            "first_step": self._first,
            "seconds": round(seconds, 1),
            "examples_per_second": round(steps * self._pace.examples / seconds, 2),
            "tokens_per_second": round(steps * self._pace.tokens / seconds, 1),
            **kept,
        }
        self.history.append(record)
        if self._writes:
            append_whole(self._path, json.dumps(record) + "\n")
        left = record["seconds"] / max(steps, 1) * (state.max_steps - state.global_step)
        notify(self._on_progress, Progress("training", state.global_step, state.max_steps, left, record))


class BestAdapter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes the adapter whenever the held-out loss is the lowest so far; stops a run that no longer improves."""

    def __init__(self, folder: Path, patience: int, measured: MeasurementLog) -> None:
        """`measured`: holds the held-out losses so far, including those from before an interruption."""
        self._folder = folder
        self._patience = patience
        self._measured = measured

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        model: Any = None,
        **kwargs: Any,
    ) -> TrainerControl:
        """Keep the adapter if its held-out loss is the lowest so far."""
        since = without_gain(self._measured.history)
        if since == 0 and state.is_world_process_zero:
            loss = self._measured.history[-1]["eval_loss"]
            keep_adapter(model, self._folder, {"eval_loss": loss, "step": state.global_step})
        if self._patience and since >= self._patience:
            control.should_training_stop = True
        return control


_OVERFLOWS = 25
"""Consecutive steps that may overflow in float16: torch first multiplies the loss by 65,536, skips a step whose
gradients overflow, and halves the factor each time."""


class GradientCheck(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Checks that every gradient of a run's first step is finite; in float16, of its first step without overflow."""

    def __init__(self) -> None:
        self._done = False
        self._overflows = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Check the gradients before the optimiser uses them. Raises TrainingError."""
        if self._done:
            return
        try:
            check_gradients(model, state.global_step + 1)
        except TrainingError:
            self._overflows += 1
            if not args.fp16 or self._overflows > _OVERFLOWS:
                raise
        else:
            self._done = True


def keep_adapter(model: Any, folder: Path, record: dict[str, float]) -> None:
    """Write the adapter as a PEFT folder, put in place whole. Raises TrainingError, UsageError for foreign files."""
    with staged(folder, overwrite=True, foreign=foreign_in_kept, error=TrainingError) as work:
        model.save_pretrained(work / RESULT)
        (work / RESULT / KEPT_STEP).write_text(json.dumps(record), encoding="utf-8")
