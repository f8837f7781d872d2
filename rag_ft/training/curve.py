"""A learning curve: adapters trained on 1/2, 1/4, ... of the records show whether more labels would help."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from rag_ft.checksums import sha256_of
from rag_ft.errors import TrainingError, UsageError
from rag_ft.files import (
    RESULT,
    full_disk_as,
    is_plain_file,
    remove_tree,
    replacing,
    replacing_together,
    staged,
    write_atomic,
)
from rag_ft.progress import OnProgress
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import Split, split_by_document
from rag_ft.schema import Question
from rag_ft.training.data.examples import ExampleConfig
from rag_ft.training.folder import BEST, END, LAST, RUN_FOLDER, RUN_RECORD, foreign_in_kept
from rag_ft.training.prepare import check_output_folder
from rag_ft.training.run import RunOptions, train_reader
from rag_ft.training.saving import ADAPTER_FILES
from rag_ft.training.scoring import ReaderScore
from rag_ft.training.steps.processes import refuse_processes

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)

CURVE = "curve"
"""Folder inside the adapter's with a folder for each number of records."""

CURVE_RECORD = "curve.json"

_FINISHED_KEPT = "the adapters finished so far are kept"


@dataclass(frozen=True)
class TrainedPoint:
    """A finished adapter on the curve and its figures."""

    records: int
    """Training records it learned from."""
    path: Path
    score: ReaderScore
    """Figures on the held-out records, which are the same for all sizes."""


@dataclass(frozen=True)
class TrainedCurve:
    """The result of `train_curve`."""

    path: Path
    """Folder of the adapter trained on all training records."""
    points: tuple[TrainedPoint, ...]
    """The adapters from the fewest records to all."""


def train_curve(
    questions: str | Path | Sequence[Question],
    index: Index,
    output: str | Path,
    *,
    halvings: int = 3,
    examples: ExampleConfig | None = None,
    split: Split | None = None,
    compare: bool = True,
    on_progress: OnProgress | None = None,
    **options: Unpack[RunOptions],
) -> TrainedCurve:
    """Train on 1/2^halvings, ..., 1/2 and all of the training records; each adapter is in `output`/curve/<records>.

    The smaller sets are parts of the larger ones, drawn by `examples.seed`, and the held-out records are the same for
    all. The adapter of all records is in `output` too, as `train_reader` would have left it. Called again with equal
    arguments, an interrupted curve resumes; more halvings add smaller sizes. The untuned reader is measured once. The
    other keywords are those of `train_reader`. Raises what `train_reader` raises, UsageError if a part would hold no
    record, TrainingError if `output` holds another curve.
    """
    refuse_processes("the sizes of a curve are trained")
    output = Path(output)
    check_output_folder(output)
    examples = examples or ExampleConfig()
    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    split = split or split_by_document(records, examples.held_out, examples.seed)
    sizes = curve_sizes(len(split.train), halvings)
    order = random.Random(f"curve {examples.seed}").sample(range(len(split.train)), len(split.train))
    log = _FinishedSizes(output / CURVE, _identity(split, index, examples, options))
    points: list[TrainedPoint] = []
    for size in sizes:
        folder = output / CURVE / str(size)
        score = log.finished(size, folder)
        if score is None:
            logger.info("%s", f"curve           {size:,} of {len(split.train):,} training records")
            part = Split(tuple(split.train[i] for i in sorted(order[:size])), split.held_out)
            trained = train_reader(
                [],
                index,
                folder,
                examples=examples,
                split=part,
                compare=compare and size == sizes[-1],
                on_progress=on_progress,
                **options,
            )
            score = trained.tuned
            with full_disk_as(TrainingError, output, _FINISHED_KEPT):
                log.finish(size, folder, score)
        points.append(TrainedPoint(size, folder, score))
    with full_disk_as(TrainingError, output, _FINISHED_KEPT):
        _publish(points[-1].path, output)
    for point in points:
        logger.info("%s", f"curve           {point.records:>6,} records: {point.score.figures()}")
    return TrainedCurve(output, tuple(points))


def curve_sizes(records: int, halvings: int) -> list[int]:
    """Numbers of records from the smallest part to all. Raises UsageError if a part would hold no record."""
    if halvings < 1:
        raise UsageError(f"halvings is {halvings}: give 1 or more; 3 gives the four sizes that a curve needs")
    if records < 2**halvings:
        raise UsageError(
            f"{records:,} training records cannot be halved {halvings} times: give fewer halvings, or more records"
        )
    return [round(records / 2**step) for step in range(halvings, -1, -1)]


class _FinishedSizes:
    """The file that lists finished sizes; a size whose weights have changed since counts as unfinished."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._path = folder / CURVE_RECORD
        self._identity = identity
        self._points: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if not self._path.is_file():
            return
        try:
            before = json.loads(self._path.read_text(encoding="utf-8"))
            known, self._points = before["identity"], before["points"]
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{self._path} is damaged or not from rag_ft: move {folder} away to start the curve from the beginning"
            ) from error
        if known != identity:
            raise TrainingError(
                f"{folder} holds a curve of other records or settings: give another output folder, or remove this one"
            )

    def finished(self, size: int, folder: Path) -> ReaderScore | None:
        """The score of a size, if its adapter is finished and unchanged."""
        point, weights = self._points.get(str(size)), folder / ADAPTER_FILES[1]
        if point is None or not weights.is_file() or sha256_of(weights) != point["sha256"]:
            return None
        return ReaderScore.model_validate(point["score"])

    def finish(self, size: int, folder: Path, score: ReaderScore) -> None:
        """Record a size as finished."""
        self._points[str(size)] = {
            "sha256": sha256_of(folder / ADAPTER_FILES[1]),
            "score": score.model_dump(mode="json"),
        }
        content = {"identity": self._identity, "points": self._points}
        write_atomic(self._path, json.dumps(content, indent=1) + "\n")


def _identity(split: Split, index: Index, examples: ExampleConfig, options: RunOptions) -> str:
    """SHA-256 over all that decides the adapters; the number of halvings does not."""
    digest = hashlib.sha256(index.fingerprint.encode())
    for side in split:
        digest.update(b"\0")
        for question in side:
            digest.update(question.model_dump_json().encode())
    digest.update(examples.model_dump_json().encode())
    for name, value in sorted(options.items()):
        # Curves on disk know the adapter's shape by the name that its class had when they were made.
        shown = repr(value).replace("AdapterConfig(", "LoraSettings(", 1)
        digest.update(f"{name} {shown}".encode())
    return digest.hexdigest()


def _publish(source: Path, output: Path) -> None:
    """Copy an adapter's folder: first what its run left, then the adapter itself, whole."""
    copied, target = source / RUN_FOLDER, output / RUN_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for name in (RUN_RECORD, *sorted(path.name for path in copied.iterdir() if path.name != RUN_RECORD)):
        if name in (BEST, LAST):
            with staged(target / name, overwrite=True, foreign=foreign_in_kept, error=TrainingError) as work:
                shutil.copytree(copied / name, work / RESULT)
        elif is_plain_file(copied / name):
            with replacing(target / name) as file:
                shutil.copyfile(copied / name, file)
        if name == RUN_RECORD:
            write_atomic(target / END, "{}\n")  # until the files beside the folder are there too
    if not (copied / LAST).exists():
        remove_tree(target / LAST, inside=output)
    with replacing_together([output / name for name in ADAPTER_FILES]) as works:
        for name, file in zip(ADAPTER_FILES, works, strict=True):
            shutil.copyfile(source / name, file)
    (target / END).unlink()
