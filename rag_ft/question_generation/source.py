"""What writes questions: a request for one question about a passage, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rag_ft.schema import AnswerKind, Evidence, Passage
from rag_ft.text.openings import AskedFor
from rag_ft.text.spans import Span


class WriteRequest(NamedTuple):
    """One question to write."""

    passage: Passage
    asked_for: AskedFor
    seed: int
    """Decides what a model draws: equal requests give equal questions."""
    attempt: int = 0
    """How often the passage was asked for the same before: the next of its sentences is taken."""


class WrittenQuestion(NamedTuple):
    """A question and its answer, which stands in the passage word for word."""

    question: str
    span: Span
    """The answer's place in the passage's text."""
    kind: AnswerKind
    yes: bool | None
    """What the part says, where the question asks for yes or no."""
    logprob: float
    """Mean log-probability of a token of the question under what wrote it; 0 where it is not known."""

    def evidence_in(self, passage: Passage) -> Evidence:
        """The answer's place in the document of its passage."""
        start, end = self.span
        quote = passage.text[start:end]
        return Evidence(
            document_id=passage.document_id, start=passage.start + start, end=passage.start + end, quote=quote
        )


class QuestionSource(Protocol):
    """Writes questions: sentences turned around, the packaged generator, or a chat model."""

    @property
    def fingerprint(self) -> str:
        """Changes with everything that decides which questions are written."""
        ...

    def write(self, requests: Sequence[WriteRequest]) -> list[WrittenQuestion | str]:
        """The question of each request, or why there is none, in a few equal words for equal reasons."""
        ...
