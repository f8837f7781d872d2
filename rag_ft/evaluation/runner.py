"""Questions through arms, a line on disk for each reply, and figures from those lines alone.

Every prediction goes to `predictions.jsonl` as its batch comes. Batches are cut from the questions in one fixed way
and written whole; one that a kill has cut is taken off and asked again as a whole. So a run that was killed asks in the
batches of a run that was not, and ends with the same `results.json`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import JsonValue, ValidationError

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.base import Arm, Asked, failure
from rag_ft.evaluation.memory import Memory, MemoryWatch
from rag_ft.evaluation.predictions import Prediction
from rag_ft.files import append_whole, clear_partial, full_disk_as, is_plain_file, write_atomic
from rag_ft.schema import Question

if TYPE_CHECKING:
    from rag_ft.indexing.retriever import Retriever

PREDICTIONS = "predictions.jsonl"
RUN = "run.json"
MEMORY = "memory.json"
BATCH = 16
"""Questions that an arm is given at once; neighbours in length, so that little is padding."""


class Progress(NamedTuple):
    """How far an arm is."""

    arm: str
    done: int
    questions: int
    seconds_left: float | None


def run_arms(
    arms: Sequence[Arm],
    asked: Sequence[Asked],
    output: str | Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, list[Prediction]]:
    """Every arm's predictions in the order of the questions; what `output` holds a reply to is not asked again.

    What failed in an earlier go is: the server that was down may be back. An arm that raises is done for: its remaining
    questions are failures with the reason, and the other arms go on. Raises EvaluationError where `output` holds
    another run.
    """
    output = Path(output)
    with full_disk_as(EvaluationError, output, _KEPT):
        _claim(output, arms, asked)
        return _run_arms(arms, asked, output, on_progress)


_KEPT = "the replies so far are kept"


def _run_arms(
    arms: Sequence[Arm], asked: Sequence[Asked], output: Path, on_progress: Callable[[Progress], None] | None
) -> dict[str, list[Prediction]]:
    for name in (PREDICTIONS, MEMORY):
        clear_partial(output / name)  # left by a kill, where nothing is written to them any more
    path = output / PREDICTIONS
    groups = list(_alike(asked).values())
    found: dict[str, dict[str, Prediction]] = {arm.name: {} for arm in arms}
    for one in _whole_batches(path, groups):
        if one.arm in found and not one.failed:
            found[one.arm][one.question_id] = one
    peaks = read_memory(output)

    def remember(arm: str, peak: Memory) -> None:
        if peaks.get(arm) != (higher := peak.with_peak(peaks.get(arm))):
            peaks[arm] = higher
            _put(output / MEMORY, {name: one.model_dump() for name, one in peaks.items()})

    for arm in arms:
        with MemoryWatch() as watch:
            _run_arm(arm, groups, found[arm.name], path, watch, remember, on_progress)
    return {
        arm.name: [found[arm.name][one.question.id] for one in asked if one.question.id in found[arm.name]]
        for arm in arms
    }


def _run_arm(
    arm: Arm,
    groups: Sequence[Sequence[Asked]],
    found: dict[str, Prediction],
    path: Path,
    watch: MemoryWatch,
    remember: Callable[[str, Memory], None],
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Ask the first of each group; the others have the same question and passages, and get the same reply."""
    copies = {group[0].question.id: group[1:] for group in groups}
    total = sum(len(group) for group in groups)
    broken = ""
    begin, answered = time.monotonic(), 0
    for batch in _batches([group[0] for group in groups]):
        # A reply that there is stays, also where another one of its batch failed: it may have been paid for.
        batch = [
            first for first in batch if any(one.question.id not in found for one in (first, *copies[first.question.id]))
        ]
        if not batch:
            continue
        start = time.perf_counter()
        try:
            made = [failure(arm.name, one, broken) for one in batch] if broken else arm.reply(batch)
        except Exception as error:  # an arm may be anybody's code, or a server at the other end of the world
            broken = f"{type(error).__name__}: {error}"
            seconds = (time.perf_counter() - start) / len(batch)
            made = [failure(arm.name, one, broken, seconds) for one in batch]
        if [one.question_id for one in made] != [one.question.id for one in batch]:
            raise EvaluationError(
                f"the arm {arm.name!r} gave {len(made)} replies to {len(batch)} questions, or in"
                " another order: make its reply() give one prediction for each question"
            )
        made = [_finite(one, asked) for one, asked in zip(made, batch, strict=True)]
        made += [
            one.model_copy(update={"question_id": other.question.id})
            for one in made
            for other in copies[one.question_id]
        ]
        found.update({one.question_id: one for one in made})
        append_whole(path, "".join(one.model_dump_json(exclude_defaults=True) + "\n" for one in made))
        remember(arm.name, watch.peak)
        answered += len(made)
        if on_progress is not None:
            left = (time.monotonic() - begin) / answered * (total - len(found))
            on_progress(Progress(arm.name, len(found), total, left))


def _finite(one: Prediction, asked: Asked) -> Prediction:
    """A reply whose numbers are none would spoil every mean that it enters: it counts as failed."""
    numbers = {"confidence": one.confidence, "seconds": one.seconds}
    odd = next((name for name, value in numbers.items() if value is not None and not math.isfinite(value)), None)
    if odd is None:
        return one
    return failure(one.arm, asked, f"{odd} of a reply is {numbers[odd]}, which is no finite number")


def _alike(asked: Sequence[Asked]) -> dict[tuple[str, ...], list[Asked]]:
    """Questions that would be asked in the same words with the same passages, together."""
    groups: dict[tuple[str, ...], list[Asked]] = {}
    for one in asked:
        # The gold passages differ with the evidence, and an arm may be given those.
        gold = tuple(f"{piece.document_id} {piece.start} {piece.end}" for piece in one.question.evidence)
        key = (one.question.question, *(hit.passage.id for hit in one.hits), *gold)
        groups.setdefault(key, []).append(one)
    return groups


def _batches(asked: Sequence[Asked]) -> list[list[Asked]]:
    """Fixed by the questions alone: those about one place together, whose passages are then read once; then by id."""

    def place(one: Asked) -> tuple[str, int, str]:
        first = one.hits[0].passage if one.hits else None
        return (first.document_id if first else "", first.start if first else 0, one.question.id)

    ordered = sorted(asked, key=place)
    return [ordered[begin : begin + BATCH] for begin in range(0, len(ordered), BATCH)]


def retrieved(questions: Sequence[Question], retriever: Retriever) -> list[Asked]:
    """The questions with their passages, once for all arms. Raises EvaluationError where there are no questions."""
    if not questions:
        raise EvaluationError("there are no questions to ask: check the recipe's questions and split")
    hits = retriever.retrieve_batch([one.question for one in questions])
    return [Asked(question, tuple(found)) for question, found in zip(questions, hits, strict=True)]


def run_fingerprint(arms: Sequence[Arm], asked: Sequence[Asked]) -> str:
    """SHA-256 over all that decides the predictions: the arms' settings, questions, and the passages found."""
    digest = hashlib.sha256()
    for arm in arms:
        digest.update(json.dumps([arm.name, _deciding(arm.settings)], sort_keys=True).encode())
    for one in asked:
        digest.update(one.question.model_dump_json().encode())
        digest.update(json.dumps([(hit.passage.id, hit.passage.text) for hit in one.hits]).encode())
    return digest.hexdigest()


def _deciding(settings: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Settings without what changes no reply: a run may go on with another number of threads."""
    return {name: value for name, value in settings.items() if name != "threads"}


def _other_settings(arms: Sequence[Arm], before: Mapping[str, Any]) -> str:
    """The first setting in which a run differs from the one on disk, in words; that they differ otherwise, else."""
    here = {arm.name: _deciding(arm.settings) for arm in arms}
    for name in dict.fromkeys((*before, *here)):
        if name not in before or name not in here:
            return f"the arm {name!r} is in one of the two only"
        was = _deciding(before[name])
        for key in dict.fromkeys((*was, *here[name])):
            if was.get(key) != here[name].get(key):
                return f"{key} of the arm {name!r} was {was.get(key)!r} and is {here[name].get(key)!r}"
    return "other questions, or other passages were found for them"


def _claim(output: Path, arms: Sequence[Arm], asked: Sequence[Asked]) -> None:
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise EvaluationError(f"two arms are named {name!r}: give each its own name")
    output.mkdir(parents=True, exist_ok=True)
    path = output / RUN
    fingerprint = run_fingerprint(arms, asked)
    check_claim(output)
    if path.is_file():
        before = _json(path)
        if before.get("fingerprint") != fingerprint:
            arms_before = before.get("arms")
            differs = _other_settings(arms, arms_before if isinstance(arms_before, dict) else {})
            raise EvaluationError(
                f"{output} holds the predictions of another run ({differs}): give another output folder, or remove"
                " this one to start anew"
            )
        return
    _put(path, {"fingerprint": fingerprint, "arms": {arm.name: dict(arm.settings) for arm in arms}})


def check_claim(output: Path) -> None:
    """Raise EvaluationError where a run in this folder would write over what no run of an evaluation has written."""
    for name in (RUN, PREDICTIONS, MEMORY):
        path = output / name
        if os.path.lexists(path) and not is_plain_file(path):
            raise EvaluationError(f"{path} is a link or a folder where an evaluation writes: move it away")
    if (output / RUN).exists():
        before = _json(output / RUN)
        if not isinstance(before.get("fingerprint"), str) or not isinstance(before.get("arms"), dict):
            raise EvaluationError(f"{output / RUN} is not from an evaluation of rag_ft: give another output folder")
        return
    for name in (PREDICTIONS, MEMORY):
        if (output / name).exists():
            raise EvaluationError(
                f"{output / name} stands without the {RUN} that says what it is of, and is not written over: give"
                " another output folder"
            )


def read_memory(output: Path) -> dict[str, Memory]:
    """Arm → its peaks over all of a run's goes; empty for a run that wrote none."""
    path = output / MEMORY
    try:
        return {name: Memory.model_validate(one) for name, one in (_json(path) if path.is_file() else {}).items()}
    except ValidationError as error:
        raise EvaluationError(f"{path} is damaged: remove it, and the peaks so far are forgotten") from error


def _put(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(content, indent=1) + "\n")


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions on disk, without a last line that was cut by a kill; a damaged one before it is an error."""
    found = []
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            found.append(Prediction.model_validate_json(line))
        except ValidationError as error:
            raise EvaluationError(
                f"{path}, line {number} is damaged: remove that line and run again, which asks its batch anew"
            ) from error
    return found


def _whole_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_bytes().decode("utf-8", errors="replace").split("\n")[:-1]


def _whole_batches(path: Path, groups: Sequence[Sequence[Asked]]) -> list[Prediction]:
    """The predictions on disk, those of a batch left out of which some questions have none: it was cut by a kill, and
    is asked again as the batch that it is. What is left out is taken off the file.
    """
    known = read_predictions(path)
    there: dict[str, set[str]] = {}
    for prediction in known:
        there.setdefault(prediction.arm, set()).add(prediction.question_id)
    copies = {group[0].question.id: [asked.question.id for asked in group] for group in groups}
    cut: set[tuple[str, str]] = set()
    for batch in _batches([group[0] for group in groups]):
        names = {name for first in batch for name in copies[first.question.id]}
        cut |= {(arm, name) for arm, ids in there.items() if not names <= ids for name in names & ids}
    whole = [(one.arm, one.question_id) not in cut for one in known]
    if path.is_file() and (cut or not path.read_bytes().endswith(b"\n")):
        lines = [line + "\n" for line, kept in zip(_whole_lines(path), whole, strict=True) if kept]
        write_atomic(path, "".join(lines))
    return [one for one, kept in zip(known, whole, strict=True) if kept]


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(f"{path} is not JSON: give another output folder, or remove this one") from error
    return content if isinstance(content, dict) else {}
