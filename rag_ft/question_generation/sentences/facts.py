"""Sentences that give a value, a number or a list: "The default rank is 8", "X has 12 layers"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_ft.question_generation.sentences.grammar import (
    HEDGE,
    NOUN_PHRASE,
    WORD,
    Statement,
    Turned,
    does_verb,
    is_plural,
)
from rag_ft.question_generation.sentences.verbs import any_of
from rag_ft.question_generation.sentences.wording import begins_with_verb, statement

_VALUE = (
    r"(?P<value>[^,;:]+?)(?:[,;]\s.*|\s+(?:and|but|or\s+in\s+other\s+words|because|which|if|unless|when|so|for|with"
    r"|while)\b.*)?"
)
_DEFAULT = re.compile(rf"[Tt]he\s+default\s+(?P<of>{WORD}(?:\s+(?!(?:is|are)\b){WORD}){{0,5}})\s+is\s+{_VALUE}")
_DEFAULTS_TO = re.compile(rf"(?P<subject>{NOUN_PHRASE})\s+defaults\s+to\s+{_VALUE}")
_STANDS_FOR = re.compile(rf"(?P<subject>{NOUN_PHRASE})\s+stands\s+for\s+{_VALUE}")
_NO_VALUE = re.compile(
    any_of(
        "to applied set determined that used also not based chosen often usually a_good fine too the_same now"
        " as it this what whatever computed only enough in at from [a-z]+ed kept shown given taken written made"
        " found built held put left"
    )
    + r"\b",
    re.IGNORECASE,
)

_NUMBER = (
    r"(?:\d[\d,.]*|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty"
    r"|sixty|hundred)"
)
_HAS_MANY = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?P<verb>has|have|contains?|holds?|supports?|uses?|needs?|requires?"
    r"|consists?\s+of|includes?|provides?|offers?|stores?)\s+(?P<value>(?:about\s+|around\s+|roughly\s+"
    rf"|up\s+to\s+)?{_NUMBER}(?:\s+(?:million|billion|thousand))?)\s+(?P<things>[a-z][\w-]+s)(?:[,;:.]\s.*"
    r"|\s+and\s.*)?"
)

_TIME = (
    rf"(?P<value>(?:about\s+|around\s+|roughly\s+|up\s+to\s+|less\s+than\s+)?{_NUMBER}(?:\s+(?:to"
    rf"|or)\s+{_NUMBER})?\s+(?:milliseconds?|seconds?|minutes?|hours?|days?|weeks?|months?|years?))"
)
_TAKES = re.compile(rf"(?P<subject>{NOUN_PHRASE})\s+takes?\s+{_TIME}(?:[,;:.]\s.*|\s+(?:on|with|and)\s.*)?")
_IT_TAKES = re.compile(rf"It\s+(?:usually\s+|typically\s+)?takes\s+{_TIME}\s+to\s+(?P<do>.+)")
_MADE = (
    r"(?P<verb>is|are|was|were)\s+(?:first\s+|originally\s+)?(?P<made>released|created|introduced|founded|developed"
    r"|written|proposed|published|established|built|invented|maintained|designed|launched|started|added|removed"
    r"|deprecated)"
)
_MADE_IN = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+{_MADE}\s+in\s+"
    r"(?P<value>(?:[A-Z][a-z]+\s+)?(?:\d{1,2},\s+)?[12]\d{3})\b(?:[\s,;].*)?"
)
_MADE_BY = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+{_MADE}\s+by\s+(?P<value>(?:the\s+)?[A-Z][\w.'-]*(?:\s+(?:(?:of|and|the"
    r"|for)\s+)*[A-Z][\w.'-]*)*)(?:(?:[,;]|\s+(?:in|at|as|for|to|from|with|who|which|and|under))\s.*)?"
)

_FOLLOWING = re.compile(
    rf"(?:[Tt]he\s+)?[Ff]ollowing\s+(?P<things>(?:{WORD}\s+){{0,3}}?[\w-]+s)\s+(?P<verb>are|can|must|should"
    r"|need\s+to)\s+(?P<rest>.+)"
)
_HAS_FOLLOWING = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?P<verb>supports?|has|have|accepts?|provides?|offers?|includes?|uses?|needs?"
    r"|requires?|contains?)\s+(?:the\s+following|these|two|three|four|five|six|several|different"
    r"|multiple)\s+(?:\w+\s+)??(?P<things>[\w-]+s)"
)


def default(s: Statement) -> Iterator[Turned]:
    """The default X is Y. X defaults to Y. X stands for Y."""
    if s.before:
        return
    if match := _DEFAULT.fullmatch(s.whole):
        if not _NO_VALUE.match(match["value"]):
            yield Turned(f"What is the default {match['of']}", words=match["value"])
        return
    for pattern, ending in ((_DEFAULTS_TO, "default to"), (_STANDS_FOR, "stand for")):
        match = pattern.fullmatch(s.whole)
        if match and s.may_ask_about(match["subject"]) and not _NO_VALUE.match(match["value"]):
            yield Turned(f"What does {s.names.in_a_question(match['subject'])} {ending}", words=match["value"])


def how_many(s: Statement) -> Iterator[Turned]:
    """X has twelve Ys."""
    match = None if s.before else _HAS_MANY.fullmatch(s.main)
    if match is None or not s.may_ask_about(match["subject"]) or match["things"] in ("times", "things", "ways"):
        return
    asked = does_verb(match["subject"], match["verb"])
    if asked is None or HEDGE.search(s.main):
        return
    things, subject = match["things"], s.names.in_a_question(match["subject"])
    yield Turned(f"How many {things} {asked.does} {subject} {asked.verb}", words=f"{match['value']} {things}")


def how_long(s: Statement) -> Iterator[Turned]:
    """X takes ten minutes. It takes ten minutes to VERB."""
    if s.before:
        return
    if match := _IT_TAKES.fullmatch(s.main):
        do = statement(match["do"])
        if do and begins_with_verb(do):
            yield Turned(f"How long does it take to {do}", words=match["value"])
    elif (match := _TAKES.fullmatch(s.main)) and s.may_ask_about(match["subject"]) and not is_plural(match["subject"]):
        yield Turned(f"How long does {s.names.in_a_question(match['subject'])} take", words=match["value"])


def made(s: Statement) -> Iterator[Turned]:
    """X was released in 2014. X was written by Y."""
    if s.before:
        return
    for pattern, asks in ((_MADE_IN, "When"), (_MADE_BY, "Who")):
        match = pattern.fullmatch(s.main)
        if match and s.may_ask_about(match["subject"]):
            subject = s.names.in_a_question(match["subject"])
            by = " by" if asks == "Who" else ""
            yield Turned(f"{asks} {match['verb']} {subject} {match['made']}{by}", words=match["value"])


def which(s: Statement) -> Iterator[Turned]:
    """The following Xs are supported: ... Y supports the following Xs: ..."""
    if s.before or not s.introduces:
        return
    if match := _FOLLOWING.fullmatch(s.whole):
        rest = statement(match["rest"])
        if rest:
            yield Turned(f"Which {match['things']} {match['verb']} {rest}")
    elif (match := _HAS_FOLLOWING.fullmatch(s.whole)) and s.may_ask_about(match["subject"]):
        if asked := does_verb(match["subject"], match["verb"]):
            subject = s.names.in_a_question(match["subject"])
            yield Turned(f"Which {match['things']} {asked.does} {subject} {asked.verb}")
