"""The stages of an adaptation and what is known of each: a stage whose inputs are as before is not done again.

adapt.json         stages: fingerprint of the inputs, result, seconds
adapt.lock         held while a process works in the folder
index/             the index of the documents
made.jsonl         question records that a generator made (and files that start with `made.`)
questions.jsonl    all question records
held-out.jsonl     those of them that nothing is trained on
adapter/           the tuned reader
evaluation/        the comparison, with a report of its own
label.jsonl        the records to look at next
verdict.html, verdict.json
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from rag_ft.checksums import sha256_of
from rag_ft.errors import TrainingError, UsageError, first_problem
from rag_ft.files import clear_partial, disk_full, is_disk_full, is_plain_file, locked, partials, write_atomic

logger = logging.getLogger(__name__)

STATE = "adapt.json"
LOCK = "adapt.lock"
INDEX = "index"
MADE = "made.jsonl"
QUESTIONS = "questions.jsonl"
HELD_OUT = "held-out.jsonl"
ADAPTER = "adapter"
EVALUATION = "evaluation"
LABEL = "label.jsonl"
PAGE = "verdict.html"
RESULT = "verdict.json"

_FORMAT = 1


class Stage(BaseModel):
    """A stage that is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    """SHA-256 of the inputs, which include the results of the stages before it."""
    result: dict[str, JsonValue]
    """What later stages need; without times, so that equal inputs give equal results."""
    seconds: float


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int = _FORMAT
    stages: dict[str, Stage] = {}
    begun: dict[str, str] = {}
    """Fingerprint of the inputs of each stage that was started: a stage with other inputs starts from the beginning."""
    written: dict[str, list[str]] = {}
    """SHA-256 of what was or is about to be written, by file: other content is somebody's work."""


class Folder:
    """The output folder of an adaptation, with the stages that are done."""

    def __init__(self, path: Path, state: _State) -> None:
        self.path = path
        self._state = state

    def file(self, name: str) -> Path:
        """A file or folder inside."""
        return self.path / name

    def stage(
        self,
        name: str,
        inputs: Mapping[str, JsonValue],
        work: Callable[[], dict[str, JsonValue]],
        *,
        stands: Callable[[dict[str, JsonValue]], bool] = lambda result: True,
        renew: Callable[[], None] = lambda: None,
    ) -> dict[str, JsonValue]:
        """The result of a stage: that of an earlier call if its inputs are equal and its files stand, else of `work`.

        `stands`: whether the files of a result are still there. `renew`: removes what `work` would resume from; called
        where an earlier call began the stage with other inputs.
        """
        fingerprint = _fingerprint(inputs)
        done = self._state.stages.get(name)
        if done is not None and done.fingerprint == fingerprint and stands(done.result):
            logger.info(
                "%s", f"{'':<13} done before with the same inputs: skipped ({seconds_in_words(done.seconds)} saved)"
            )
            return done.result
        if self._state.begun.get(name, fingerprint) != fingerprint or done is not None:
            renew()
        self._state.begun[name] = fingerprint
        self._save()
        start = time.monotonic()
        result = work()
        self._state.stages[name] = Stage(fingerprint=fingerprint, result=result, seconds=time.monotonic() - start)
        self._save()
        return result

    def note(self, name: str, result: dict[str, JsonValue], seconds: float | None) -> None:
        """Remember a stage that finds out by itself what is done; `seconds` None: as long as when it was done."""
        took = self.seconds(name) if seconds is None else seconds
        self._state.stages[name] = Stage(fingerprint="", result=result, seconds=took)
        self._save()

    def result_of(self, name: str) -> dict[str, JsonValue] | None:
        """The result of a stage, whatever its inputs were; None if it was never done."""
        done = self._state.stages.get(name)
        return None if done is None else done.result

    def seconds(self, *names: str) -> float:
        """How long stages took when they were done."""
        return sum(self._state.stages[name].seconds for name in names if name in self._state.stages)

    def write(self, name: str, content: str, *, replaces: bool = False) -> str:
        """Write a file of the folder, unless it holds what no adaptation wrote; returns its SHA-256.

        `replaces`: also then. Raises UsageError, and OSError.
        """
        path, digest = self.file(name), hashlib.sha256(content.encode()).hexdigest()
        known = self._state.written.get(name, [])
        if path.exists():
            if not is_plain_file(path):
                raise UsageError(f"{path} is a link or a folder, but a file is written there: move it away")
            if not replaces and sha256_of(path) not in {*known, digest}:
                raise UsageError(
                    f"{path} was changed by somebody since it was written, and is not replaced: move it away (records"
                    " that you corrected are used with --questions)"
                )
        self._state.written[name] = [*known[-1:], digest] if known[-1:] != [digest] else known
        self._save()  # before the file: after a kill between both, the file is still known as ours
        write_atomic(path, content)
        return digest

    def holds(self, name: str, digest: object) -> bool:
        """Whether a file of the folder has this SHA-256."""
        path = self.file(name)
        return is_plain_file(path) and sha256_of(path) == digest

    def _save(self) -> None:
        write_atomic(self.path / STATE, self._state.model_dump_json(indent=1) + "\n")


@contextmanager
def opened(path: Path) -> Iterator[Folder]:
    """The output folder, made if it is not there, and held as its only writer; full disks become TrainingError.

    Raises UsageError for a folder that holds something else, and where another process works in it.
    """
    try:
        _check(path)
        path.mkdir(parents=True, exist_ok=True)
        busy = UsageError(f"another process works in {path}: wait until it ends, or give another folder")
        with locked(path / LOCK, busy):
            clear_partial(path / STATE)
            folder = Folder(path, _read(path))
            folder._save()
            yield folder
    except OSError as error:
        if is_disk_full(error):
            raise TrainingError(disk_full(path, "the stages that are done are kept")) from error
        raise UsageError(
            f"{error.filename or path} cannot be used ({error.strerror or error}): give another folder (--output)"
        ) from error


def _check(path: Path) -> None:
    """Raise UsageError for a folder that is neither ours nor empty."""
    if path.is_symlink() and not path.exists():
        raise UsageError(f"{path} is a link that leads nowhere: give another folder (--output)")
    if not path.exists():
        return
    if not path.is_dir():
        raise UsageError(f"{path} is a file: give a folder (--output)")
    if (path / STATE).exists():
        return
    ours = {path / LOCK, *partials(path / STATE)}
    foreign = next((entry for entry in sorted(path.iterdir()) if entry not in ours), None)
    if foreign is not None:
        raise UsageError(f"{path} holds {foreign.name}, but no {STATE} of an earlier run: give another (--output)")


def _read(path: Path) -> _State:
    """What is known of the stages. Raises UsageError for a damaged file."""
    if not (path / STATE).exists():
        return _State()
    try:
        state = _State.model_validate_json((path / STATE).read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else "it is not UTF-8"
        raise UsageError(
            f"{path / STATE} is damaged or not from rag-ft adapt ({reason}): give another folder (--output)"
        ) from error
    if state.format != _FORMAT:
        raise UsageError(
            f"{path / STATE} has format {state.format}, and this version knows {_FORMAT}: give another folder"
        )
    return state


def _fingerprint(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def seconds_in_words(seconds: float) -> str:
    """A duration for people: "40 s", "12 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
