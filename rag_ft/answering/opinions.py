"""What the generator says of a text before it looks for an answer: whether the text holds one.

One pass over the prompts says it, without any search. A tuned reader's null is a second opinion beside the
cross-encoder's, from another model that was tuned on other data (docs/answers.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rag_ft.answering.confidence import PlattScale, bounded
from rag_ft.answering.decoding.batch import BatchRunner
from rag_ft.answering.decoding.prompt_rows import PromptRow, PromptRows
from rag_ft.answering.outcome import not_null_probability
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import PromptTooLongError
from rag_ft.metrics.odds import log_odds


class Opinion(NamedTuple):
    """What the generator says of the passages of a request."""

    log_odds: tuple[float, ...]
    """That each passage answers, on the adapter's scale; 0 for one that does not fit the prompt."""
    prompt_tokens: int = 0


NO_OPINION = Opinion(())
"""Of a generator that was not asked."""


class Opinions:
    """Asks the generator. `scale`: of its adapter, so that the opinions of several adapters mean the same."""

    def __init__(self, rows: PromptRows, batches: BatchRunner, scale: PlattScale) -> None:
        self._rows = rows
        self._batches = batches
        self._scale = scale

    def of(self, requests: Sequence[ReadRequest]) -> list[Opinion]:
        """The opinion of the passages of each request."""
        rows = [self._rows_of(request) for request in requests]
        self._batches.start(rows)
        return [self._opinion(own, len(request.passages)) for request, own in zip(requests, rows, strict=True)]

    def _rows_of(self, request: ReadRequest) -> list[PromptRow]:
        try:
            return self._rows.of_request(request, "separate")
        except PromptTooLongError:  # no passage fits, so that the generator has no opinion of any
            return []

    def _opinion(self, rows: Sequence[PromptRow], passages: int) -> Opinion:
        said = [0.0] * passages
        for row in rows:
            said[row.positions[0]] = bounded(log_odds(self._scale.scaled(not_null_probability([row.null]))))
        return Opinion(tuple(said), sum(len(row.prompt) for row in rows))
