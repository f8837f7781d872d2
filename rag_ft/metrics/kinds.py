"""Kinds of questions, and what counts as right for each: spans, parts of passages, and yes or no.

Spans and parts are judged by the words that they share with an accepted answer (SQuAD's token F1), yes or no by the
decision alone: the sentence that shows it is judged as a citation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

from rag_ft.metrics.answers import exact_match, token_f1
from rag_ft.schema import AnswerKind, Evidence, Question

JudgedKind: TypeAlias = Literal["span", "part", "yes/no"]
"""`yes/no`: a part that also says yes or no."""

KINDS: tuple[JudgedKind, ...] = get_args(JudgedKind)

CORRECT_FROM = 0.5
"""Least token F1 of a right span or part: it shares at least as much with an accepted answer as it misses."""

WHAT_IS_RIGHT: dict[JudgedKind, str] = {
    "span": "Right is an answer with a token F1 of at least .5 against an accepted answer, and the same numbers.",
    "part": "Right is an answer with a token F1 of at least .5 against an accepted part.",
    "yes/no": "Right is the right decision, whatever is quoted with it. A reader tuned to decide says it; any other arm"
    " decides by beginning its text with yes or no, which an arm that quotes can seldom do.",
}
"""A sentence or two on what counts as right, by kind; declining an unanswerable question is right for all kinds."""


def judged_kind(kind: AnswerKind, yes: bool | None) -> JudgedKind:
    """The kind that a question or an answer is judged and calibrated as."""
    return "yes/no" if yes is not None else kind


def kind_of(question: Question) -> JudgedKind:
    """The kind of a question. One that is unanswerable says neither yes nor no: it is a part, if its record says so."""
    return judged_kind(question.kind, question.yes if question.answerable else None)


def is_correct(answer: str | None, question: Question, yes: bool | None = None) -> bool:
    """Whether an answer, null included, counts as right; `yes`: what the answer says to a question of yes or no.

    For spans, an answer with other numbers than the accepted answer's is wrong, however many words they share: "114
    metres" is not "107 metres". Parts hold several numbers, and often others beside them.
    """
    if answer is None or not question.answers:
        return answer is None and not question.answers
    if kind_of(question) == "yes/no":
        return decision_of(answer, yes) == question.yes
    return any(
        token_f1(answer, (accepted,)) >= CORRECT_FROM
        and (question.kind == "part" or _numbers(answer) == _numbers(accepted))
        for accepted in question.answers
    )


def score_of(answer: str | None, question: Question, yes: bool | None = None) -> float:
    """What an answer is worth: token F1, but 1 or 0 by the decision for yes or no; null as in `token_f1`."""
    if kind_of(question) == "yes/no":
        return float(is_correct(answer, question, yes))
    return token_f1(answer, question.answers)


def exact_score_of(answer: str | None, question: Question, yes: bool | None = None) -> float:
    """Exact match, but 1 or 0 by the decision for yes or no; null as in `exact_match`."""
    if kind_of(question) == "yes/no":
        return float(is_correct(answer, question, yes))
    return exact_match(answer, question.answers)


_DECISION = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


def decision_of(answer: str | None, yes: bool | None = None) -> bool | None:
    """What an answer decides: `yes` if that is given, else the word yes or no that its text begins with."""
    if yes is not None or answer is None:
        return yes
    stated = _DECISION.match(answer)
    return stated and stated[1].lower() == "yes"


def overlaps_evidence(document_id: str, start: int, end: int, evidence: Iterable[Evidence]) -> bool:
    """Whether a quote, given by its offsets in a document, shares a character with a piece of evidence.

    A quote within the evidence does, and so does one around it. How much they share is for precision and recall.
    """
    return any(document_id == piece.document_id and start < piece.end and piece.start < end for piece in evidence)


_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def _numbers(text: str) -> list[str]:
    """The numbers of a text, sorted; 1,000 is 1000, as in exact match."""
    return sorted(re.findall(r"\d+(?:[.,]\d+)*", _THOUSANDS.sub("", text)))
