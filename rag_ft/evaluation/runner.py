"""Ask every arm every question, with one line on disk per reply; an unfinished run resumes.

Predictions are appended to `predictions.jsonl` batch by batch. Batches depend on the questions alone and are written
whole; a batch that a kill cut short is removed and asked again. A run that was killed therefore asks the same batches
as an uninterrupted one, and ends with the same `results.json`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, ValidationError

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.base import Arm, Case, failure
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.resources import Memory, MemoryWatch
from rag_ft.files import append_whole, clear_partial, full_disk_as, is_plain_file, replacing, write_atomic
from rag_ft.indexing.judged import at_evidence
from rag_ft.progress import OnProgress, Progress, notify
from rag_ft.schema import Question

if TYPE_CHECKING:
    from rag_ft.indexing.retriever import Retriever

PREDICTIONS = "predictions.jsonl"
RUN_FILE = "run.json"
MEMORY = "memory.json"
PARTS = ("development", "swapped", "robustness", "curve")
"""Folders inside a run's folder with the runs of thresholds and studies."""
_RECORDS = (RUN_FILE, PREDICTIONS, MEMORY)
BATCH = 16
"""Number of questions that an arm is given at once."""


def run_arms(
    arms: Sequence[Arm],
    cases: Sequence[Case],
    output: str | Path,
    *,
    on_progress: OnProgress | None = None,
) -> dict[str, list[Prediction]]:
    """Every arm's predictions in the order of the cases; replies that `output` holds are not asked for again.

    Questions that failed in an earlier call are asked again. An arm that raises is not asked further: its remaining
    questions have failed with that reason, and the other arms continue. Raises EvaluationError where `output` holds
    another run.
    """
    output = Path(output)
    with full_disk_as(EvaluationError, output, _KEPT):
        _claim(output, arms, cases)
        return _run_arms(arms, cases, output, on_progress)


_KEPT = "the replies so far are kept"


def _run_arms(
    arms: Sequence[Arm], cases: Sequence[Case], output: Path, on_progress: OnProgress | None
) -> dict[str, list[Prediction]]:
    for name in (PREDICTIONS, MEMORY):
        clear_partial(output / name)  # a killed run may have left one, and appending to the files does not remove it
    path = output / PREDICTIONS
    groups = list(_alike(cases).values())
    replies: dict[str, dict[str, Prediction]] = {arm.name: {} for arm in arms}
    for prediction in _whole_batches(path, groups):
        if prediction.arm in replies and not prediction.failed:
            replies[prediction.arm][prediction.question_id] = prediction
    peaks = read_memory(output)

    def remember(arm: str, peak: Memory) -> None:
        if peaks.get(arm) != (higher := peak.with_peak(peaks.get(arm))):
            peaks[arm] = higher
            _write_json(output / MEMORY, {name: memory.model_dump() for name, memory in peaks.items()})

    for arm in arms:
        with MemoryWatch() as watch:
            _run_arm(arm, groups, replies[arm.name], path, watch, remember, on_progress)
    return {
        arm.name: [replies[arm.name][case.question.id] for case in cases if case.question.id in replies[arm.name]]
        for arm in arms
    }


def _run_arm(
    arm: Arm,
    groups: Sequence[Sequence[Case]],
    replies: dict[str, Prediction],
    path: Path,
    watch: MemoryWatch,
    remember: Callable[[str, Memory], None],
    on_progress: OnProgress | None,
) -> None:
    """Ask the first case of each group; the others have the same question and passages, and get the same reply."""
    copies = {group[0].question.id: group[1:] for group in groups}
    total = sum(len(group) for group in groups)
    error = ""
    started, answered = time.monotonic(), 0
    for batch in _batches([group[0] for group in groups]):
        # A reply on disk is kept even if another one of its batch failed: it may have cost money.
        batch = [
            first
            for first in batch
            if any(case.question.id not in replies for case in (first, *copies[first.question.id]))
        ]
        if not batch:
            continue
        new, error = _reply(arm, batch, error)
        new += [
            prediction.model_copy(update={"question_id": copy.question.id})
            for prediction in new
            for copy in copies[prediction.question_id]
        ]
        replies.update({prediction.question_id: prediction for prediction in new})
        append_whole(path, "".join(prediction.model_dump_json(exclude_defaults=True) + "\n" for prediction in new))
        remember(arm.name, watch.peak)
        answered += len(new)
        left = (time.monotonic() - started) / answered * (total - len(replies))
        notify(on_progress, Progress(arm.name, len(replies), total, left))


def _reply(arm: Arm, batch: Sequence[Case], error: str) -> tuple[list[Prediction], str]:
    """An arm's predictions for a batch, and the error that it raised now or, as `error`, before: then all failed."""
    if error:
        return [failure(arm.name, case, error) for case in batch], error
    start = time.perf_counter()
    try:
        predictions = arm.reply(batch)
    except Exception as raised:  # an arm may be anybody's code, or call a server
        error = f"{type(raised).__name__}: {raised}"
        seconds = (time.perf_counter() - start) / len(batch)
        return [failure(arm.name, case, error, seconds) for case in batch], error
    if [prediction.question_id for prediction in predictions] != [case.question.id for case in batch]:
        raise EvaluationError(
            f"the arm {arm.name!r} gave {len(predictions)} replies to {len(batch)} questions, or in another order: make"
            " its reply() return one prediction per question, in order"
        )
    return [_finite(prediction, case) for prediction, case in zip(predictions, batch, strict=True)], ""


def _finite(prediction: Prediction, case: Case) -> Prediction:
    """The prediction, or a failure where a number of it is not finite and would spoil every mean."""
    numbers = {"confidence": prediction.confidence, "seconds": prediction.seconds}
    odd = next((name for name, value in numbers.items() if value is not None and not math.isfinite(value)), None)
    if odd is None:
        return prediction
    return failure(prediction.arm, case, f"{odd} of a reply is {numbers[odd]}, which is not a finite number")


def _alike(cases: Sequence[Case]) -> dict[tuple[str, ...], list[Case]]:
    """Cases grouped by question text, passages and evidence: an arm is asked the first of each group."""
    groups: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        # The gold passages depend on the evidence, and an arm may be given those.
        gold = tuple(f"{piece.document_id} {piece.start} {piece.end}" for piece in case.question.evidence)
        key = (case.question.question, *(hit.passage.id for hit in case.hits), *gold)
        groups.setdefault(key, []).append(case)
    return groups


def _batches(cases: Sequence[Case]) -> list[list[Case]]:
    """Batches that depend on the questions alone, ordered by top passage, so that its text is read once; then by id."""

    def order(case: Case) -> tuple[str, int, str]:
        top = case.hits[0].passage if case.hits else None
        return (top.document_id if top else "", top.start if top else 0, case.question.id)

    ordered = sorted(cases, key=order)
    return [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]


def retrieve_cases(questions: Sequence[Question], retriever: Retriever) -> list[Case]:
    """The questions with their passages, retrieved once for all arms. Raises EvaluationError without questions."""
    if not questions:
        raise EvaluationError("there are no questions to ask: check the recipe's questions and split")
    batch = retriever.retrieve_batch([retriever.query(question.question, question.history) for question in questions])
    return [
        Case(question, tuple(at_evidence(hit, question, retriever.index) for hit in hits))
        for question, hits in zip(questions, batch, strict=True)
    ]


def run_fingerprint(arms: Sequence[Arm], cases: Sequence[Case]) -> str:
    """SHA-256 of everything that decides the predictions: the arms' settings, the questions, and their passages."""
    digest = hashlib.sha256()
    for arm in arms:
        digest.update(json.dumps([arm.name, _deciding(arm.settings)], sort_keys=True).encode())
    for case in cases:
        # Fields that say nothing are left out, so that runs from before a field was added resume.
        unset = {"kind", "yes"} if case.question.kind == "span" else set()
        digest.update(case.question.model_dump_json(exclude=unset).encode())
        digest.update(json.dumps([(hit.passage.id, hit.passage.text) for hit in case.hits]).encode())
    return digest.hexdigest()


def _deciding(settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The settings that can change a reply: a run may resume with another number of threads."""
    return {name: value for name, value in settings.items() if name != "threads"}


def _other_settings(arms: Sequence[Arm], before: Mapping[str, Any]) -> str:
    """The first difference between a run's arms and those on disk, in words; else that the questions differ."""
    here = {arm.name: _deciding(arm.settings) for arm in arms}
    for name in dict.fromkeys((*before, *here)):
        if name not in before or name not in here:
            return f"only one of the two has the arm {name!r}"
        old, new = _deciding(before[name]), here[name]
        for key in dict.fromkeys((*old, *new)):
            if old.get(key) != new.get(key):
                return f"{key} of the arm {name!r} was {old.get(key)!r} and is now {new.get(key)!r}"
    return "the questions or their retrieved passages differ"


def _claim(output: Path, arms: Sequence[Arm], cases: Sequence[Case]) -> None:
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise EvaluationError(f"two arms are named {name!r}: give each its own name")
    output.mkdir(parents=True, exist_ok=True)
    path = output / RUN_FILE
    fingerprint = run_fingerprint(arms, cases)
    check_claim(output)
    if path.is_file():
        before = _read_json(path)
        if before.get("fingerprint") != fingerprint:
            arms_before = before.get("arms")
            differs = _other_settings(arms, arms_before if isinstance(arms_before, dict) else {})
            raise EvaluationError(
                f"{output} holds the predictions of another run ({differs}): give another output folder, or remove"
                " this one to start over"
            )
        return
    _write_json(path, {"fingerprint": fingerprint, "arms": {arm.name: dict(arm.settings) for arm in arms}})


def check_claim(output: Path) -> None:
    """Raise EvaluationError if a run in this folder would overwrite what an evaluation did not write."""
    for name in _RECORDS:
        path = output / name
        if os.path.lexists(path) and not is_plain_file(path):
            raise EvaluationError(f"{path} is a link or a folder, but an evaluation writes a file there: move it away")
    if (output / RUN_FILE).exists():
        before = _read_json(output / RUN_FILE)
        if not isinstance(before.get("fingerprint"), str) or not isinstance(before.get("arms"), dict):
            raise EvaluationError(
                f"{output / RUN_FILE} is not from an evaluation of rag_ft: give another output folder"
            )
        return
    for name in (PREDICTIONS, MEMORY):
        if (output / name).exists():
            raise EvaluationError(
                f"{output / name} has no {RUN_FILE} beside it to say what run it is from, and is not overwritten: give"
                " another output folder"
            )


class RunFolder:
    """The folder of a run; a temporary one, made for `path` None, is removed with the last reference to it."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="rag-ft-evaluation-")) if path is None else Path(path)
        if path is None:
            weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def is_same(self, folder: Path) -> bool:
        """Whether `folder` is this run's folder."""
        return folder.exists() and folder.samefile(self.path)

    def copy_to(self, folder: Path) -> None:
        """Copy the run's records, and those of its parts, in place of those of an earlier run in `folder`.

        Raises EvaluationError where `folder` holds something of these names that an evaluation did not write.
        """
        copied, earlier = _run_folders(self.path), _run_folders(folder)
        for name in {*copied, *earlier}:
            check_claim(folder / name)
        for name in earlier:
            for file in _RECORDS:
                (folder / name / file).unlink(missing_ok=True)
        for name in copied:
            (folder / name).mkdir(parents=True, exist_ok=True)
            for file in _RECORDS:
                if (self.path / name / file).is_file():
                    with replacing(folder / name / file) as work:
                        shutil.copyfile(self.path / name / file, work)


def _run_folders(folder: Path) -> list[Path]:
    """Folders with a run's records, relative to `folder`: itself and those in its parts."""
    files = [folder / RUN_FILE, *(file for part in PARTS for file in sorted((folder / part).rglob(RUN_FILE)))]
    return [file.parent.relative_to(folder) for file in files if file.is_file()]


def read_memory(output: Path) -> dict[str, Memory]:
    """Each arm's peak memory over all calls of a run; empty for a run that recorded none."""
    path = output / MEMORY
    try:
        return {
            name: Memory.model_validate(peak) for name, peak in (_read_json(path) if path.is_file() else {}).items()
        }
    except ValidationError as error:
        raise EvaluationError(f"{path} is damaged: remove it, which loses the peaks recorded so far") from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=1) + "\n")


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions on disk, without a last line that a kill cut short. Raises EvaluationError for a damaged line."""
    predictions = []
    for line_number, line in enumerate(_whole_lines(path), start=1):
        try:
            predictions.append(Prediction.model_validate_json(line))
        except ValidationError as error:
            raise EvaluationError(
                f"{path}, line {line_number} is damaged: remove that line and run again, which repeats its batch"
            ) from error
    return predictions


def _whole_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]


def _whole_batches(path: Path, groups: Sequence[Sequence[Case]]) -> list[Prediction]:
    """The predictions of complete batches on disk.

    A batch that a kill cut short is removed from the file, so that it is asked again as a whole.
    """
    known = read_predictions(path)
    replied: dict[str, set[str]] = {}
    for prediction in known:
        replied.setdefault(prediction.arm, set()).add(prediction.question_id)
    copies = {group[0].question.id: [case.question.id for case in group] for group in groups}
    cut: set[tuple[str, str]] = set()
    for batch in _batches([group[0] for group in groups]):
        names = {name for first in batch for name in copies[first.question.id]}
        cut |= {(arm, name) for arm, ids in replied.items() if not names <= ids for name in names & ids}
    whole = [(prediction.arm, prediction.question_id) not in cut for prediction in known]
    if path.is_file() and (cut or not path.read_bytes().endswith(b"\n")):
        lines = [line + "\n" for line, kept in zip(_whole_lines(path), whole, strict=True) if kept]
        write_atomic(path, "".join(lines))
    return [prediction for prediction, kept in zip(known, whole, strict=True) if kept]


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(f"{path} is not JSON: give another output folder, or remove this one") from error
    return content if isinstance(content, dict) else {}
