"""Questions that are nearly the same: of two, the one that was asked first is kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rag_ft.schema import Evidence, Question
from rag_ft.text.question_form import content_words, question_words
from rag_ft.text.question_swap import stemmed

NEARLY_THE_SAME = 0.8
"""Share of the words of two questions that both have (Jaccard), from which they are near-duplicates."""
OF_THE_SAME_EVIDENCE = 0.5
"""The share where both are answered by the same words of a document."""
_SAME_EVIDENCE = 0.5
"""Share of the characters of two pieces of evidence that both have, from which they are the same."""


class AskedQuestion(NamedTuple):
    """A question as it is compared."""

    words: frozenset[str]
    evidence: Evidence


def asked_question(question: str, evidence: Evidence) -> AskedQuestion:
    """A question's words without those that make no difference, and where its answer stands."""
    words = content_words(question) or question_words(question)
    return AskedQuestion(frozenset(stemmed(word) for word in words), evidence)


def are_near(first: AskedQuestion, second: AskedQuestion) -> bool:
    """Whether two questions are nearly the same."""
    shared, together = len(first.words & second.words), len(first.words | second.words)
    if shared >= NEARLY_THE_SAME * together:
        return True
    return shared >= OF_THE_SAME_EVIDENCE * together and _same_evidence(first.evidence, second.evidence)


class AskedBefore:
    """The questions that were asked so far, none of them near another."""

    def __init__(self) -> None:
        self._asked: list[AskedQuestion] = []

    def add(self, question: str, evidence: Evidence) -> bool:
        """Add a question unless it is near one that was added before; whether it was added."""
        if self.is_near(question, evidence):
            return False
        self._asked.append(asked_question(question, evidence))
        return True

    def is_near(self, question: str, evidence: Evidence) -> bool:
        """Whether a question is near one that was added."""
        new = asked_question(question, evidence)
        return any(are_near(new, known) for known in self._asked)


def without_near_duplicates(questions: Iterable[Question]) -> list[Question]:
    """The records, without those whose question is near that of an earlier one; records without evidence stay."""
    before = AskedBefore()
    return [
        question
        for question in questions
        if not question.evidence or before.add(question.question, question.evidence[0])
    ]


def _same_evidence(first: Evidence, second: Evidence) -> bool:
    if first.document_id != second.document_id:
        return False
    shared = min(first.end, second.end) - max(first.start, second.start)
    together = max(first.end, second.end) - min(first.start, second.start)
    return shared > 0 and shared >= _SAME_EVIDENCE * together
