"""A question with one thing in it changed, so that what answered it does so no longer.

English only, as its lists of words are. Whether other text answers the changed question is for others to check.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from rag_ft.text.opposites import OPPOSITES

SwapKind: TypeAlias = Literal["name", "number", "opposite", "near miss"]
"""`near miss`: the question asks for something else about the same thing, such as the month instead of the year."""

_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_NUMBER = re.compile(r"(?<![\w.,:/$£€–—-])(?:\d{1,3}(?:,\d{3})+|\d+)(?![\w–—/:-]|[.,]\d|\s*(?:%|per ?cent))")
_YEAR = re.compile(r"1[0-9]\d\d|20[0-2]\d")
_BOUND = re.compile(
    r"\b(?:over|under|than|least|most|about|around|nearly|almost|approximately|between|since|by|until|from|to|before"
    r"|after)\s+\Z",
    re.IGNORECASE,
)
"""What stands before a number that stands for others too: "over 80" is also over 48."""
_HOW_OR_NO = re.compile(r"\b(?:how|no)\s\Z", re.IGNORECASE)
"""Before a word that asks for a measure ("how long"), or says with it something else ("no longer")."""
_FIXED = re.compile(r" (?:lady|name|names|class|degree|introduced)\b|\W*\Z")
"""What "first" and "last" belong to so closely that they are not exchanged."""
_NOT_SWAPPED = frozenset(
    "with without more less same different input output before after old new free paid open closed hard easy most least"
    " single multiple always never true false left available higher lower upper possible impossible included excluded"
    " allowed forbidden increase decrease local remote".split()
)
"""Opposites whose exchange in a question mostly changes too little, or reads badly."""

_PLACE = r"\b(?:[Ii]n|[Aa]t|[Nn]ear|[Ff]rom|[Tt]o|[Oo]n|[Oo]utside|[Ii]nside)\s+(?:the\s+)?[A-Z]"
_TIME = rf"\d{{3,4}}|\bcentury\b|\b(?:{_MONTHS}|{_DAYS})\b"
_ASKED = (
    (r"(?:In )?(?:what|which) year (?=did|was|were|is|does|has|had)", "In what month ", rf"\b(?:{_MONTHS})\b"),
    (r"When (?=did|was|were)", "On what day of the week ", rf"\b(?:{_DAYS})\b"),
    (r"When (?=did|was|were)", "Where ", _PLACE),
    (r"Where (?=did|was|were)", "When ", _TIME),
)
"""What a question asks, what it asks instead, and the form of what would answer that."""


class QuestionSwap(NamedTuple):
    """A changed question."""

    question: str
    kind: SwapKind
    old: str
    """The words that were exchanged."""
    new: str
    answered_by: re.Pattern[str]
    """What stands beside the question's other words in a text that answers it."""


def number_swaps(question: str, chooser: random.Random) -> Iterator[QuestionSwap]:
    """The question with each of its numbers changed to another one of its size."""
    for match in _NUMBER.finditer(question):
        value = int(match[0].replace(",", ""))
        if _BOUND.search(question, 0, match.start()):
            continue
        if _YEAR.fullmatch(match[0]):
            # Recent years become earlier ones: most texts were written before the years to come.
            other = value + chooser.choice((-11, -8, -7, -6, -4, -3, *((3, 4, 6, 7, 8, 11) if value < 1990 else ())))
        elif value <= 31 and re.search(rf"\b(?:{_MONTHS})\s\Z", question[: match.start()]):
            other = 1 + (value - 1 + chooser.choice((3, 5, 8, 11, 17))) % 28
        elif value < 2:
            continue
        else:
            other = max(2, round(value * chooser.choice([0.4, 0.6, 1.5, 2.5])))
        if other == value:
            other += 2
        new = f"{other:,}" if "," in match[0] else str(other)
        answered_by = re.compile(rf"(?<![\d.,]){re.escape(new)}(?!\d|[.,]\d)")
        yield swapped(question, match.start(), match.end(), new, "number", answered_by)


def opposite_swaps(question: str) -> Iterator[QuestionSwap]:
    """The question with each word that has an opposite exchanged for it."""
    for match in re.finditer(r"(?<![\w'’-])[a-z]+(?![\w'’-])", question):
        other = OPPOSITES.get(match[0])
        if other is None or match[0] in _NOT_SWAPPED or _HOW_OR_NO.search(question, 0, match.start()):
            continue
        if match[0] in ("first", "last") and _FIXED.match(question, match.end()):
            continue
        if match[0] in ("begin", "began", "started") and question.startswith(" to ", match.end()):
            continue
        yield swapped(question, match.start(), match.end(), other, "opposite", word_forms(other))


def near_misses(question: str) -> Iterator[QuestionSwap]:
    """The question asking for something else about the same thing."""
    for asked, instead, form in _ASKED:
        if match := re.match(asked, question, re.IGNORECASE):
            changed = instead + question[match.end() :]
            yield QuestionSwap(changed, "near miss", match[0].strip(), instead.strip(), re.compile(form))


def swapped(
    question: str, start: int, end: int, new: str, kind: SwapKind, answered_by: re.Pattern[str]
) -> QuestionSwap:
    """The question with other words at a place, and "a" or "an" before them as they need."""
    before = question[:start]
    if article := re.search(r"\b([Aa])n?\s\Z", before):
        before = before[: article.start()] + article[1] + ("n " if re.match("[aeiouAEIOU]", new) else " ")
    return QuestionSwap(before + new + question[end:], kind, question[start:end], new, answered_by)


def word_forms(word: str) -> re.Pattern[str]:
    """A pattern of a word with the usual endings."""
    stem = re.escape(stemmed(word))
    return re.compile(rf"(?<!\w){stem}(?:e|s|es|ed|d|ing|ned|ning|ted|ting|ly|ies|ied)?(?!\w)", re.IGNORECASE)


_ENDING = re.compile(r"(?<=\w{3})(?:['’]s|ies|ied|ing|es|ed|s|e|y)\Z")


def stemmed(word: str) -> str:
    """A word in lower case without the commonest endings, so that its forms are mostly equal."""
    return _ENDING.sub("", word.lower())
