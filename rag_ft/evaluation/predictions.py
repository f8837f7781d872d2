"""One arm's reply to one question: written to disk as it comes, and all that figures are computed from."""

from __future__ import annotations

from collections.abc import Iterable

from rag_ft.metrics.retrieval import Place
from rag_ft.schema import Evidence, Record, Verdict


class CitedPlace(Record):
    """A citation: the cited passage, the quote, and the verdict of the check at answer time."""

    passage: Place
    quote: str
    verdict: Verdict


class Prediction(Record):
    """One arm's reply to one question."""

    arm: str
    question_id: str
    answer: str | None
    """The answer; None where the arm declined, gave nothing usable (`complete`) or failed (`failed`)."""
    citations: tuple[CitedPlace, ...] = ()
    passages: tuple[Place, ...] = ()
    """Passages that the arm was given, best first; empty for an arm without passages."""
    confidence: float | None = None
    """Confidence that the best answer is right, given or not; None for an arm without confidences."""
    parses: bool | None = None
    """Whether the unconstrained completion was the requested JSON; None where decoding was constrained."""
    complete: bool = True
    failed: str = ""
    """Why the arm gave no reply, in a sentence; such questions are counted and have no score."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether there is a reply that can be scored, an answer or null."""
        return not self.failed and self.complete and self.parses is not False

    @property
    def declined(self) -> bool:
        """Whether the arm said null; a reply that cannot be parsed does not count."""
        return self.usable and self.answer is None


def found_gold(prediction: Prediction, evidence: Iterable[Evidence]) -> bool | None:
    """Whether a passage of the arm holds a whole piece of evidence; None for an arm without passages."""
    if not prediction.passages:
        return None
    return any(passage.holds(piece) for passage in prediction.passages for piece in evidence)


def cites_gold(prediction: Prediction, evidence: Iterable[Evidence]) -> bool:
    """Whether a cited passage holds a whole piece of evidence."""
    return any(citation.passage.holds(piece) for citation in prediction.citations for piece in evidence)
