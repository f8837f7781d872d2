"""What the rules share: a sentence taken apart, and the words that say what may be asked about. English only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rag_ft.question_generation.sentences.verbs import BASE_OF_THIRD_PERSON, THIRD_PERSON, VERBS, any_of
from rag_ft.question_generation.sentences.wording import Names


class Turned(NamedTuple):
    """A question that a sentence answers."""

    question: str
    """Still in the words of the text: "your file"."""
    yes: bool | None = None
    """What the sentence says, where the question asks for yes or no."""
    words: str = ""
    """Words of the sentence that are the answer; empty where it is the whole sentence."""


class Statement(NamedTuple):
    """A sentence taken apart."""

    whole: str
    """Without list mark, markup and connective."""
    before: str
    """A clause before the first comma that says when, where or what for; empty where there is none."""
    main: str
    """The rest."""
    is_step: bool
    """Whether it is numbered: such a sentence speaks of those before it."""
    is_item: bool
    """Whether it stands in a list, numbered or not: it often speaks of what the list is about."""
    introduces: bool
    """Whether it ends in a colon: what follows it belongs to it."""
    names: Names
    is_term: Callable[[str], bool]
    """Whether words are a term of the document, that a reader may ask the meaning of."""

    def may_ask_about(self, subject: str) -> bool:
        """Whether words before a verb are a noun phrase, and name their thing to somebody who does not see the text."""
        if not is_subject(subject):
            return False
        needs_context = subject.startswith("The ") and not re.search(r"[A-Z\d]|\sof\s", subject[1:])
        return not needs_context or self.is_term(subject)


Rule = Callable[[Statement], Iterator[Turned]]

WORD = r"\w[\w.+#%/'-]*"
AUXILIARY = (
    r"is|are|was|were|can|cannot|can't|must|should|may|might|will|could|would|has|have|had|does|do|did|isn't|aren't"
    r"|won't|doesn't|don't"
)
NOUN_PHRASE = (
    rf"(?:(?:[Tt]he|[Aa]n?)\s+)?{WORD}(?:\s+(?!(?:{AUXILIARY}|be|been|being|that|which|who|whose|where|when|if"
    rf"|because|so|and|or|but|to|as|than)\b){WORD}){{0,4}}"
)
ADVERBS = (
    r"(?:(?:also|then|simply|just|always|still|now|first|easily|even|instead|therefore|manually|directly"
    r"|automatically|currently|already|fully|completely)\s+)*"
)
POSITIVE = {
    "cannot": "can",
    "can't": "can",
    "isn't": "is",
    "aren't": "are",
    "won't": "will",
    "doesn't": "does",
    "don't": "do",
}
"""Auxiliaries that deny, without the denial."""

HEDGE = re.compile(
    r"\b"
    + any_of(
        "only sometimes usually often generally typically normally likely"
        " probably almost mostly mainly at_times depend(?:s|ing) unless until except perhaps may_be rarely"
        " seldom ideally in_theory many most some few several at_least at_most"
    )
    + r"\b",
    re.IGNORECASE,
)
"""Words with which an answer holds only sometimes."""
CONDITION = re.compile(
    r"\b"
    + any_of(
        "unless if when as_long_as provided in_order_to so_that but until except though although however while"
        " whereas or_else"
    )
    + r"\b",
    re.IGNORECASE,
)
DENIAL = re.compile(
    r"\b" + any_of("not no nothing never none neither nor without hardly cannot") + r"\b|n't\b",
    re.IGNORECASE,
)

NO_SUBJECT = re.compile(
    any_of(
        "this that these those it they there here we you i he she what which who when where how why if all some"
        " many most each every any no none one two three four five both such another others? only as in on at"
        " for by with from to after before since because while although note please see and or but so not also"
        " however now then today currently nothing everything something anything someone anyone everyone instead"
        " using below above more less few several its their your our my once given like unlike even just do"
        " don't never always let make sure neither either having being very too otherwise doing if whether"
        " sometimes often usually generally typically normally occasionally according further in say suppose"
        " imagine thereby consequently accordingly"
    )
    + r"\b",
    re.IGNORECASE,
)
"""Beginnings of what is no noun phrase, or means nothing by itself."""
_LAST_NO_NOUN = re.compile(
    any_of(
        "also then only not never always often usually still now just both all each itself themselves of in on"
        r" for with from by at \w{2,}ly"
    )
    + r"\Z",
    re.IGNORECASE,
)
VAGUE = any_of(
    "current old new resulting existing specific original actual entire full right correct last final latest main"
)
UNIQUE = any_of(
    "internet web terminal console browser kernel shell cloud clipboard keyboard desktop api cli gui"
    " network disk gpu cpu memory screen public world command_line background past future beginning end"
    " filesystem"
)
_NEEDS_CONTEXT = re.compile(rf"the\s+(?!{UNIQUE}\b)(?:{VAGUE}\s+)*[\w'-]+", re.IGNORECASE)
"""What only the text around it makes clear: "the file", "the current setting"."""
_TWO_CLAUSES = re.compile(rf"\b(?:and|or)\b.*\s(?:{AUXILIARY})\b")
_TWO_VERBS = re.compile(r"\b(?:and|or)\s+(?:\w+ly\s+|not\s+|also\s+)?(?P<verb>[a-z]+)\b")


def is_subject(phrase: str) -> bool:
    """Whether words before a verb are a noun phrase that can be asked about."""
    words = phrase.split()
    if NO_SUBJECT.match(phrase) or _LAST_NO_NOUN.search(phrase):
        return False
    if any(word.lower() in BASE_OF_THIRD_PERSON for word in words[1:-1]):
        return False  # a verb within
    # The first word may be the verb: "Use blocks when ...", "Provides events about changes".
    first = words[0].lower()
    verb_first = len(words) > 1 and (first in VERBS or first in BASE_OF_THIRD_PERSON or first.endswith("ed"))
    return not verb_first and _NEEDS_CONTEXT.fullmatch(phrase) is None


def is_plural(subject: str) -> bool:
    """Whether a noun phrase takes "are"."""
    last = subject.split()[-1].lower()
    return last.endswith("s") and not last.endswith(("ss", "us", "is", "os", "'s", ".js"))


class DoesVerb(NamedTuple):
    """How what a thing does is asked for: "it supports" → does, support."""

    does: str
    verb: str


def does_verb(subject: str, verb: str) -> DoesVerb | None:
    """How to ask for what a subject does; `verb`: as it follows the subject, with its particle.

    None where the two do not agree in number, so that one of them was taken for something else.
    """
    form, *particle = verb.split()
    singular = form in BASE_OF_THIRD_PERSON
    if singular == is_plural(subject):
        return None
    return DoesVerb("does" if singular else "do", " ".join([BASE_OF_THIRD_PERSON.get(form, form), *particle]))


def goes_on(rest: str) -> bool:
    """Whether a second verb of the same subject follows: "is small and takes a second"."""
    return any(
        match["verb"] in BASE_OF_THIRD_PERSON or match["verb"] in VERBS or re.fullmatch(AUXILIARY, match["verb"])
        for match in _TWO_VERBS.finditer(rest)
    ) or bool(_TWO_CLAUSES.search(rest))


COMPARED = re.compile(
    r"\b(?:easier|faster|slower|better|worse|larger|smaller|bigger|cheaper|higher|lower|harder|shorter|longer"
    r"|simpler|(?:more|less)"
    r"\s+\w+)\b(?!.*\bthan\b)",
    re.IGNORECASE,
)
"""Compared with what? "Code is easier to read"."""
SAYS_SOMETHING = re.compile(rf"\b(?:you|it|they|{AUXILIARY}|{THIRD_PERSON})\b")
"""A clause with a verb: "when it fails", but not "when practical"."""


def lower_first(text: str) -> str:
    """A text whose first letter is small."""
    return text[:1].lower() + text[1:]
