"""Sentences that say how something is done: "To resume a run, repeat the command", "X is computed from Y"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_ft.question_generation.sentences.grammar import (
    ADVERBS,
    DENIAL,
    HEDGE,
    NOUN_PHRASE,
    Statement,
    Turned,
    goes_on,
    lower_first,
)
from rag_ft.question_generation.sentences.verbs import any_of
from rag_ft.question_generation.sentences.wording import begins_with_verb, statement

_PURPOSE = re.compile(
    r"(?:In\s+order\s+to|To|If\s+you(?:'d|\s+would)?\s+(?:want|wish|like|need)\s+to|When\s+you\s+(?:want"
    r"|need)\s+to)\s+(?P<do>.+)"
)
_ORDER = re.compile(
    r"(?:please\s+|simply\s+|just\s+)?(?!first\b)(?:you\s+(?:can|should|must|may|need\s+to|have\s+to|could|might)\s+"
    rf"|you'll\s+(?:need|have)\s+to\s+|you\s+will\s+(?:need|have)\s+to\s+)?{ADVERBS}(?P<do>.+)",
    re.IGNORECASE,
)
"""What someone is told to do."""
NOT_DONE = re.compile(
    any_of(
        "see find notice get want need wish have be encounter experience prefer like think expect receive know"
        " understand learn read look observe consider check_out follow visit contact help remember ensure"
        " make_sure give take_advantage do answer illustrate summari[sz]e clarify put_it begin continue proceed"
        " discuss show demonstrate simplify allow avoid_confusion use try depend rely fail fit happen exist lose"
        " break damage corrupt hurt waste crash"
    )
    + r"\b",
    re.IGNORECASE,
)
"""What people do not ask how to do."""
_USES = r"(?:use|run|set|call|add|pass|open|click|press|enable|install|execute|include|invoke|issue|configure)"
_USE_TO = re.compile(rf"{_USES}\s+(?P<what>[^,;:]{{2,80}}?)\s+to\s+(?P<do>.+)", re.IGNORECASE)
_DO_BY = re.compile(r"(?P<do>.{6,}?)\s+(?:by\s+\w+ing|using|via|with\s+the)\b.+", re.IGNORECASE)
_NOT_A_TOOL = re.compile(
    r"\b"
    + any_of(
        "you need needs want if when that which this these how is are steps following instructions methods? it"
        " them that"
    )
    + r"\b",
    re.IGNORECASE,
)
_PREREQUISITE = re.compile(r"you\s+(?:will\s+)?(?:need|have)\s+to\b|you'll\s+(?:need|have)\s+to\b", re.IGNORECASE)
"""What must be done first, and more is to do."""
_IN_A_WINDOW = re.compile(
    any_of("click press select open enter choose go right-click scroll tap drag") + r"\b",
)
"""One of several steps, where it stands in a list."""
_TWO_CASES = re.compile(r"\b(?:when|which|and/or)\b")
_NO_OBJECT = re.compile(
    r"(?!(?:work|log|sign|switch|connect|subscribe|upgrade|update|migrate|move|contribute|listen"
    r"|navigate)\b)\w+\s+(?:in|on|at|into|from|with|by|for|to|of)\b"
)
""" "Choose a file to open in an editor": what is opened stands before."""
_NO_PLACE = re.compile(
    r"\b"
    + any_of(
        "order formats? text form detail UTC time use startup advance parallel memory_only hours? days? first demand"
    )
    + r"\b",
)
_ACCIDENT = re.compile(r"you\s+(?:could|might)\b", re.IGNORECASE)
_WAYS = re.compile(
    r"There\s+(?:are|is)\s+(?:an?\s+|two|three|four|five|six|several|many|multiple|a\s+few"
    r"|a\s+number\s+of)\s*(?:different\s+|main\s+|other\s+)?(?:ways?|methods?|options?)\s+(?:to|for)\s+(?P<do>.+)"
)
_DONE = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?P<verb>is|are)\s+{ADVERBS}(?P<done>computed|calculated|measured|determined"
    r"|chosen|estimated|trained|split|scored|ranked|compared|updated|created|generated|built|merged|loaded|handled"
    r"|resolved|sorted|tuned|initialised|initialized|combined|normalised|normalized|evaluated|encoded|represented"
    r"|identified|authenticated|configured|detected|counted|found)\s+(?:by\s+\w+ing|from|with|using|through"
    r"|on\s+the\s+basis\s+of)\s.+"
)
_KEPT = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?P<verb>is|are)\s+{ADVERBS}(?P<done>stored|saved|located|placed|defined"
    r"|configured|documented|listed|hosted|logged|cached)\s+(?:in|at|on|inside|beside)\s(?P<place>.+)"
)


def how_to(s: Statement) -> Iterator[Turned]:
    """To VERB, do this. If you want to VERB, do this."""
    purpose = _PURPOSE.fullmatch(s.before)
    if purpose and _can_be_done(purpose["do"]) and (s.introduces or len(s.main.split()) > 2):
        order = order_of(s.main)
        if begins_with_verb(order) and not _PREREQUISITE.match(s.main) and not re.match(r"(?:be|have|need)\b", order):
            yield Turned(f"How do I {purpose['do']}")


def use_to(s: Statement) -> Iterator[Turned]:
    """Use this to VERB. You can VERB by doing that."""
    if s.before and not s.before.startswith(("On ", "In ", "With ", "From ", "For ")):
        return
    order = order_of(s.main)
    if not begins_with_verb(order) or s.is_step or (s.is_item and _IN_A_WINDOW.match(order)):
        return
    use, by = _USE_TO.fullmatch(order), _DO_BY.fullmatch(order)
    if use and not _NOT_A_TOOL.search(use["what"]):
        do = statement(use["do"])
        if _NO_OBJECT.match(do):
            return
    elif by and s.main.lower().startswith("you") and not _ACCIDENT.match(s.main):
        do = statement(by["do"])
    else:
        return
    where = f" {lower_first(s.before)}" if s.before else ""
    if _can_be_done(do):
        yield Turned(f"How do I {do}{where}")


def ways(s: Statement) -> Iterator[Turned]:
    """There are two ways to VERB: ..."""
    match = _WAYS.fullmatch(s.whole)
    if match and _can_be_done(do := statement(match["do"])):
        yield Turned(f"How can I {do}")


def how_is(s: Statement) -> Iterator[Turned]:
    """X is computed from Y. X is stored in Y."""
    if s.before or HEDGE.search(s.main):
        return
    match, asks = _DONE.fullmatch(s.main), "How"
    if match is None:
        match, asks = _KEPT.fullmatch(s.main), "Where"
        if match and _NO_PLACE.search(match["place"]):
            return
    if match is None or not s.may_ask_about(match["subject"]) or DENIAL.search(s.main) or goes_on(s.main):
        return
    subject = s.names.in_a_question(match["subject"])
    yield Turned(f"{asks} {match['verb']} {subject} {match['done']}")


def order_of(text: str) -> str:
    """What a text tells someone to do, from its verb on; empty where it is told nothing."""
    match = _ORDER.fullmatch(text)
    return lower_first(match["do"]) if match else ""


def _can_be_done(do: str) -> bool:
    return (
        len(do.split()) > 1
        and not _TWO_CASES.search(do)
        and begins_with_verb(do)
        and NOT_DONE.match(do) is None
        and statement(do) == do
    )
