"""What the cross-encoder says of candidate spans: a second model's log-odds, added to the generator's in the search.

An encoder reads words with what stands after them, a generator only with what stands before: they err differently.
docs/answers.md says what adding both gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_ft.answering.decoding.candidates import Candidates, PlacedSpans
from rag_ft.answering.decoding.prompt_rows import PromptRow
from rag_ft.answering.evidence import recorded_calibration
from rag_ft.answering.reading import Cited
from rag_ft.models.cross_encoder import LEAST_ODDS, CrossEncoder


class SpanOpinion(NamedTuple):
    """What the cross-encoder says of the candidates of one prompt."""

    added: list[float]
    """What is added to the generator's log-probability of each candidate: its log-odds where it stands best, against
    no answer in its passage, weighed."""
    occurrences: NDArray[np.float64]
    """Log-odds of each of `placed`, (occurrences,)."""
    placed: PlacedSpans

    def cite(self, row: PromptRow, candidate: int) -> Cited:
        """The place where a candidate stands best; the first of equal ones."""
        of_candidate = np.flatnonzero(self.placed.candidates == candidate)
        best = of_candidate[np.argmax(self.occurrences[of_candidate])]
        return Cited(row.prompt.passages[self.placed.passages[best]], self.placed.span(int(best)))


class EncoderSpans:
    """Asks the cross-encoder about candidates. `weight`: of its log-odds beside the generator's."""

    def __init__(self, cross_encoder: CrossEncoder, weight: float) -> None:
        self._cross_encoder = cross_encoder
        self.weight = weight

    @classmethod
    def recorded(cls, cross_encoder: CrossEncoder | None) -> EncoderSpans | None:
        """With the weight in a cross-encoder's record; None without one, or where its record gives none.

        Raises WeightsError.
        """
        if cross_encoder is None:
            return None
        weight = recorded_calibration(cross_encoder.record).span_weight
        return cls(cross_encoder, weight) if weight else None

    def of(self, rows: Sequence[PromptRow], candidates: Sequence[Candidates]) -> list[SpanOpinion]:
        """Its opinion of the candidates of each row."""
        pairs = [(row.question, passage) for row in rows for passage in row.prompt.passages]
        scores = iter(self._cross_encoder.score_batch(pairs))
        opinions = []
        for row, listed in zip(rows, candidates, strict=True):
            placed = listed.placed
            occurrences = np.full(len(placed.candidates), LEAST_ODDS)
            for passage_index in range(len(row.prompt.passages)):
                inside = placed.passages == passage_index
                occurrences[inside] = next(scores).span_odds(placed.spans[inside])
            best = np.full(len(listed.texts), LEAST_ODDS)
            np.maximum.at(best, placed.candidates, occurrences)
            opinions.append(SpanOpinion((self.weight * best).tolist(), occurrences, placed))
        return opinions
