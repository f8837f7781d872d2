"""One arm's reply to one question: written to disk as it comes, and all that figures are computed from."""

from __future__ import annotations

from rag_ft.metrics.kinds import decision_of, overlaps_evidence
from rag_ft.metrics.retrieval import Place
from rag_ft.schema import AnswerKind, Question, Record, Verdict


class CitedPlace(Record):
    """A citation: the cited passage, the quote, and the verdict of the check at answer time."""

    passage: Place
    quote: str
    verdict: Verdict
    start: int | None = None
    """Offset in the document of the answer, or of the quote where the passage does not contain the answer; None in
    runs from before it was kept."""
    end: int | None = None


class Prediction(Record):
    """One arm's reply to one question."""

    arm: str
    question_id: str
    answer: str | None
    """The answer; None where the arm declined, gave nothing usable (`complete`) or failed (`failed`)."""
    kind: AnswerKind = "span"
    """What the answer is, from a reader that knows kinds."""
    yes: bool | None = None
    """What such a reader's answer says to a question of yes or no."""
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

    @property
    def decision(self) -> bool | None:
        """Yes or no, as the arm says it or begins its text with; None where it says neither."""
        return decision_of(self.answer, self.yes) if self.usable else None


def found_gold(prediction: Prediction, question: Question) -> bool | None:
    """Whether a passage of the arm shows the evidence; None for an arm without passages."""
    if not prediction.passages:
        return None
    return any(passage.shows(question) for passage in prediction.passages)


def cites_gold(prediction: Prediction, question: Question) -> bool:
    """Whether a cited passage shows the evidence."""
    return any(citation.passage.shows(question) for citation in prediction.citations)


def cites_part(prediction: Prediction, question: Question) -> bool:
    """Whether what is cited, and not only its passage, overlaps the evidence."""
    return any(
        overlaps_evidence(citation.passage.document_id, citation.start, citation.end, question.evidence)
        for citation in prediction.citations
        if citation.start is not None and citation.end is not None
    )
