"""What happens between the steps of a run: checkpoints by time, measurements, the best adapter, checks."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rag_ft.errors import TrainingError
from rag_ft.files import RESULT, append_whole, staged, sync_tree, write_atomic
from rag_ft.training.folder import foreign_in_kept, measurements, without_gain
from rag_ft.training.saving import KEPT_STEP
from rag_ft.training.steps.kbit import check_gradients


class TimedCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Asks for a checkpoint after so many minutes, and for a held-out measurement at even steps and at the end."""

    def __init__(self, minutes: float, evaluations: int, held_out: bool) -> None:
        self._seconds = minutes * 60
        self._last = time.monotonic()
        self._evaluations = evaluations
        self._held_out = held_out
        self.stopped = False

    def stop(self) -> None:
        """Keep the step in hand, then stop."""
        self.stopped = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """After an update."""
        every = max(1, state.max_steps // self._evaluations)
        if self._held_out and (state.global_step % every == 0 or state.global_step == state.max_steps):
            control.should_evaluate = True
        if self.stopped:
            control.should_save = control.should_training_stop = True
        if time.monotonic() - self._last > self._seconds:
            control.should_save = True
            self._last = time.monotonic()
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """After a held-out measurement, which takes a while: also that of the last step."""
        if self.stopped:
            control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A checkpoint is written: what a power failure cuts would look whole."""
        if state.is_world_process_zero:
            sync_tree(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class Pace(NamedTuple):
    """What one step computes, on average."""

    examples: float
    tokens: float


class Progress(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Keeps the measurements, in memory and in a JSONL file, and hands each to a listener."""

    def __init__(
        self,
        path: Path,
        listener: Callable[[dict[str, float]], None] | None,
        rows: Pace,
        *,
        writes: bool = True,
    ) -> None:
        """`writes`: whether the file is this process's to write."""
        self._path = path
        self._writes = writes
        self._listener = listener
        self._begin = time.monotonic()
        self._first = 0
        self._rows = rows
        self.history: list[dict[str, float]] = []

    def resume(self, step: int) -> None:
        """Keep the measurements up to a step that is kept; a fresh run, from step 0, starts a fresh file."""
        self._first = step
        self.history = [record for record in measurements(self._path.parent) if record["step"] <= step]
        if self._writes:
            write_atomic(self._path, "".join(json.dumps(record) + "\n" for record in self.history))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The clock starts here."""
        self._begin = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """A loss has come in."""
        logs = logs or {}
        kept: dict[str, float] = {
            name: float(logs[name]) for name in ("loss", "eval_loss", "learning_rate", "grad_norm") if name in logs
        }
        if not kept or ("loss" not in kept and "eval_loss" not in kept):
            return
        for name, words in (("loss", "loss"), ("eval_loss", "held-out loss")):
            if not math.isfinite(kept.get(name, 0.0)):
                raise TrainingError(
                    f"the {words} is {kept[name]} at step {state.global_step}: lower the learning rate, or use --bits"
                    " 32"
                )
        seconds = time.monotonic() - self._begin
        steps = state.global_step - self._first
        record: dict[str, float] = {
            "step": state.global_step,
            "steps": state.max_steps,
            "first_step": self._first,
            "seconds": round(seconds, 1),
            "examples_per_second": round(steps * self._rows.examples / seconds, 2),
            "tokens_per_second": round(steps * self._rows.tokens / seconds, 1),
            **kept,
        }
        self.history.append(record)
        if self._writes:
            append_whole(self._path, json.dumps(record) + "\n")
        if self._listener is not None:
            self._listener(record)


class BestAdapter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Writes the adapter whenever the held-out loss is the lowest so far; stops a run that no longer gets better."""

    def __init__(self, folder: Path, patience: int, progress: Progress) -> None:
        """`progress`: knows the held-out losses so far, those from before an interruption among them."""
        self._folder = folder
        self._patience = patience
        self._progress = progress

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        model: Any = None,
        **kwargs: Any,
    ) -> TrainerControl:
        """A held-out loss has come in."""
        since = without_gain(self._progress.history)
        if since == 0 and state.is_world_process_zero:
            loss = self._progress.history[-1]["eval_loss"]
            write_adapter(model, self._folder, {"eval_loss": loss, "step": state.global_step})
        if self._patience and since >= self._patience:
            control.should_training_stop = True
        return control


_OVERFLOWS = 25
"""Steps in a row that may overflow in float16: torch begins by multiplying the loss by 65,536, leaves a step out whose
gradients overflow, and halves the factor each time."""


class Checks(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """After the first backward pass of a run: every gradient is finite. In float16: after the first that can be."""

    def __init__(self) -> None:
        self._done = False
        self._overflows = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Before the optimiser moves anything."""
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


def write_adapter(model: Any, folder: Path, record: dict[str, float]) -> None:
    """The adapter as a PEFT folder, put in place whole. Raises TrainingError, UsageError for what is not a run's."""
    with staged(folder, overwrite=True, foreign=foreign_in_kept, error=TrainingError) as work:
        model.save_pretrained(work / RESULT)
        (work / RESULT / KEPT_STEP).write_text(json.dumps(record), encoding="utf-8")
