"""What a sentence answers, turned into questions by rules on its words. English only.

"To resume a run, repeat the command" answers "How do I resume a run?", "You can resume a run" answers "Can I resume a
run?" (compare Heilman and Smith, 2010, who do it on parse trees). A rule that is not sure gives nothing: there are more
sentences than questions are needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rag_ft.question_generation.sentences.facts import default, how_long, how_many, made, which
from rag_ft.question_generation.sentences.grammar import (
    COMPARED,
    CONDITION,
    DENIAL,
    HEDGE,
    UNIQUE,
    VAGUE,
    Rule,
    Statement,
    Turned,
)
from rag_ft.question_generation.sentences.how import how_is, how_to, use_to, ways
from rag_ft.question_generation.sentences.verbs import any_of
from rag_ft.question_generation.sentences.what import (
    aspect,
    before_and_after,
    unlike,
    what_does,
    what_for,
    what_if,
    what_is,
    when,
    when_to,
    which_of_two,
)
from rag_ft.question_generation.sentences.whether import does_it, is_it, you_may
from rag_ft.question_generation.sentences.why import why
from rag_ft.question_generation.sentences.wording import (
    Names,
    about_me,
    bare_sentence,
    in_brackets,
    is_numbered,
    without_connective,
)
from rag_ft.text.parts import is_item
from rag_ft.text.spans import Span

RULES: tuple[Rule, ...] = (
    how_to, use_to, ways, how_is,
    you_may, is_it, does_it,
    why,
    what_if, before_and_after, what_is, what_for, aspect, unlike, what_does, when, when_to, which_of_two,
    default, how_many, how_long, made, which,
)  # fmt: skip

_FEWEST_WORDS = 4
_MOST_WORDS = 16
_LONGEST_WORD = 30
_LONGEST_SENTENCE = 600
"""Characters; longer ones are no sentences that a person reads."""

_NOT_BY_ITSELF = re.compile(
    r"\b"
    + any_of(
        r"this that these those it(?!_take_to\b) its it's they them their he she his her here there above below"
        " follow(?:s|ing) former latter such another others? same both either instead otherwise likewise"
        r" respectively aforementioned previous(?:ly)? next so then too again also ones? we us ours? let's i\.e"
        r" e\.g etc however therefore thus hence rather further similar(?:ly)? now today examples? sections?"
        " pages? chapters? guides? tutorials? articles? yet already anyway still steps? ways? things? something"
        " everything cases? each please earlier later first second lot various recently itself additional"
        " particular certain special extra corresponding respective relevant appropriate desired given as_well"
        " the_(?:two|three|rest|remaining|whole) whatever accordingly equivalent only some simply"
        " default_(?:behaviou?r|values?|settings?) eg foo bar baz qux"
    )
    + r"\b|…|\.\.\.|https?:|[\[\]{}<>|\"“”?!=\\;]|\s[-–—]\s|—|\s-|\d\.\d+\.?\s+[A-Z]|\S/\S+/",
    re.IGNORECASE,
)
"""Words that mean something only where they stand, and what nobody types into a question."""
_FUNCTION_WORD = any_of(
    "am is are was were do does did has have had can could will would should may might must be been to in"
    " on at by for from with into about after before between during without through and or but if when while"
    " as than not because against over under via using per upon I me only until always never contain return"
    " fail fails exists?"
)
_NEEDS_CONTEXT = re.compile(
    rf"\b(?:the|my)\s+(?!{UNIQUE}\b)(?:{VAGUE}\s+)+[\w'-]+(?=\W*\Z|\s+{_FUNCTION_WORD}\b)|\bthe\s+[\w-]+'s\b"
    rf"|\bthe\s+(?!{UNIQUE}\b)[\w'-]+(?=\W*\Z|\s+{_FUNCTION_WORD}\b)",
    re.IGNORECASE,
)
"""Something that the sentence knows and the question does not: "the file", "the current setting"."""

_IDENTIFIER = re.compile(r"\b(?:[a-z]+[A-Z][a-z]\w*|[a-z]+\d+)\b")
"""A name of code: one that its document says once stands in an example."""

_AS_IN_AN_EXAMPLE = re.compile(r"\bas\s+in\b|\bthe\s+example\b")
_CALL = re.compile(r"\w\((?!e?s\))[^()\s][^()]*\)")
"""A call with its arguments, without which the sentence means something else."""
_SECOND_QUESTION = re.compile(r"\s(?:Which|What|How|Why|When|Where|Who)\b")

_THE_THING = re.compile(
    r"\bthe\s+(?!default\b)(?P<thing>[a-z][\w'-]*(?:\s+[a-z][\w'-]*){1,2}?)(?=\W*\Z|\s+(?!(?:for|in|to|from|on"
    rf"|with|at)\b){_FUNCTION_WORD}\b)"
)
"""Something of two or three words that no words after it tell from others: "the course website"."""
_ELSEWHERE = re.compile(
    r"\b"
    + any_of(
        "see refer_to follow(?:ing)?_(?:the|these|our) the_following (?:please_)?read_(?:the|our|more|about)"
        " please_read check_out consult documentation docs guides? instructions tutorials? below above here"
        " as_follows section appendix these? this the_(?:appropriate|corresponding|relevant) one_of_the"
    )
    + r"\b",
    re.IGNORECASE,
)
"""The answer, or a part of it, stands somewhere else."""
_BEFORE = re.compile(
    r"(?P<before>(?:If|When|Whenever|In|On|For|With|Within|From|By|As|Since|Using|Under|Unless|Without|Before|After"
    r"|To|Once|While|Until|Where|Although|Because|During|At)\s[^,;:]{2,80}),\s+(?P<main>.+)"
)


def questions_of(sentence: str, names: Names, is_term: Callable[[str], bool]) -> list[Turned]:
    """The questions that a sentence answers, each once.

    `names` keep their capital letters. `is_term`: whether words are a term of the document, that a reader may ask the
    meaning of.
    """
    if len(sentence) > _LONGEST_SENTENCE or _CALL.search(sentence):
        return []
    bare = bare_sentence(sentence)
    if not bare or bare[-1] not in ".:!" or not bare[0].isalnum() or bare.endswith((":.", ";.")):
        return []
    introduces = bare.endswith(":")
    if not introduces and _ELSEWHERE.search(bare):
        return []
    whole = without_connective(bare.rstrip(" .:!"))
    parts = _BEFORE.fullmatch(whole)
    before, main = (parts["before"], parts["main"]) if parts else ("", whole)
    statement = Statement(
        whole,
        before,
        main,
        is_numbered(sentence),
        is_item(sentence, Span(0, len(sentence))),
        introduces,
        names,
        is_term,
    )
    aside = in_brackets(sentence)
    if _ELSEWHERE.search(aside) or _AS_IN_AN_EXAMPLE.search(aside):
        return []
    limited = any(pattern.search(aside) for pattern in (HEDGE, CONDITION, DENIAL))
    questions: dict[str, Turned] = {}
    for rule in RULES:
        for turned in rule(statement):
            question = " ".join(about_me(turned.question).split()).rstrip(" .,;:") + "?"
            if turned.yes is not None and (limited or " or " in question):
                continue
            if _stands_alone(question) and all(map(is_term, _names_of_the_text(question))):
                questions.setdefault(question, turned._replace(question=question))
    return list(questions.values())


def _names_of_the_text(question: str) -> list[str]:
    """Words of a question that must be terms of the document to mean something without the sentence."""
    return [*_IDENTIFIER.findall(question), *(match["thing"] for match in _THE_THING.finditer(question))]


def _stands_alone(question: str) -> bool:
    asked = question.rstrip("?")
    if _NOT_BY_ITSELF.search(asked) or _NEEDS_CONTEXT.search(asked) or _SECOND_QUESTION.search(asked):
        return False
    if COMPARED.search(asked):
        return False
    words = asked.split()
    return _FEWEST_WORDS <= len(words) <= _MOST_WORDS and len(max(words, key=len)) <= _LONGEST_WORD
