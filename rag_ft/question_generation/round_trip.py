"""Round trip: a written question is asked of the whole pipeline, and stays where the same evidence comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

from rag_ft.metrics.answers import token_f1
from rag_ft.metrics.kinds import decision_of
from rag_ft.schema import Answer, AnswerKind, Citation, Evidence, Passage
from rag_ft.text.sentences import sentences_around

RoundTripReason = Literal["not retrieved", "declined", "other passage", "other words", "other decision"]
"""Why a question's evidence did not come back: its passage is not among those retrieved; the reader said null; it cited
something else; it cited the right place for other words; it said no where the evidence says yes, or the reverse.
"""

ROUND_TRIP_REASONS: tuple[RoundTripReason, ...] = get_args(RoundTripReason)

SAME_WORDS = 0.6
"""Least token F1 of an answer of some words that is the evidence's."""


class Answers(Protocol):
    """A pipeline, as far as questions are asked of it here."""

    def ask_batch(self, questions: Sequence[str]) -> list[Answer]:
        """The answers in the order of the questions."""
        ...


def pipeline_fingerprint(pipeline: Answers) -> str:
    """Changes with everything that decides a pipeline's answers; another pipeline than ours may say its own."""
    return str(getattr(pipeline, "fingerprint", type(pipeline).__name__))


def round_trip_problem(
    evidence: Evidence, kind: AnswerKind, yes: bool | None, passage: Passage, answer: Answer
) -> RoundTripReason | None:
    """Why an answer does not bring back the evidence of the question that it answers; None where it does.

    `passage`: the one that the question was written from. The same text in another document counts as the evidence,
    too: the sentence of the evidence must stand there whole.
    """
    if not any(_shows(retrieved.passage, retrieved.also_in, evidence, passage) for retrieved in answer.passages):
        return "not retrieved"
    if answer.answer is None:
        return "declined"
    places = [place for citation in answer.citations if (place := _cited_evidence(citation, evidence, passage, answer))]
    if not places:
        return "other passage"
    # Where the reader gives whole sentences for some words, or the reverse, it is the place that is compared.
    if kind == "span" and answer.kind == "span":
        if token_f1(answer.answer, (evidence.quote,)) < SAME_WORDS:
            return "other words"
    elif not any(_shares_half(place, citation_span) for place, citation_span in places):
        return "other words"
    said = decision_of(answer.answer, answer.yes)
    return "other decision" if yes is not None and said is not None and said != yes else None


_Place = tuple[int, int]


def _shows(retrieved: Passage, also_in: Sequence[str], evidence: Evidence, passage: Passage) -> bool:
    if passage.id in (retrieved.id, *also_in):
        return True
    if retrieved.document_id == evidence.document_id:
        return retrieved.start <= evidence.start and evidence.end <= retrieved.end
    return _sentence_of(evidence, passage) in retrieved.text


def _sentence_of(evidence: Evidence, passage: Passage) -> str:
    """The sentences around the evidence: a number alone stands in many places."""
    start, end = sentences_around(passage.text, evidence.start - passage.start, evidence.end - passage.start)
    return passage.text[start:end]


def _cited_evidence(
    citation: Citation, evidence: Evidence, passage: Passage, answer: Answer
) -> tuple[_Place, _Place] | None:
    """Offsets of the evidence, and of what is cited, in the cited document, if they overlap; else None."""
    if citation.answer_start is None or citation.answer_end is None:
        return None
    cited = (citation.answer_start, citation.answer_end)
    place = (evidence.start, evidence.end)
    if citation.document_id != evidence.document_id or not _overlap(place, cited):
        cited_passage = next((hit.passage for hit in answer.passages if hit.passage.id == citation.passage_id), None)
        sentence = _sentence_of(evidence, passage)
        at = -1 if cited_passage is None else cited_passage.text.find(sentence)
        if at < 0 or cited_passage is None:
            return None
        start = cited_passage.start + at + sentence.find(evidence.quote)
        place = (start, start + len(evidence.quote))
    return (place, cited) if _overlap(place, cited) else None


def _overlap(first: _Place, second: _Place) -> bool:
    return first[0] < second[1] and second[0] < first[1]


def _shares_half(first: _Place, second: _Place) -> bool:
    """Whether two spans share at least half of either."""
    shared = min(first[1], second[1]) - max(first[0], second[0])
    return 2 * shared >= min(first[1] - first[0], second[1] - second[0])
