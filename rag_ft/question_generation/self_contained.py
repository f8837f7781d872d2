"""Whether a written question stands on its own: who reads it alone knows what is asked.

Each reason is a few equal words, so that they can be counted; `None` where nothing speaks against a question.
"""

from __future__ import annotations

import re

from rag_ft.metrics.answers import normalise
from rag_ft.questions.wording import repeats_question
from rag_ft.schema import AnswerKind, Passage
from rag_ft.text.asking import asks_yes_or_no
from rag_ft.text.question_form import (
    FEWEST_WORDS,
    MOST_WORDS,
    asks,
    content_words,
    question_words,
    reads_badly,
    repeats_itself,
)
from rag_ft.text.question_swap import stemmed
from rag_ft.text.references import points_to_its_text, unexplained_word

POINTS_TO_TEXT = "points to its text"
UNEXPLAINED = "names nothing for it, they or this"
UNEXPLAINED_ANSWER = "its answer says it, they or this"
NOT_A_QUESTION = "not a question"
REPEATS_ITSELF = "repeats itself"
TOO_SHORT = f"shorter than {FEWEST_WORDS} words"
TOO_LONG = f"longer than {MOST_WORDS} words"
HOLDS_ITS_ANSWER = "holds its answer"
READS_BADLY = "not well formed"
ASKS_OF_NOTHING = "says nothing of what it is about"
OTHER_WORDS_THAN_ITS_PASSAGE = "has no word of its passage"
NOT_ONE_LINE = "not one line of text"
_MOST_CHARACTERS = 400
_SAYS_NOTHING_NEW = 0.8
"""Share of the content words of whole sentences from which they only say the question again."""
_PARTS = re.compile(r"[-'._]")
"""A compound of the question may be two words in the passage."""


def problem_of(question: str, answer: str, kind: AnswerKind, passage: Passage) -> str | None:
    """Why a question about a passage does not stand on its own; None where it does."""
    return form_problem(question) or _answer_problem(question, answer, kind) or _topic_problem(question, passage)


def form_problem(question: str) -> str | None:
    """What is wrong with a question whatever it was asked of; None where nothing is."""
    if not question.isprintable():
        return NOT_ONE_LINE
    words = question_words(question)
    if len(words) < FEWEST_WORDS:
        return TOO_SHORT
    if len(words) > MOST_WORDS or len(question) > _MOST_CHARACTERS:
        return TOO_LONG
    if not asks(question):
        return NOT_A_QUESTION
    if repeats_itself(question):
        return REPEATS_ITSELF
    if reads_badly(question):
        return READS_BADLY
    if points_to_its_text(question):
        return POINTS_TO_TEXT
    if unexplained_word(question):
        return UNEXPLAINED
    return None if content_words(question) else ASKS_OF_NOTHING


def _answer_problem(question: str, answer: str, kind: AnswerKind) -> str | None:
    """Words that all stand in the question are not what it asks for, and nor is a sentence that says it again."""
    if kind == "span" and repeats_question(question)(answer):
        return HOLDS_ITS_ANSWER
    if kind == "span" and unexplained_word(answer):
        return UNEXPLAINED_ANSWER
    inside = normalise(answer)
    holds = bool(inside) and f" {inside} " in f" {normalise(question)} "
    if asks_yes_or_no(question) or " or " in f" {question.casefold()} ":
        return None  # "Is it open or closed?" holds its answer rightly
    if kind == "part":
        known = {stemmed(word) for word in question_words(question)}
        said = {stemmed(word) for word in content_words(answer)}
        holds = holds or len(said & known) >= _SAYS_NOTHING_NEW * len(said)
    return HOLDS_ITS_ANSWER if holds else None


def _topic_problem(question: str, passage: Passage) -> str | None:
    text = " ".join((passage.text, passage.title, *passage.headings))
    asked = {stemmed(part) for word in content_words(question) for part in (word, *_PARTS.split(word))}
    known = {stemmed(part) for word in question_words(text) for part in (word, *_PARTS.split(word))}
    return None if known & asked else OTHER_WORDS_THAN_ITS_PASSAGE
