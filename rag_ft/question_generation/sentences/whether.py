"""Sentences that settle something: "You can resume a run", "HTTP/2 is not enabled by default", "X supports Y"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_ft.question_generation.sentences.grammar import (
    ADVERBS,
    COMPARED,
    CONDITION,
    DENIAL,
    HEDGE,
    NOUN_PHRASE,
    POSITIVE,
    Statement,
    Turned,
    does_verb,
    goes_on,
    lower_first,
)
from rag_ft.question_generation.sentences.how import NOT_DONE
from rag_ft.question_generation.sentences.verbs import any_of
from rag_ft.question_generation.sentences.wording import begins_with_verb, statement
from rag_ft.text.question_form import content_words

_YOU_MODAL = re.compile(
    r"[Yy]ou\s+(?:will\s+|'ll\s+)?(?P<modal>can't|can(?:not|\s+not)?|could|may(?:\s+not)?|should(?:n't|\s+not)?"
    r"|must(?:n't|\s+not)?|(?:need|have)\s+to|(?:don't|do\s+not)\s+(?:need|have)\s+to"
    rf"|need\s+not)\s+{ADVERBS}(?P<do>.+)"
)
_ANOTHER_QUESTION = re.compile(
    r"(?:To|In\s+order|By|Using|As|Since|Once|Although|Because|Until|Unless|Where|While|At)\b|.*\b(?:want|need"
    r"|prefer|like|wish|case|addition|short|practice|general|detail|future|all|both|reasons?|risk|users|safety"
    r"|security|simplicity|now)\b",
    re.IGNORECASE,
)
"""Clauses before a statement with which it settles another question, or none."""
_SAID_OF_IT = re.compile(r"\b(?:\w+\s+to\s+\w+|using|via|by\s+\w+ing)\b")

_IS = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?P<verb>is|are|can|cannot|can't|must|should|will|isn't|aren't|won't|doesn't"
    rf"|don't|does|do)\s+(?P<not>not\s+|never\s+)?{ADVERBS}(?P<rest>.+)"
)
_DECIDED = re.compile(
    r"\b"
    + any_of(
        "required optional supported enabled disabled allowed available possible compatible deprecated"
        " recommended safe necessary needed sensitive free open.source encrypted faster slower better worse"
        " larger smaller cheaper experimental stable mandatory cached limited included installed preserved"
        " ignored unlimited immutable mutable secure public private automatic(?:ally)? synchronous asynchronous"
        " stored shared sorted ordered unique expensive cheap slow fast reversible permanent temporary obsolete"
        " redundant harmful enough visible portable interchangeable deterministic random empty read-only"
        " writable forbidden prohibited accepted guaranteed planned maintained affected kept lost exact"
    )
    + r"\b|\b(?:more|less)\s+\w+",
    re.IGNORECASE,
)
_SAYS_WHAT_IT_IS = re.compile(r"(?:an?|the|one|to|used|called|named|known|based|about|equal|in|on|as|now)\b")
_SAID_OF_BEFORE = re.compile(
    r"\b(?:then|therefore|thus|instead|otherwise|still|even|at\s+all|as\s+needed)\b|(?:\b(?:not|cannot)"
    r"|n't)\s+(?:just|always|only|simply|merely|yet|even|\w+ly)\b"
)
_OPINION = re.compile(
    r"\b"
    + any_of(
        "tricky difficult hard helpful useful confusing challenging important valuable beneficial annoying painful fun"
    )
    + r"\b",
)
"""What nobody asks for a yes or no: "Handling events can be tricky"."""
_RELATIVE = re.compile(r"\b(?:that|which|who|whose|where|what|how)\b")

_DOES = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?P<verb>supports?|requires?|needs?|allows?|works?\s+with|runs?\s+on"
    r"|depends?\s+on|accepts?|preserves?|stores?|changes?|affects?|keeps?|removes?|uses?)\s+(?P<rest>.+)"
)
_VAGUE_OBJECT = re.compile(
    r"(?:an?\s+\w+\s+of|the\s+following|only|no|not|more|less|little|two|three|four|five|various|different|\d)\b",
    re.IGNORECASE,
)
_MOST_OBJECT_WORDS = 8


def you_may(s: Statement) -> Iterator[Turned]:
    """You can, should, must, need not VERB."""
    match = _YOU_MODAL.fullmatch(s.main)
    if match is None or s.introduces or s.is_item or _SAID_OF_BEFORE.search(s.main):
        return
    if _ANOTHER_QUESTION.match(s.before) or HEDGE.search(s.before):
        return
    modal, rest = " ".join(match["modal"].split()), match["do"]
    no = "not" in modal or "n't" in modal
    do = statement(rest)
    if not do or not begins_with_verb(do) or _unsettled(rest, do):
        return
    if not no and (NOT_DONE.match(do) or (modal in ("can", "could", "may") and _SAID_OF_IT.search(do))):
        return
    where = f" {lower_first(s.before)}" if s.before else ""
    if modal.startswith(("can", "could", "may")):
        asks = "Can I"
    elif modal.startswith("should"):
        asks = "Should I"
    elif modal.startswith("must") and no:
        asks = "May I"
    else:
        asks = "Do I need to"
    if len(do.split()) > 2 or where:
        yield Turned(f"{asks} {do}{where}", yes=not no)


def is_it(s: Statement) -> Iterator[Turned]:
    """X is enabled, does not VERB, can VERB; also by default."""
    default = s.before.lower() == "by default"
    match = None if s.introduces or s.is_item or (s.before and not default) else _IS.fullmatch(s.main)
    if match is None or not s.may_ask_about(match["subject"]) or _SAID_OF_BEFORE.search(s.main):
        return
    verb = POSITIVE.get(match["verb"], match["verb"])
    no = verb != match["verb"] or match["not"] is not None
    rest = statement(match["rest"])
    if not rest or _unsettled(match["rest"], rest) or CONDITION.search(rest) or _RELATIVE.search(rest):
        return
    if verb in ("is", "are"):
        denied_event = no and re.match(r"\w+ed\b", rest)
        if _SAYS_WHAT_IT_IS.match(rest) or not (denied_event or _DECIDED.search(rest)):
            return
    elif not begins_with_verb(rest) or (verb in ("will", "do", "does") and not no):
        return
    ending = " by default" if default and "default" not in rest else ""
    asks = "May" if verb == "must" and no else verb.capitalize()  # "must it?" would be denied with "need not"
    question = f"{asks} {s.names.in_a_question(match['subject'])} {rest}{ending}"
    if len(content_words(question)) > 2 or default:
        yield Turned(question, yes=not no)


def does_it(s: Statement) -> Iterator[Turned]:
    """X supports Y."""
    match = None if s.before or s.introduces or s.is_item else _DOES.fullmatch(s.main)
    if match is None or not s.may_ask_about(match["subject"]):
        return
    rest = statement(match["rest"])
    if not rest or _VAGUE_OBJECT.match(rest) or _unsettled(match["rest"], rest) or CONDITION.search(match["rest"]):
        return
    if re.search(r"\b(?:and|to)\b", rest) or _RELATIVE.search(rest) or not 1 < len(rest.split()) <= _MOST_OBJECT_WORDS:
        return
    asked = does_verb(match["subject"], match["verb"])
    if asked is None or (asked.does == "do" and re.match(r"(?:for|of|in|to)\b", rest)):  # "X adds support for Y"
        return
    subject = s.names.in_a_question(match["subject"])
    yield Turned(f"{asked.does.capitalize()} {subject} {asked.verb} {rest}", yes=True)


def _unsettled(rest: str, stated: str) -> bool:
    """Whether something makes a statement's truth depend, or turns it around; `stated`: its first part."""
    after = rest[len(stated) :]
    return (
        ":" in rest
        or HEDGE.search(rest) is not None
        or CONDITION.search(after) is not None
        or DENIAL.search(stated) is not None
        or _OPINION.search(stated) is not None
        or COMPARED.search(stated) is not None
        or goes_on(stated)
    )
