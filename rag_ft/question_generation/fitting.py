"""Whether an answer is of the kind that its question asks for: a reason for why, steps for how do I, yes for yes, two
things for a difference.

English only, by simple signs; of the rest, the round trip decides.
"""

from __future__ import annotations

import re

from rag_ft.text.askable import gives_reasons, gives_steps, negates
from rag_ft.text.asking import asks_what_to_do
from rag_ft.text.openings import asked_for
from rag_ft.text.parts import passage_units
from rag_ft.text.question_form import content_words

NO_REASON = "its answer gives no reason"
NO_STEPS = "its answer says nothing to do"
PERHAPS_NO = "its answer may be no"
NO_DIFFERENCE = "its answer compares nothing"

_DIFFERENCE = re.compile(r"\bdifferences?\s+between\s+(?P<one>.+?)\s+and\s+(?P<other>.+)", re.IGNORECASE)
_COMPARES = re.compile(
    r"\b(?:than|while|whereas|but|differ(?:s|ent|ence)?|instead|unlike|only|both|rather|other|same|not|no|close|more|less)\b|n['’]t\b|;",
    re.IGNORECASE,
)
_TO_DO = re.compile(r"what\s+(?:do|should|must|can)\s+(?:i|we|you)\s+(?:(?:have|need)\s+to\s+)?do\b", re.IGNORECASE)
_BEGINNING = 4
"""Letters of a word that must be there: merge and merging name the same."""


def fit_problem(question: str, answer: str, yes: bool | None) -> str | None:
    """Why an answer does not fit the kind of its question; None where nothing speaks against it.

    `yes`: what the answer is taken to say to a question of yes or no. Yes is doubted where either of the two denies
    something and the other does not.
    """
    if yes is True and negates(question) != negates(answer):
        return PERHAPS_NO
    difference = _DIFFERENCE.search(question)
    if difference is not None:
        sides = difference.group("one", "other")
        if _COMPARES.search(answer) is None or not all(_names(answer, side) for side in sides):
            return NO_DIFFERENCE
    kind = asked_for(question)
    if kind == "why" and not gives_reasons(answer):
        return NO_REASON
    to_do = _TO_DO.match(question) is not None or (kind == "how" and asks_what_to_do(question))
    if to_do and not gives_steps(answer, passage_units(answer)):
        return NO_STEPS
    return None


def _names(answer: str, thing: str) -> bool:
    """Whether an answer has a word of a thing; true of what has no words of its own, such as "the two"."""
    words = [word[:_BEGINNING] for word in content_words(thing)]
    said = {word[:_BEGINNING] for word in content_words(answer)}
    return not words or not said.isdisjoint(words)
