"""The folder of a cross-encoder, and inside it that of the run that makes it.

    cross_encoder.json, cross_encoder.safetensors, README.md   the cross-encoder, written together at the end
    training/run.json       the run's data and settings
    training/metrics.jsonl  one line per measurement
    training/checkpoint.pt  everything that an interrupted run resumes from; removed at the end

Files with other names belong to somebody else and are never touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rag_ft.errors import TrainingError
from rag_ft.files import is_real_folder, write_atomic
from rag_ft.models.cross_encoder_files import CROSS_ENCODER_FILES
from rag_ft.models.folder import CROSS_ENCODER_RECORD
from rag_ft.training.folder import (
    METRICS_FILE,
    RUN_FOLDER,
    RUN_RECORD,
    check_run_folder,
    foreign_among,
    make_run_folder,
)
from rag_ft.training.saving import read_object

CHECKPOINT = "checkpoint.pt"

_RUN_FILES = (RUN_RECORD, METRICS_FILE, CHECKPOINT)
_IDENTITY = frozenset({"records", "index", "base", "start", "settings"})
"""Keys that make a file the record of such a run."""


def check_cross_encoder_folder(output: Path) -> None:
    """Raise UsageError if a run would replace a file that no run wrote."""
    check_run_folder(output, "cross-encoder", _foreign)


def is_cross_encoder_run(output: Path) -> bool:
    """Whether a folder holds the record of a cross-encoder's run, and is no link."""
    return is_real_folder(output) and read_object(output / RUN_FOLDER / RUN_RECORD).keys() >= _IDENTITY


def claim_run(output: Path, identity: Mapping[str, Any]) -> Path:
    """Make the folder of a run and write its record; the folder.

    Raises TrainingError where it holds an unfinished run of other settings, UsageError where it cannot be made.
    """
    check_cross_encoder_folder(output)
    work = output / RUN_FOLDER
    make_run_folder(work, "cross-encoder")
    if (work / CHECKPOINT).is_file():
        before = read_object(work / RUN_RECORD)
        changed = sorted(name for name in identity if before.get(name) != identity[name])
        if changed:
            raise TrainingError(
                f"{work} holds the checkpoint of a run with other {', '.join(changed)}: remove the folder to start from"
                " the beginning, or give the former settings to resume"
            )
    else:
        (work / METRICS_FILE).unlink(missing_ok=True)  # left by a finished run
    write_atomic(work / RUN_RECORD, json.dumps(identity, indent=1) + "\n")
    return work


def _foreign(output: Path) -> Path | None:
    """The first file that a run would replace and that no run wrote, if there is one."""
    work = output / RUN_FOLDER
    if os.path.lexists(work) and not is_real_folder(work):
        return work
    ours = read_object(work / RUN_RECORD).keys() >= _IDENTITY
    foreign = foreign_among(work, _RUN_FILES, ours=ours)
    if foreign is not None:
        return foreign
    # A kill while the files are replaced leaves none with the record's name; the run beside them tells whose they are.
    ours = ours or "base" in read_object(output / CROSS_ENCODER_RECORD)
    return foreign_among(output, CROSS_ENCODER_FILES, ours=ours)
