"""What an arm made of a question: the record that is written as it comes, and that every figure is computed from."""

from __future__ import annotations

from collections.abc import Iterable

from rag_ft.metrics.retrieval import Place
from rag_ft.schema import Evidence, Record, Verdict


class CitedPlace(Record):
    """A citation: the passage that an arm points to, and what the check at answer time said of it."""

    passage: Place
    quote: str
    verdict: Verdict


class Prediction(Record):
    """One arm's reply to one question."""

    arm: str
    question_id: str
    answer: str | None
    """None where the arm declined, produced nothing usable (`complete`) or failed (`failed`)."""
    citations: tuple[CitedPlace, ...] = ()
    passages: tuple[Place, ...] = ()
    """What was retrieved for it, best first; empty for an arm without passages."""
    confidence: float | None = None
    """That the best answer is right, given or not; None for an arm that does not say."""
    parses: bool | None = None
    """Whether the completion, decoded without constraint, was the JSON asked for; None where it was constrained."""
    complete: bool = True
    failed: str = ""
    """Why the arm gave no reply at all, in a sentence; such questions are counted, never scored as wrong in silence."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether there is a reply that can be scored, an answer or null."""
        return not self.failed and self.complete and self.parses is not False

    @property
    def declined(self) -> bool:
        """Whether null was said; a reply that cannot be read says nothing."""
        return self.usable and self.answer is None


def found_gold(prediction: Prediction, evidence: Iterable[Evidence]) -> bool | None:
    """Whether a passage before the arm holds a whole piece of evidence; None where it was given none to look at."""
    if not prediction.passages:
        return None
    return any(place.holds(one) for place in prediction.passages for one in evidence)


def cites_gold(prediction: Prediction, evidence: Iterable[Evidence]) -> bool:
    """Whether a citation's passage holds a whole piece of evidence."""
    return any(cited.passage.holds(one) for cited in prediction.citations for one in evidence)
