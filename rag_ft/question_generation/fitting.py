"""Whether an answer is of the kind that its question asks for: a reason for why, steps for how do I, yes for yes.

English only, by simple signs; of the rest, the round trip decides.
"""

from __future__ import annotations

from rag_ft.text.askable import gives_reasons, gives_steps, negates
from rag_ft.text.asking import asks_what_to_do
from rag_ft.text.openings import asked_for
from rag_ft.text.parts import passage_units

NO_REASON = "its answer gives no reason"
NO_STEPS = "its answer says nothing to do"
PERHAPS_NO = "its answer may be no"


def fit_problem(question: str, answer: str, yes: bool | None) -> str | None:
    """Why an answer does not fit the kind of its question; None where nothing speaks against it.

    `yes`: what the answer is taken to say to a question of yes or no. Yes is doubted where either of the two denies
    something and the other does not.
    """
    if yes is True and negates(question) != negates(answer):
        return PERHAPS_NO
    kind = asked_for(question)
    if kind == "why" and not gives_reasons(answer):
        return NO_REASON
    if kind == "how" and asks_what_to_do(question) and not gives_steps(answer, passage_units(answer)):
        return NO_STEPS
    return None
