"""Whether words have the form of a question: a question word or verb, nothing said twice, something asked about.

English only.
"""

from __future__ import annotations

import re
from collections import Counter

FEWEST_WORDS = 3
MOST_WORDS = 40

_AUXILIARIES = (
    "am is are was were do does did has have had can could will would shall should may might must need"
    " isn't aren't wasn't weren't don't doesn't didn't hasn't haven't hadn't can't cannot couldn't won't wouldn't"
    " shouldn't mustn't"
)
_QUESTION_WORDS = frozenset("who whom whose what which when where why how".split())
_ASKS = _QUESTION_WORDS | frozenset(_AUXILIARIES.split())
_BEFORE = frozenset("in on at to of by for from with under during after before about into through".split())
"""What may stand before the question word: "in which year"."""
_REQUESTS = frozenset(
    "name list explain describe tell give define identify enumerate state summarise summarize".split()
)
_LITTLE = _ASKS | frozenset(
    "a an the and or but if so as than then that this these those it its they them their he him his she her you your i"
    " we us our my me not no yes to of in on at by for from with into about be been being get got many much more most"
    " long often kind type sort thing things one ones there here used called use mean means happen happens some any all"
    " between against under over within without during per via please also just only very too each every"
    " other another such".split()
)
_MAY_STAND_TWICE = frozenset("that had is in on".split())
_MOST_REPEATS = 3

_AFTER_ITS_SUBJECT = re.compile(r"[,:]\s*(?:and\s+)?(?:who|whose|what|which|when|where|why|how)\b", re.IGNORECASE)
""" "NF4: what is it good for", "packing or shared context, what's the difference"."""
_WORD = re.compile(r"\w+(?:[-'’.]\w+)*")


_TWO_VERBS = re.compile(
    r"(?:do|does|did)\s+(?:(?!(?:that|which|who|whose|what|where|when|if|how|why|because|so|and|or|than|as|while|until"
    r"|unless|once)\b)[\w'’,.`-]+\s+)*?(?:must|can|could|should|would|might|is|are|was|were)\s",
    re.IGNORECASE,
)
_TWO_BE = re.compile(
    r"(?:why\s+|how\s+)?(?:is|are|was|were)\s+(?:(?!(?:that|which|who|whose|what|where|when|if|how|why|because|so|and|or"
    r"|than|as|while|until|unless|once|it|there)\b)[\w'’.`-]+\s+)+?(?:has|have|had|is|are|was|were|must|can|could|should"
    r"|would|takes?|gives?|needs?|ranks?)\s",
    re.IGNORECASE,
)
_NO_PLURAL = re.compile(
    r"\bhow\s+many\s+(?:percentage|percent|money|information|time)\b(?!\s+points?\b)", re.IGNORECASE
)


def question_words(question: str) -> list[str]:
    """The words of a question in lower case, with straight apostrophes."""
    return [word.replace("’", "'") for word in _WORD.findall(question.casefold())]


def asks(question: str) -> bool:
    """Whether words ask for something: they begin with a question word, a verb or a request, or end in a question mark
    and have one of the former two.
    """
    words = question_words(question)
    if not words:
        return False
    starts = [word.partition("'")[0] for word in words]  # what's
    if words[0] in _ASKS or words[0] in _REQUESTS or starts[0] in _QUESTION_WORDS:
        return True
    if _AFTER_ITS_SUBJECT.search(question):
        return True
    if words[0] in _BEFORE and _QUESTION_WORDS.intersection(starts[1:3]):
        return True
    return question.rstrip("\"'”’) ").endswith("?") and any(word in _ASKS for word in (*words, *starts))


def repeats_itself(question: str) -> bool:
    """Whether a question says something twice in a row ("the the"), two words with content twice, or any two or three
    words three times.
    """
    words = question_words(question)
    for i in range(1, len(words)):
        if words[i] == words[i - 1]:
            thrice = i > 1 and words[i - 2] == words[i]
            if thrice or (words[i] in _LITTLE and words[i] not in _MAY_STAND_TWICE):
                return True
    little = [word in _LITTLE for word in words]
    pairs = Counter((words[i - 1], words[i]) for i in range(1, len(words)) if not little[i] and not little[i - 1])
    if max(pairs.values(), default=0) > 1:
        return True
    for length in (2, 3):
        runs = Counter(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
        if max(runs.values(), default=0) >= _MOST_REPEATS:
            return True
    return False


def reads_badly(question: str) -> bool:
    """Whether it has one verb too many ("Does it must be", "Is a weight takes"), or counts what has no plural."""
    two_verbs = _TWO_VERBS.match(question) is not None or _TWO_BE.match(question) is not None
    return two_verbs or _NO_PLURAL.search(question) is not None


def content_words(question: str) -> list[str]:
    """The words of a question that say what it is about, in lower case, each once."""
    return list(dict.fromkeys(word for word in question_words(question) if word not in _LITTLE))
