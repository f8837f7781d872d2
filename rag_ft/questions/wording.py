"""The words of a question: which questions are the same, and which answers only repeat the question."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

LITTLE_WORDS = frozenset(
    "a an the of in on at to is are was were do does did what which who how when where why".split()
)
"""Words that make no difference between questions."""

_ASKS_FOR_SOMETHING = re.compile(r"\b(?:who|whom|whose|what|which|when|where|why|how)\b", re.IGNORECASE)
_OFFERS_A_CHOICE = re.compile(r"\b(?:or|between)\b", re.IGNORECASE)

_WORD = re.compile(r"\w+(?:[-'’.,]\w+)*")
"""A word; `RAG-Token` and `3.5` are one word each: to a question about `RAG` the former is an answer."""


def question_key(question: str, history: Sequence[str] = ()) -> str:
    """A key that is equal for questions that differ only in word order, case, punctuation and little words.

    `history`: the questions that it follows up: "And how often?" asks what they say.
    """
    words = re.findall(r"\w+", " ".join((*history, question)).casefold())
    return " ".join(sorted(word for word in words if word not in LITTLE_WORDS)) or " ".join(words)


def repeats_question(question: str) -> Callable[[str], bool]:
    """A test whether an answer only repeats words of the question, and so cannot be what it asks for.

    "How many parameters does rank 16 add?" is not answered by "16", which a small reader likes to quote. The test
    passes no answer where the question does not ask for something by name (yes or no, a search phrase, any language but
    English) or offers a choice ("wide or narrow?"): there an answer has the question's words.
    """
    if _OFFERS_A_CHOICE.search(question) or not _ASKS_FOR_SOMETHING.search(question):
        return lambda answer: False
    known = LITTLE_WORDS.union(_WORD.findall(question.casefold()))
    return lambda answer: all(word.casefold() in known for word in _WORD.findall(answer))
