"""Sentences that say what something is, is for, or leads to: "An adapter is ...", "If a run is killed, ..."."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_ft.question_generation.sentences.grammar import (
    ADVERBS,
    AUXILIARY,
    DENIAL,
    HEDGE,
    NO_SUBJECT,
    NOUN_PHRASE,
    SAYS_SOMETHING,
    WORD,
    Statement,
    Turned,
    does_verb,
    goes_on,
    is_plural,
    is_subject,
    lower_first,
)
from rag_ft.question_generation.sentences.how import NOT_DONE, order_of
from rag_ft.question_generation.sentences.verbs import (
    GERUNDS,
    PLAIN_FORM,
    THIRD_PERSON,
    VERBS,
    any_of,
)
from rag_ft.question_generation.sentences.wording import begins_with_verb, statement

_IF = re.compile(r"(?:If|When|Whenever)\s+(?P<event>.+)")
_EVENT = re.compile(
    r"\b"
    + any_of(
        r"not cannot without missing fails? failed too_\w+ exceeds? no_longer more_than less_than changes?"
        " changed deleted? removed? crash(?:es)? lost loses? expires? expired stops? errors? invalid unavailable"
        " empty omit(?:s|ted)? forgets? corrupt(?:ed)? disabled? enabled? breaks? broken conflicts? times?_out"
        " interrupted killed stuck slow unset exists? differs? refuses? rejected? disagrees? denied full reached"
        " closes? closed damaged missed twice set unknown"
    )
    + r"\b|n't\b",
    re.IGNORECASE,
)
_NO_EVENT = re.compile(
    r"\b"
    + any_of("want wish prefer like case need possible necessary curious interested familiar reason and or")
    + r"\b",
    re.IGNORECASE,
)
_NO_CONSEQUENCE = re.compile(
    r"(?:you|this|that|these|those|it\s+(?:could|may|might|is|means)|see|here|there|we|please|try|consider|check"
    r"|the\s+(?:reason|cause|problem|issue))\b|.*\b(?:sign|indicates?|because|should|must|recommended|means"
    r"|suggests?|probably|likely|could\s+be|might\s+be"
    r"|advisable)\b",
    re.IGNORECASE,
)
_DOES_NOTHING = re.compile(r"(?:be|have|get|see|find|receive|read)\b")
_SHORTEST_ORDER = 4
_WHETHER = re.compile(r"\b(?:check|ask|determine|test|verif|decide|show|know|see|detect)(?:s|ed|n|ies|ied)?\Z")
"""Verbs whose "if" means "whether"."""
_DO_WHEN = re.compile(r"(?P<do>[A-Z][^,;:]+?),?\s+(?:only\s+)?(?:when|if)\s+(?P<then>[^,;:]{8,})")
_HAPPENS_TO = re.compile(rf"(?P<subject>{NOUN_PHRASE})\s+(?:{AUXILIARY}|{THIRD_PERSON})\b")
_CONSEQUENCE = re.compile(rf"(?:{NOUN_PHRASE}|it|they)\s+{ADVERBS}(?:normally\s+)?(?:{AUXILIARY}|{THIRD_PERSON})\b.*")
_EVEN_THEN = re.compile(r"\b(?:even|especially|except|not)\s+(?:when|if)\b")

_AROUND = re.compile(r"(?:Before|After)\s+(?P<doing>[a-z]+ing)\s+.+")
_WITHOUT = re.compile(r"Without\s+(?P<thing>.+)")

_DEFINED = re.compile(
    rf"(?P<term>(?:An?\s+)?{WORD}(?:\s+{WORD}){{0,3}}?)\s+(?P<verb>is|are)\s+(?P<rest>(?:an?|the"
    r"|any)\s+(?P<head>[\w-]+)\s+.+)"
)
_NO_DEFINITION = re.compile(
    any_of(
        "same only best first second most default one case reason result way good bad great lot bit few must"
        " example exception problem no-op matter more current next required major poor common useful important"
        " easy simple different better usual right wrong natural nice safe fine little further last latest"
        r" recommended preferred likely strict\w* key main primary part subset cheap\w* sensible complex topic"
        " powerful popular very new big huge known separate central core essential vital critical fundamental"
        " prerequisite tenet pillar feature"
    )
    + r"\b",
    re.IGNORECASE,
)
_NO_TERM = re.compile(
    r"\b(?:of|in|for|with|on|to|by|at|and|or|from|whose|who|that|which|is|are|what|how|often|typical|common|good|bad"
    r"|second"
    r"|main)\b|\w+ing\s|\b[A-Za-z]\Z",
    re.IGNORECASE,
)
_FEWEST_DEFINING_WORDS = 5

_FOR = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?:(?P<lets>lets?|allows?|enables?|helps?)\s+(?:you|users"
    r"|developers)\s+(?:to\s+)?(?P<do>.+)|(?P<verb>is|are)\s+used\s+(?:to|for)\s+.+)"
)
_ASPECT = re.compile(
    r"[Tt]he\s+(?P<aspect>(?:main\s+|biggest\s+|maximum\s+|minimum\s+|usual\s+)?(?:purpose|goal|aim|advantage"
    r"|disadvantage|drawback|benefit|downside|upside|limitation|cost|price|role|cause|effect|meaning|difference"
    r"|point|job|maximum|minimum|consequence|risk|danger|licen[cs]e)s?)\s+(?P<of>of|between|for"
    r"|to)\s+(?P<thing>.+?)\s+(?P<verb>is|are)\s+(?P<rest>.+)"
)
_TOLD_ELSEWHERE = re.compile(
    any_of("described listed discussed explained documented covered given shown not") + r"\b",
)
_UNLIKE = re.compile(
    rf"Unlike\s+(?P<other>{NOUN_PHRASE}),\s+(?P<subject>{NOUN_PHRASE}?)\s+(?:(?P<does>{THIRD_PERSON})|{AUXILIARY})\s.+"
)
_LONGEST_CHOICE = 5
_INSTEAD = re.compile(
    r"(?P<do>Use|Prefer|Choose|Pick|Take|Call|Write|Store|Install)\s+(?P<one>[^,;:]+?),?\s+(?:rather\s+than"
    r"|instead\s+of|and\s+not)\s+(?P<other>.+)"
)
_WHAT_DOES = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?P<verb>returns?|contains?|consists?\s+of|depends?\s+on|represents?|measures?"
    r"|controls?)\s+(?P<rest>.+)"
)
_CAUSED = re.compile(rf"(?P<subject>{NOUN_PHRASE})\s+(?:is|are)\s+caused\s+by\s.+")
_WHEN = re.compile(
    rf"(?P<subject>{NOUN_PHRASE})\s+(?:(?P<verb>is|are|can|should|must)\s+(?:only\s+)?(?P<rest>[^,;:]+?)"
    rf"|(?P<does>{THIRD_PERSON}|{PLAIN_FORM})(?P<object>(?:\s+[^,;:]+?)??)),?\s+(?:only\s+)?(?P<when>when|if"
    r"|as\s+soon\s+as|whenever)\s+(?P<then>.{8,})"
)


def what_if(s: Statement) -> Iterator[Turned]:
    """If X happens, Y follows. If X happens, do that."""
    match = _IF.fullmatch(s.before)
    if match is None or not _EVENT.search(match["event"]) or _NO_EVENT.search(match["event"]):
        return
    event = match["event"]
    subject = _HAPPENS_TO.match(event)
    if not re.match(r"you\b", event, re.IGNORECASE) and (
        subject is None or not s.may_ask_about(subject["subject"].removeprefix("your "))
    ):
        return
    event = s.names.in_a_question(event)
    if _is_order(s.main):
        yield Turned(f"What should I do if {event}")
    elif _follows(s):
        yield Turned(f"What happens if {event}")


def before_and_after(s: Statement) -> Iterator[Turned]:
    """Before VERBING, do this. Without X, Y follows."""
    if (match := _AROUND.fullmatch(s.before)) and match["doing"] in GERUNDS and _is_order(s.main):
        yield Turned(f"What should I do {lower_first(s.before)}")
    elif (match := _WITHOUT.fullmatch(s.before)) and _follows(s):
        if not NO_SUBJECT.match(match["thing"]) and statement(match["thing"]):
            yield Turned(f"What happens without {match['thing']}")


def what_is(s: Statement) -> Iterator[Turned]:
    """X is a kind of Y."""
    match = None if s.before or s.introduces else _DEFINED.fullmatch(s.main)
    if match is None or not s.may_ask_about(match["term"]):
        return
    if (
        re.search(r"\b(?:them|these|those|it)\b", match["rest"])
        or _NO_DEFINITION.match(match["head"])
        or _NO_TERM.search(match["term"])
        or is_plural(match["term"]) != (match["verb"] == "are")
    ):
        return
    if len(match["rest"].split()) >= _FEWEST_DEFINING_WORDS and s.is_term(match["term"]):
        yield Turned(f"What {match['verb']} {s.names.in_a_question(match['term'])}")


def what_for(s: Statement) -> Iterator[Turned]:
    """X lets you VERB. X is used to VERB."""
    match = None if s.before else _FOR.fullmatch(s.main)
    if match is None or not s.may_ask_about(match["subject"]):
        return
    subject, many = s.names.in_a_question(match["subject"]), is_plural(match["subject"])
    if match["verb"]:
        yield Turned(f"What {match['verb']} {subject} used for")
    elif begins_with_verb(match["do"]) and many == (match["lets"] in ("let", "allow", "enable", "help")):
        yield Turned(f"What {'are' if many else 'is'} {subject} used for")


def aspect(s: Statement) -> Iterator[Turned]:
    """The main advantage of X is Y."""
    match = None if s.before else _ASPECT.fullmatch(s.main)
    if match is None or (len(match["rest"].split()) < 3 and not s.introduces):
        return
    if not re.search(rf"\b(?:{AUXILIARY}|that|which|who)\b", match["thing"]) and not _TOLD_ELSEWHERE.match(
        match["rest"]
    ):
        yield Turned(f"What {match['verb']} the {match['aspect']} {match['of']} {match['thing']}")


def unlike(s: Statement) -> Iterator[Turned]:
    """Unlike X, Y is so."""
    match = _UNLIKE.fullmatch(s.whole)
    if match and s.may_ask_about(match["subject"]) and is_subject(match["other"]) and "'s " not in match["subject"]:
        does = "do" if is_plural(match["subject"]) and not match["does"] else "does"
        subject, other = s.names.in_a_question(match["subject"]), s.names.in_a_question(match["other"])
        yield Turned(f"How {does} {subject} differ from {other}")


def which_of_two(s: Statement) -> Iterator[Turned]:
    """Use X instead of Y."""
    match = None if s.before or s.introduces or s.is_step else _INSTEAD.fullmatch(s.main)
    if match and not (NO_SUBJECT.match(match["one"]) or NO_SUBJECT.match(match["other"])):
        one, other = match["one"], statement(match["other"])
        if other and not DENIAL.search(s.main) and len(one.split()) <= _LONGEST_CHOICE >= len(other.split()):
            yield Turned(f"Should I {match['do'].lower()} {one} or {other}")


def what_does(s: Statement) -> Iterator[Turned]:
    """X consists of Y. X is caused by Y."""
    if s.before or HEDGE.search(s.main) or DENIAL.search(s.main):
        return
    if (match := _CAUSED.fullmatch(s.main)) and s.may_ask_about(match["subject"]):
        yield Turned(f"What causes {s.names.in_a_question(match['subject'])}")
    match = _WHAT_DOES.fullmatch(s.main)
    if (
        match is None
        or (match["subject"].startswith("The ") and " of " not in match["subject"])  # "The output file contains ..."
        or not s.may_ask_about(match["subject"])
        or len(match["rest"].split()) < 3
        or goes_on(match["rest"])
    ):
        return
    asked = does_verb(match["subject"], match["verb"])
    if asked and s.is_term(match["subject"]) and not match["subject"].isdecimal():
        yield Turned(f"What {asked.does} {s.names.in_a_question(match['subject'])} {asked.verb}")


def when(s: Statement) -> Iterator[Turned]:
    """X is needed when Y. X fails if Y."""
    match = None if s.before or s.introduces or s.is_step else _WHEN.fullmatch(s.main)
    if (
        match is None
        or not SAYS_SOMETHING.search(match["then"])
        or not s.may_ask_about(match["subject"])
        or _EVEN_THEN.search(s.main)
        or (match["when"] == "if" and _WHETHER.search(match["does"] or match["rest"]))
    ):
        return
    subject = s.names.in_a_question(match["subject"])
    if match["verb"]:
        rest = match["rest"]
        if DENIAL.search(rest) or not statement(rest) or goes_on(rest) or re.match(r"(?:an?|the|as|to)\b", rest):
            return
        if match["verb"] in ("can", "should", "must") and not begins_with_verb(rest):
            return
        yield Turned(f"When {match['verb']} {subject} {rest}")
    elif (asked := does_verb(match["subject"], match["does"])) and not DENIAL.search(match["object"]):
        if not match["object"] or statement(match["object"]):
            yield Turned(f"When {asked.does} {subject} {asked.verb} {match['object']}")


def when_to(s: Statement) -> Iterator[Turned]:
    """Do X when Y."""
    match = None if s.before or s.introduces or s.is_step else _DO_WHEN.fullmatch(s.main)
    if match is None or not SAYS_SOMETHING.search(match["then"]) or _EVEN_THEN.search(s.main) or HEDGE.search(s.main):
        return
    do = lower_first(match["do"])
    if (
        do.split()[-1] not in VERBS
        and begins_with_verb(do)
        and statement(do)
        and len(do.split()) > 1
        and not goes_on(do)
        and not NOT_DONE.match(do)
        and " to be " not in do
    ):
        yield Turned(f"When should I {do}")


def _follows(s: Statement) -> bool:
    """Whether the main clause says what happens."""
    return not s.introduces and _CONSEQUENCE.fullmatch(s.main) is not None and _NO_CONSEQUENCE.match(s.main) is None


def _is_order(text: str) -> bool:
    do = order_of(text)
    return len(text.split()) >= _SHORTEST_ORDER and begins_with_verb(do) and _DOES_NOTHING.match(do) is None
