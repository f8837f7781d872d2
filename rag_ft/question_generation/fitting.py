"""Whether an answer is of the kind that its question asks for: a reason for why, steps for how do I, yes for yes, two
things for a difference, a number of what is counted for how many.

English only, by simple signs; of the rest, the round trip decides.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rag_ft.text.askable import gives_reasons, gives_steps, negates
from rag_ft.text.asking import asks_what_to_do
from rag_ft.text.openings import asked_for
from rag_ft.text.parts import passage_units
from rag_ft.text.question_form import content_words, question_words
from rag_ft.text.question_swap import stemmed
from rag_ft.text.sentences import sentences_around
from rag_ft.text.spans import Span

NO_REASON = "its answer gives no reason"
NO_STEPS = "its answer says nothing to do"
PERHAPS_NO = "its answer may be no"
NO_DIFFERENCE = "its answer compares nothing"
COUNTS_ELSE = "its answer counts something else"
PART_OF_A_WORD = "its answer is part of a word"

_DIFFERENCE = re.compile(r"\bdifferences?\s+between\s+(?P<one>.+?)\s+and\s+(?P<other>.+)", re.IGNORECASE)
_COMPARES = re.compile(
    r"\b(?:than|while|whereas|but|differ(?:s|ent|ence)?|instead|unlike|only|both|rather|other|same|not|no|close|more|less)\b|n['’]t\b|;",
    re.IGNORECASE,
)
_TO_DO = re.compile(r"what\s+(?:do|should|must|can)\s+(?:i|we|you)\s+(?:(?:have|need)\s+to\s+)?do\b", re.IGNORECASE)
_HOW_MANY = re.compile(
    r"how\s+many\s+(?P<things>.+?)(?=\s+(?:am|is|are|was|were|do|does|did|has|have|had|can|could|will|would|shall|should|may"
    r"|might|must|of|in|on|at|to|with|by|for|from|per|that|which|who)\b|\W*\Z)",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\d|\b(?:no|none|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
    r"|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?"
    r"|billions?|dozens?|half|both|single|several|few|many|infinite(?:ly)?|unlimited|any)\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.,;:()](?:\s|\Z)")
_WORDS_TO_WHAT_IS_COUNTED = 3
"""Words after a number among which is what it counts: "nine of its layers", but not "51 on the held-out questions"."""
_BEGINNING = 4
"""Letters of a word that must be there: merge and merging name the same."""


class Surroundings(NamedTuple):
    """What stands before and after an answer in its sentences."""

    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, text: str, answer: Span) -> Surroundings:
        """What stands around an answer in a text."""
        start, end = sentences_around(text, *answer)
        return cls(text[start : answer.start], text[answer.end : end])


NOTHING_AROUND = Surroundings()


def fit_problem(question: str, answer: str, yes: bool | None, around: Surroundings = NOTHING_AROUND) -> str | None:
    """Why an answer does not fit the kind of its question; None where nothing speaks against it.

    `yes`: what the answer is taken to say to a question of yes or no. Yes is doubted where either of the two denies
    something and the other does not. `around`: the rest of its sentences.
    """
    if _one_word(around.before, answer) or _one_word(answer, around.after):
        return PART_OF_A_WORD
    if _counts_something_else(question, answer, around.after):
        return COUNTS_ELSE
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


def _one_word(left: str, right: str) -> bool:
    """Whether a word goes on from one text into the next."""
    return left[-1:].isalnum() and right[:1].isalnum()


def _counts_something_else(question: str, answer: str, after: str) -> bool:
    """Whether a question asks how many there are of something, and its answer is no number of that."""
    counted = _HOW_MANY.match(question)
    if counted is None:
        return False
    if _NUMBER.search(answer) is None:
        return True
    things = {stemmed(word) for word in content_words(counted["things"])}
    next_words = _CLAUSE_END.split(after, maxsplit=1)[0].split()[:_WORDS_TO_WHAT_IS_COUNTED]
    said = {stemmed(word) for word in question_words(" ".join((answer, *next_words)))}
    return bool(things) and things.isdisjoint(said)
