"""Sentences that give a reason: "Padding is harmless, because the mask hides it", "Never do that: it breaks this"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_ft.question_generation.sentences.grammar import (
    ADVERBS,
    COMPARED,
    HEDGE,
    NOUN_PHRASE,
    POSITIVE,
    Statement,
    Turned,
    goes_on,
    is_plural,
)
from rag_ft.question_generation.sentences.verbs import BASE_OF_THIRD_PERSON, PLAIN_FORM, THIRD_PERSON, VERBS, any_of
from rag_ft.question_generation.sentences.wording import begins_with_verb, statement

_REASON = (
    r",?\s+(?P<reason>(?:because|since\s+(?:it|they|you|the|an?|any\w*|all|each|every|no)|so\s+that|as\s+otherwise"
    r"|(?:in\s+order\s+)?to\s+(?:avoid|prevent|ensure|make\s+sure|keep|reduce|save)"
    r"|for\s+\w+\s+reasons)\b(?!\s+(?:of\s+)?(?:it|this|that)\W*\Z).*)"
)
_TAKES_TO = re.compile(
    r"\b"
    + any_of(
        "configured designed expected able required used try tries remember need needs want wants attempts?"
        " tends? aims? seeks? hopes? intends? plans? agrees? refuses? fails? decides? begins? starts? continues?"
        " have has intended meant supposed likely ready allowed set_up made built free possible best better"
        " important necessary recommended enough care careful"
    )
    + r"\Z",
)
"""What a "to" completes, and gives no reason for."""
_PERFECT = re.compile(r"\s*(?:been|not|never|to|\w+(?:ed|en|wn))\b")
_IS = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?P<verb>is|are|can|cannot|can't|must|should|isn't|aren't|won't|doesn't|don't|do"
    rf"|does|needs?\s+to|has\s+to|have\s+to)\s+(?P<not>not\s+)?{ADVERBS}(?P<rest>[^,;:]+?){_REASON}"
)
_DOES = re.compile(rf"(?P<subject>{NOUN_PHRASE}?)\s+(?P<verb>{THIRD_PERSON})(?P<rest>(?:\s+[^,;:]+?)??){_REASON}")
_DO = re.compile(rf"(?P<subject>{NOUN_PHRASE}?)\s+(?P<verb>{PLAIN_FORM})(?P<rest>(?:\s+[^,;:]+?)??){_REASON}")
_YOU = re.compile(
    r"[Yy]ou\s+(?P<modal>should|must|need\s+to|have\s+to|cannot"
    rf"|can't)\s+(?P<not>not\s+)?{ADVERBS}(?P<rest>[^,;:]+?){_REASON}"
)
_DO_NOT = re.compile(
    rf"(?P<order>Do\s+not|Don't|Never|Avoid)\s+(?P<rest>[^,;:]+?)(?:{_REASON}|[;:]\s+(?:the|an?|doing|it|this)\b.*)"
)
_ASKS_OF_ME = {"should": "should I", "must": "must I", "cannot": "can I not", "can't": "can I not"}


def why(s: Statement) -> Iterator[Turned]:
    """X is so because of that. You should VERB, because of that."""
    if s.before or s.introduces:
        return
    for rule in (_why_is, _why_does, _why_should_i, _why_not):
        if turned := rule(s):
            yield turned
            return


def _why_is(s: Statement) -> Turned | None:
    match = _IS.fullmatch(s.main)
    if match is None or not s.may_ask_about(match["subject"]) or not _settled(match):
        return None
    subject, rest = s.names.in_a_question(match["subject"]), match["rest"]
    verb = " ".join(match["verb"].split())
    no = "not " if match["not"] or verb in POSITIVE else ""
    if verb.endswith(" to"):
        asks = "do" if verb.startswith(("need ", "have")) else "does"
        return Turned(f"Why {asks} {subject} {'have' if verb.startswith('ha') else 'need'} to {rest}")
    return Turned(f"Why {POSITIVE.get(verb, verb)} {subject} {no}{rest}")


def _why_does(s: Statement) -> Turned | None:
    # "Old caches raise costs": first what many things do, for a plural may be a verb, too.
    match, does = _DO.fullmatch(s.main), "do"
    if match is None or not is_plural(match["subject"]):
        match, does = _DOES.fullmatch(s.main), "does"
        if match is None or is_plural(match["subject"]):
            return None
    if not s.may_ask_about(match["subject"]):
        return None
    if not _settled(match) or (match["verb"] == "has" and _PERFECT.match(match["rest"])):
        return None
    if match["subject"].split()[0].lower() in VERBS:
        return None  # an order
    verb = BASE_OF_THIRD_PERSON.get(match["verb"], match["verb"])
    return Turned(f"Why {does} {s.names.in_a_question(match['subject'])} {verb} {match['rest']}")


def _why_should_i(s: Statement) -> Turned | None:
    match = _YOU.fullmatch(s.main)
    if match is None or not begins_with_verb(match["rest"]) or not _settled(match):
        return None
    modal = " ".join(match["modal"].split())
    asks = _ASKS_OF_ME.get(modal, f"do I {modal}")
    return Turned(f"Why {asks} {'not ' if match['not'] else ''}{match['rest']}")


def _why_not(s: Statement) -> Turned | None:
    match = _DO_NOT.fullmatch(s.main)
    if match is None or not _settled(match):
        return None
    if match["order"] == "Avoid":
        return Turned(f"Why should I avoid {match['rest']}")
    if begins_with_verb(match["rest"]) and " or " not in match["rest"]:
        return Turned(f"Why should I not {match['rest']}")
    return None


def _settled(match: re.Match[str]) -> bool:
    """Whether what is explained is one whole statement, and what follows its reason."""
    rest, reason = match["rest"].strip(), match["reason"] or ""
    before = rest or match.groupdict().get("verb") or ""
    if reason.startswith(("to ", "in order")) and _TAKES_TO.search(before):
        return False
    if not rest:
        return True
    return bool(statement(rest)) and not HEDGE.search(rest) and not COMPARED.search(rest) and not goes_on(rest)
