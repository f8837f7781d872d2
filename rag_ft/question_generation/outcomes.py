"""What came of each request, on disk batch by batch: a run that was killed resumes after its last whole batch.

    NAME.partial/                 what `rag_ft.unfinished` keeps: source, index, pipeline, settings
    NAME.partial/requests.jsonl   one line per request

Batches are written whole, and one that a kill cut short is made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, JsonValue, ValidationError

from rag_ft.errors import DatasetError
from rag_ft.files import append_whole, clear_partial, is_plain_file, write_atomic
from rag_ft.schema import AnswerKind, Evidence, Record
from rag_ft.text.openings import AskedFor
from rag_ft.unfinished import UnfinishedRun

if TYPE_CHECKING:
    from rag_ft.question_generation.source import WriteRequest

REQUESTS = "requests.jsonl"


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


class WorkFolder(UnfinishedRun):
    """The outcomes of an unfinished run beside its output."""

    kept: ClassVar = {REQUESTS: is_plain_file}

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        self._requests = self.path / REQUESTS

    def claim(self, settings: Mapping[str, JsonValue], *, overwrite: bool = False) -> list[list[Outcome]]:
        """The whole batches of the run with these settings so far, none if it begins now.

        The folder exists. `overwrite`: forget an unfinished run with other settings. Raises DatasetError where there is
        one, or where the outcomes are damaged, OSError.
        """
        clear_partial(self._requests)
        self.begin(settings, overwrite=overwrite)
        return self._whole_batches()

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Write the outcomes of a batch, all or none. Raises OSError."""
        lines = [outcome.model_dump_json(exclude_defaults=True) + "\n" for outcome in outcomes]
        append_whole(self._requests, "".join(lines))

    def holds_results(self) -> bool:
        """Whether any request was made."""
        return self._requests.exists()

    def clear_results(self) -> None:
        """Remove the outcomes. Raises OSError."""
        self._requests.unlink(missing_ok=True)

    def _whole_batches(self) -> list[list[Outcome]]:
        path = self._requests
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
