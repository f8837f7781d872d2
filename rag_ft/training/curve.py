"""Adapters trained on ever smaller parts of the records, all measured on the same held-out ones: is labelling more
worth it?
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import Split, split_by_document
from rag_ft.schema import Question
from rag_ft.training.data.examples import ExampleConfig
from rag_ft.training.folder import BEST, END, LAST, RUN_RECORD, foreign_in_kept
from rag_ft.training.prepare import RUN, check_output
from rag_ft.training.run import train_reader
from rag_ft.training.saving import FILES
from rag_ft.training.scoring import ReaderScore

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

CURVE = "curve"
"""Folder inside the adapter's with one for each size."""

RECORD = "curve.json"


@dataclass(frozen=True)
class CurvePoint:
    """A finished adapter and what it is worth."""

    records: int
    """That it was trained on."""
    path: Path
    score: ReaderScore
    """On the held-out records, the same for all sizes."""


@dataclass(frozen=True)
class TrainedCurve:
    """What `train_curve` made."""

    path: Path
    """The adapter trained on all of the training records."""
    points: tuple[CurvePoint, ...]
    """From the fewest records to all."""


def train_curve(
    questions: str | Path | Sequence[Question],
    index: Index,
    output: str | Path,
    *,
    halvings: int = 3,
    examples: ExampleConfig | None = None,
    compare: bool = True,
    say: Callable[[str], None] | None = None,
    on_progress: Callable[[dict[str, float]], None] | None = None,
    **settings: Any,
) -> TrainedCurve:
    """Train on 1/2^halvings, ..., 1/2 and all of the training records; each adapter is in `output`/curve/<records>.

    The smaller sets are parts of the larger ones, drawn by `examples.seed`, and the held-out records are the same for
    all. The adapter of all records is in `output` too, as `train_reader` would have left it. Called again with equal
    arguments it goes on where it stopped; more halvings add smaller sizes. `settings` are those of `train_reader`:
    reader, start_from, lora, training, licence and so on. The untuned reader is measured once. Raises what
    `train_reader` raises, UsageError where a part would hold no record, TrainingError where `output` holds another
    curve.
    """
    output = Path(output)
    check_output(output)
    examples = examples or ExampleConfig()
    tell = say or (lambda line: None)
    records = read_questions(questions) if isinstance(questions, str | Path) else list(questions)
    split = settings.pop("split", None) or split_by_document(records, examples.held_out, examples.seed)
    sizes = curve_sizes(len(split.train), halvings)
    order = random.Random(f"curve {examples.seed}").sample(range(len(split.train)), len(split.train))
    log = _Log(output / CURVE, _identity(split, index, examples, settings))
    points: list[CurvePoint] = []
    for size in sizes:
        folder = output / CURVE / str(size)
        score = log.finished(size, folder)
        if score is None:
            tell(f"curve           {size:,} of {len(split.train):,} training records")
            part = Split(tuple(split.train[place] for place in sorted(order[:size])), split.held_out)
            made = train_reader(
                [],
                index,
                folder,
                examples=examples,
                split=part,
                compare=compare and size == sizes[-1],
                say=tell,
                on_progress=on_progress,
                **settings,
            )
            score = made.tuned
            with full_disk_as(TrainingError, output, "the adapters so far are kept"):
                log.finish(size, folder, score)
        points.append(CurvePoint(size, folder, score))
    with full_disk_as(TrainingError, output, "the adapters so far are kept"):
        _publish(points[-1].path, output)
    for point in points:
        tell(f"curve           {point.records:>6,} records: {_said(point.score)}")
    return TrainedCurve(output, tuple(points))


def curve_sizes(records: int, halvings: int) -> list[int]:
    """The sizes from the smallest to all. Raises UsageError for none to halve or a part without a record."""
    if halvings < 1:
        raise UsageError(f"halvings is {halvings}: give 1 or more, 3 for the four sizes that a curve can be drawn by")
    if records < 2**halvings:
        raise UsageError(
            f"{records:,} training records cannot be halved {halvings} times: give fewer halvings, or more records"
        )
    return [round(records / 2**step) for step in range(halvings, -1, -1)]


class _Log:
    """Which sizes are finished, on disk; weights that have changed since count as not finished."""

    def __init__(self, folder: Path, identity: str) -> None:
        self._path = folder / RECORD
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
                f"{self._path} is damaged or not from rag_ft: move {folder} away to start the curve anew"
            ) from error
        if known != identity:
            raise TrainingError(
                f"{folder} holds a curve of other records or settings: give another output folder, or remove this one"
            )

    def finished(self, size: int, folder: Path) -> ReaderScore | None:
        """The score of a size whose adapter is there as it was left."""
        point, weights = self._points.get(str(size)), folder / FILES[1]
        if point is None or not weights.is_file() or sha256_of(weights) != point["sha256"]:
            return None
        return ReaderScore.model_validate(point["score"])

    def finish(self, size: int, folder: Path, score: ReaderScore) -> None:
        """Write a size down."""
        self._points[str(size)] = {"sha256": sha256_of(folder / FILES[1]), "score": score.model_dump(mode="json")}
        content = {"identity": self._identity, "points": self._points}
        write_atomic(self._path, json.dumps(content, indent=1) + "\n")


def _identity(split: Split, index: Index, examples: ExampleConfig, settings: dict[str, Any]) -> str:
    """SHA-256 over all that decides the adapters, the number of halvings left out."""
    digest = hashlib.sha256(index.fingerprint.encode())
    for side in split:
        digest.update(b"\0")
        for question in side:
            digest.update(question.model_dump_json().encode())
    digest.update(examples.model_dump_json().encode())
    for name in sorted(settings):
        digest.update(f"{name} {settings[name]!r}".encode())
    return digest.hexdigest()


def _publish(source: Path, output: Path) -> None:
    """Copy an adapter's folder, what its run left before the adapter itself, which comes as a whole."""
    copied, target = source / RUN, output / RUN
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
    with replacing_together([output / name for name in FILES]) as works:
        for name, file in zip(FILES, works, strict=True):
            shutil.copyfile(source / name, file)
    (target / END).unlink()


def _said(score: ReaderScore) -> str:
    parts = [] if score.must_answer_f1 is None else [f"F1 {100 * score.must_answer_f1:.1f} when made to answer"]
    if score.null_recognised is not None and score.answerable_f1 is not None:
        parts.append(
            f"{100 * score.answerable_f1:.1f} at its threshold, {score.null_recognised:.0%} of null recognised"
        )
    return ", ".join(parts)
