"""A run's folder: the files that a run writes, how far it has come, and their removal.

    run.json           the run's data and settings
    certificate.json   what it trains on
    metrics.jsonl      one line per measurement
    checkpoints/       checkpoint-N, to resume from while the run trains
    best/, last/       the adapter with the lowest held-out loss and, if that is another, that of the last step
    end.json           the last step is done: until the adapter is written, the run only measures and writes
    curves.png         the losses

Files with other names belong to somebody else and are never touched.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError

from rag_ft.errors import UsageError
from rag_ft.files import foreign_file, is_disk_full, is_plain_file, is_real_folder, remove_tree, write_atomic
from rag_ft.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from rag_ft.training.saving import KEPT_STEP, TOKENIZER_FILES, read_object, step_of

logger = logging.getLogger(__name__)

RUN_FOLDER = "training"
"""Folder inside the adapter's with what the run left: curves, measurements, the certificate."""
RUN_RECORD = "run.json"
CERTIFICATE = "certificate.json"
METRICS_FILE = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
BEST = "best"
"""Folder of the adapter with the lowest held-out loss."""
LAST = "last"
"""Folder of the adapter of the last step, if that is another."""
END = "end.json"
CURVES = "curves.png"

_FILES = (RUN_RECORD, CERTIFICATE, METRICS_FILE, END, CURVES)
_KEPT_FILES = re.compile("|".join(map(re.escape, (ADAPTER_CONFIG, ADAPTER_WEIGHTS, KEPT_STEP, "README.md"))))
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_CHECKPOINT_FILES = re.compile(
    r"adapter_config\.json|adapter_model\.(safetensors|bin)|README\.md|optimizer\.pt|scheduler\.pt|scaler\.pt"
    rf"|rng_state(_\d+)?\.pth|trainer_state\.json|training_args\.bin|{TOKENIZER_FILES}"
)
_IDENTITY = frozenset({"examples", "prompt", "base", "lora", "training"})
"""Keys that make a file a run's record."""


def check_run_folder(output: Path, what: str, foreign: Callable[[Path], Path | None]) -> None:
    """Raise UsageError where a run cannot have its folder: it or one above is a file, or it holds files of others.

    `what`: what the run makes. `foreign`: gives the first file in the folder that a run would replace and that no run
    wrote, if there is one.
    """
    existing = next(path for path in (output, *output.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise UsageError(f"{existing} is a file: give a folder for the {what} (--output)")
    in_the_way = foreign(output)
    if in_the_way is not None:
        raise UsageError(
            f"{in_the_way} is not from a run of rag_ft, and training would overwrite it: give another folder for the"
            f" {what} (--output)"
        )


def foreign_among(folder: Path, names: Iterable[str], *, ours: bool) -> Path | None:
    """The first of these files that no run wrote; None if there is none.

    `ours`: whether plain files of these names are from a run, which their folder's record tells.
    """
    paths = (folder / name for name in names)
    return next((path for path in paths if os.path.lexists(path) and not (ours and is_plain_file(path))), None)


def make_run_folder(folder: Path, what: str) -> None:
    """Make the folder of a run. Raises UsageError if it cannot be made, OSError for a full disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise UsageError(
            f"{folder} cannot be a folder ({error.strerror}): give another folder for the {what} (--output)"
        ) from error


def is_run(folder: Path) -> bool:
    """Whether a folder holds the record of a run."""
    return read_object(folder / RUN_RECORD).keys() >= _IDENTITY


def foreign_in_run(folder: Path) -> Path | None:
    """The first file or link that is in a run's way and that no run wrote; None if there is none."""
    foreign = foreign_among(folder, _FILES, ours=True)
    if foreign is not None:
        return foreign
    kept = [(folder / name, _KEPT_FILES) for name in (BEST, LAST)]
    checkpoints = folder / CHECKPOINTS
    if os.path.lexists(checkpoints) and not is_real_folder(checkpoints):
        return checkpoints
    for path, names in [*kept, *((path, _CHECKPOINT_FILES) for path in checkpoints_of(folder))]:
        if not os.path.lexists(path):
            continue
        foreign = foreign_file(path, names) if is_real_folder(path) else path
        if foreign is not None:
            return foreign
    return None


def foreign_in_kept(folder: Path) -> Path | None:
    """The first file in a kept adapter's folder that no run wrote; None if there is none."""
    return foreign_file(folder, _KEPT_FILES) if is_real_folder(folder) else folder


def checkpoints_of(folder: Path) -> list[Path]:
    """All checkpoints of a run, whole or damaged, in the order of their steps."""
    if not is_real_folder(folder / CHECKPOINTS):
        return []
    named = [path for path in (folder / CHECKPOINTS).iterdir() if _CHECKPOINT.fullmatch(path.name)]
    return sorted(named, key=step_of_checkpoint)


def step_of_checkpoint(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def clear_run(folder: Path) -> None:
    """Remove all files of a run except its record. Raises UsageError for a link in place of a folder, OSError."""
    clear_checkpoints(folder)
    for name in (END, METRICS_FILE, CURVES, CERTIFICATE):
        (folder / name).unlink(missing_ok=True)
    for name in (BEST, LAST):
        remove_tree(folder / name, inside=folder)


def clear_checkpoints(folder: Path) -> None:
    """Remove a run's checkpoints; files of experiment trackers and others beside them stay."""
    for checkpoint in checkpoints_of(folder):
        if is_real_folder(checkpoint) and foreign_file(checkpoint, _CHECKPOINT_FILES) is None:
            remove_tree(checkpoint, inside=folder, ignore_errors=True)
    if is_real_folder(folder / CHECKPOINTS):
        with suppress(OSError):  # it holds other files
            (folder / CHECKPOINTS).rmdir()


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run, if there is one; damaged ones are reported and removed."""
    damaged = None
    for checkpoint in reversed(checkpoints_of(folder)):
        if _is_whole(checkpoint):
            if damaged is not None:
                logger.warning("the checkpoint %s is damaged: resuming from %s", damaged, checkpoint.name)
            return checkpoint
        damaged = damaged or checkpoint
        remove_broken(checkpoint, folder)
    if damaged is not None:
        logger.warning("the checkpoint %s is damaged and there is no earlier one: starting from the beginning", damaged)
    return None


def remove_broken(checkpoint: Path, folder: Path) -> None:
    """Remove a damaged checkpoint, unless it holds a file that no run wrote."""
    if is_real_folder(checkpoint) and not _is_whole(checkpoint) and foreign_file(checkpoint, _CHECKPOINT_FILES) is None:
        remove_tree(checkpoint, inside=folder, ignore_errors=True)


def _is_whole(checkpoint: Path) -> bool:
    import torch
    from safetensors import safe_open
    from transformers.trainer_pt_utils import safe_globals

    # Each of several processes keeps a random state of its own.
    states = sorted(path.name for path in checkpoint.glob("rng_state*.pth"))
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        with safe_open(checkpoint / ADAPTER_WEIGHTS, framework="pt") as file:
            file.keys()
        with safe_globals():  # numpy's random state needs them; weights_only keeps pickles from running code
            for name in ("optimizer.pt", "scheduler.pt", *states):
                torch.load(checkpoint / name, weights_only=True, map_location="cpu")
    except (OSError, ValueError, RuntimeError, SafetensorError, EOFError, UnpicklingError):
        return False
    return bool(states)


def measurements(folder: Path) -> list[dict[str, float]]:
    """All measurements of a run, up to the first line that a crash cut short."""
    history: list[dict[str, float]] = []
    path = folder / METRICS_FILE
    if not path.is_file():
        return history
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            history.append(json.loads(line))
        except ValueError:
            break
    return history


def without_gain(history: Sequence[Mapping[str, float]]) -> int:
    """Number of held-out measurements since the lowest loss; 0 before the first."""
    losses = [record["eval_loss"] for record in history if "eval_loss" in record]
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def measured_best(folder: Path, step: int) -> bool:
    """Whether a run measured a held-out loss up to a step, and so kept an adapter."""
    return any("eval_loss" in record and record["step"] <= step for record in measurements(folder))


def write_end(folder: Path, step: int) -> None:
    """Record that the last step is done and its adapters are kept. Raises OSError."""
    write_atomic(folder / END, json.dumps({"step": step}) + "\n")


def read_end(folder: Path) -> int | None:
    """The last step of a run that trained to its end; None if it did not, or if its kept adapters are gone."""
    try:
        step = int(json.loads((folder / END).read_text(encoding="utf-8"))["step"])
        kept = [step_of(folder / name) for name in (BEST, LAST) if (folder / name).is_dir()]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return step if step in kept and is_plain_file(folder / BEST / ADAPTER_WEIGHTS) else None


def is_over(checkpoint: Path, history: Sequence[Mapping[str, float]], max_steps: int, patience: int) -> bool:
    """Whether a checkpoint is the last step of its run; resumed, transformers would train one step more.

    A run measures the held-out loss of a step before it keeps it, so nothing is left to do after such a checkpoint.
    `max_steps` is -1 if the epochs decide; the checkpoint then holds the number of steps.
    """
    state: dict[str, Any] = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    most = max_steps if max_steps > 0 else int(state["max_steps"])
    return int(state["global_step"]) >= most or bool(patience and without_gain(history) >= patience)
