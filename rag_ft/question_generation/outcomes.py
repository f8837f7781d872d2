"""What came of each request, on disk batch by batch: a run that was killed resumes after its last whole batch.

    NAME.partial/run.json         what decides the questions: source, index, pipeline, settings
    NAME.partial/requests.jsonl   one line per request

Batches are written whole, and one that a kill cut short is made again. The folder goes when the questions are written.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, JsonValue, ValidationError

from rag_ft.errors import DatasetError, UsageError
from rag_ft.files import append_whole, clear_partial, is_plain_file, is_real_folder, write_atomic
from rag_ft.schema import AnswerKind, Evidence, Record
from rag_ft.text.openings import AskedFor

if TYPE_CHECKING:
    from rag_ft.question_generation.source import WriteRequest

logger = logging.getLogger(__name__)

RUN_FILE = "run.json"
REQUESTS = "requests.jsonl"
LOCK = "lock"
_FILES = (REQUESTS, RUN_FILE, LOCK)


class Outcome(Record):
    """What came of one request."""

    batch: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=1)]
    """Number of requests in the batch, by which one that a kill cut short is recognised."""
    passage_id: str
    document_id: str
    asked_for: AskedFor
    seed: int
    question: str = ""
    """Empty where none was written."""
    evidence: Evidence | None = None
    kind: AnswerKind = "span"
    yes: bool | None = None
    logprob: float = 0.0
    reason: str = ""
    """Why it was not kept; empty for what was."""
    answered: str | None = None
    """What the pipeline answered; None where it declined, or was not asked."""

    def answers(self, request: WriteRequest) -> bool:
        """Whether this came of a request."""
        return (self.passage_id, self.asked_for, self.seed) == (request.passage.id, request.asked_for, request.seed)


class WorkFolder:
    """The outcomes of an unfinished run beside its output."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.partial")

    @property
    def exists(self) -> bool:
        """Whether a run was begun and not finished."""
        return (self.path / RUN_FILE).exists()

    def claim(self, settings: Mapping[str, JsonValue], *, start_over: bool = False) -> list[list[Outcome]]:
        """The whole batches of the run with these settings so far, none if it begins now.

        The folder exists. `start_over`: remove an unfinished run first, of whatever settings. Raises DatasetError where
        the folder holds another run, OSError.
        """
        for name in (RUN_FILE, REQUESTS):
            clear_partial(self.path / name)
        if start_over:
            self._discard(settings)
        run = self.path / RUN_FILE
        if not run.exists():
            if (self.path / REQUESTS).exists():
                raise DatasetError(f"{self.path} has no {RUN_FILE} to say what run it is from: remove it to start over")
            write_atomic(run, json.dumps(dict(settings), indent=1) + "\n")
            return []
        before = self._read_settings()
        for name in dict.fromkeys((*before, *settings)):
            if before.get(name) != settings.get(name):
                changed = f"{name} was {before.get(name)!r} and is now {settings.get(name)!r}"
                raise DatasetError(
                    f"{self.path} holds an unfinished run with other settings ({changed}): finish it with its own"
                    " settings, start over (--overwrite, or remove the folder), or give another output"
                )
        return self._whole_batches()

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Write the outcomes of a batch, all or none. Raises OSError."""
        lines = [outcome.model_dump_json(exclude_defaults=True) + "\n" for outcome in outcomes]
        append_whole(self.path / REQUESTS, "".join(lines))

    def clear(self) -> None:
        """Remove the run's files, its settings last: without them, they would be nobody's. Raises OSError."""
        for name in (REQUESTS, RUN_FILE):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the cleared folder, unless something else is in it, or another process has begun in it."""
        with suppress(OSError):
            if not self.exists:
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    def check(self) -> None:
        """Raise UsageError where something else is in the way of the folder or its files."""
        entries = [(self.path, is_real_folder), *((self.path / name, is_plain_file) for name in _FILES)]
        for path, is_ours in entries:
            if os.path.lexists(path) and not is_ours(path):
                raise UsageError(f"{path} is in the way of the unfinished work that is kept there: move it away")

    def _discard(self, settings: Mapping[str, JsonValue]) -> None:
        """Remove an unfinished run. Raises DatasetError where its file of settings is none."""
        if not self.exists:
            return
        if self._read_settings().keys().isdisjoint(settings):
            raise DatasetError(f"{self.path / RUN_FILE} does not say what run it is from: move {self.path} away")
        requests = self.path / REQUESTS
        lost = requests.read_bytes().count(b"\n") if requests.exists() else 0
        self.clear()
        logger.info("starting over: the %d requests of an unfinished run were removed", lost)

    def _read_settings(self) -> Mapping[str, JsonValue]:
        path = self.path / RUN_FILE
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{path} is damaged: remove {self.path} to start over") from error
        return settings if isinstance(settings, dict) else {}

    def _whole_batches(self) -> list[list[Outcome]]:
        path = self.path / REQUESTS
        if not path.is_file():
            return []
        data = path.read_bytes()
        lines = data.decode("utf-8", errors="replace").split("\n")[:-1]
        outcomes: list[Outcome] = []
        for line_number, line in enumerate(lines, start=1):
            try:
                outcomes.append(Outcome.model_validate_json(line))
            except ValidationError as error:
                raise DatasetError(
                    f"{path}, line {line_number} is damaged: remove {self.path} to start over"
                ) from error
        batches = [list(batch) for _, batch in groupby(outcomes, key=lambda outcome: outcome.batch)]
        for number, batch in enumerate(batches):
            cut = len(batch) < batch[0].batch_size
            if batch[0].batch != number or (cut and number < len(batches) - 1):
                raise DatasetError(f"{path} lacks requests of batch {number}: remove {self.path} to start over")
        whole = [batch for batch in batches if len(batch) == batch[0].batch_size]
        kept = "".join(line + "\n" for line in lines[: sum(map(len, whole))])
        if kept.encode() != data:
            write_atomic(path, kept)
        return whole
