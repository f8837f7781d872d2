"""What happens between the steps of a run: checkpoints by time, measurements, the best adapter, checks."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rag_ft.errors import TrainingError
from rag_ft.training.kbit import check_gradients
from rag_ft.training.saving import KEPT_STEP


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

    def resume(self, checkpoint: Path | None) -> None:
        """Keep the measurements up to the checkpoint; a fresh run starts a fresh file."""
        step = self._first = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
        if self._path.is_file() and step:
            self.history = [one for one in _measurements(self._path) if one["step"] <= step]
        if self._writes:
            self._path.write_text("".join(json.dumps(one) + "\n" for one in self.history), encoding="utf-8")

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
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
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
        losses = [one["eval_loss"] for one in self._progress.history if "eval_loss" in one]
        since = len(losses) - 1 - losses.index(min(losses))
        if since == 0 and state.is_world_process_zero:
            write_adapter(model, self._folder, {"eval_loss": losses[-1], "step": state.global_step})
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
    """The adapter as a PEFT folder, put in place whole: written beside it first, then renamed."""
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        model.save_pretrained(work)
        (work / KEPT_STEP).write_text(json.dumps(record), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _measurements(path: Path) -> list[dict[str, float]]:
    """What a file of measurements holds, up to a line that a crash has cut."""
    found: list[dict[str, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
