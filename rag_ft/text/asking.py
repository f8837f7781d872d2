"""What kind of answer a question asks for, by its words: English only; any other question is left to the reader."""

from __future__ import annotations

import re

_QUANTITY = (
    r"many|much|long|old|far|often|tall|high|big|large|small|wide|deep|fast|slow|heavy|few|late|early|soon|frequently"
    r"|likely|accurate|quickly"
)
_YES_OR_NO = (
    r"(?:is|are|was|were|am|do|does|did|can|could|should|shall|will|would|may|might|must|has|have|had)(?:n[’']?t)?"
)
_ASKED = (
    rf"(?:why|how\s+come|how(?!\s+(?:{_QUANTITY})\b)|{_YES_OR_NO}"
    r"|when\s+(?:should|do|does|can|must|may|is\s+it)|in\s+(?:which|what)\s+(?:cases|situations|circumstances)"
    r"|what\s+(?:happens|makes|should\s+(?:I|we|you)|(?:do|can|must)\s+(?:I|we|you))|explain|tell\s+me\s+(?:how|why)"
    # what something is: a name of one or two words, without "the"
    r"|what(?:[’']s|\s+is|\s+are)\s+(?:an?\s+)?(?!(?:the|its|his|her|their|your|my|this|that)\s)[\w.@$`-]+"
    r"(?:\s+[\w.@$`-]+)?(?=\s*(?:\?|\Z)))(?![\w’'])"
)
_FILLER = r"(?:(?:and|but|so|then|well|ok|okay|hi|hello|please)\b[\s,]*)*"
# Verbs that are seldom nouns: typed into a search box, they ask how it is done.
_TO_DO = (
    "install|uninstall|configure|create|add|remove|delete|enable|disable|compile|deploy|upgrade|migrate|convert|rename"
    "|prevent|avoid|stop|make|let|get rid of|turn (?:on|off)|set up|work out|find out|log in|log out|sign in|sign up"
    "|switch|choose|write|send|submit|restore|recover|undo|revert|replace|merge|split|combine|connect|disconnect|import"
    "|export|upload|download|generate|customi[sz]e|fix|resolve|debug|run|use|read|load|save|open|close|hide|show|change"
    "|speed up|reduce|increase|limit|allow|force|ignore|skip|keep|have"
)
_OBJECT = "(?:an?|the|my|our|your|some|several|all|every|each|two|more|less|only|just|it|its|this|that|these|those|one)"
_BEGINS = re.compile(rf"\W*{_FILLER}{_ASKED}", re.IGNORECASE)
_LATER = re.compile(
    rf"[.,:;!?…]\s+{_FILLER}(?:why|how\s+(?:do|does|can|could|should|to|is|are)"
    r"|what\s+(?:should|can|must|do)\s+(?:I|we|you)"
    r"|(?:is|are|do|does|can|could|should|will|would|may|must)(?:n[’']?t)?\s+(?:I|we|you|it|he|she|they)"
    r"|(?:do|does|can|should|will)\s+(?:this|that|the|an?))\b",
    re.IGNORECASE,
)
_AFTER_A_CONDITION = re.compile(
    rf"\A\W*{_FILLER}(?:if|when|whenever|after|before|once|while|with|without)\b[^?]*,\s+"
    r"(?:do|does|can|could|should|will|would|is|are|must)(?:n[’']?t)?\s+\w",
    re.IGNORECASE,
)
"""If I save it twice, does Shaka notice: the subject may be any word, because a clause comes before."""
_IN_A_SEARCH_BOX = re.compile(
    rf"\A\W*{_FILLER}(?!.*\b(?:who|what|which)\b)"
    rf"(?:(?:{_TO_DO})\s+(?:\w+\s+)?{_OBJECT}\b|(?:steps|ways?|guide|instructions)\s+(?:to|for)\b)[^?]*\Z",
    re.IGNORECASE,
)
"""What is to be done, without a question mark."""
_NO_PURPOSE = "known|famous|responsible|named|noted|short|nickname|looking|searching|applying"
_FOR_A_QUANTITY = re.compile(rf"\bhow\s+(?:{_QUANTITY})\b", re.IGNORECASE)
_ANYWHERE = re.compile(
    r"\b(?:differences?|differs?)\b|\b(?:vs|versus)\b"
    r"|\bwhat\s+(?:do|does)\b.*\b(?:do|good\s+for)\W*\Z|\bwhat\s+(?:do|does)\b.*\bmean\b"
    rf"|\bwhat(?:[’']s|\s+is|\s+are)\b(?!.*\b(?:{_NO_PURPOSE})\s+for\W*\Z).*\bfor\W*\Z"
    r"|\bwhat(?:[’']s|\s+is)\s+the\s+(?:point|reason|purpose|meaning|effect)\b"
    r"|\bwhat(?:[’']s|\s+is|\s+are)\s+the\s+(?:\w+\s+)?(?:ways?|steps|procedure)\s+(?:to|of|for)\b",
    re.IGNORECASE,
)


def asks_for_sentences(question: str) -> bool:
    """Whether some words of a sentence are too little for an answer: how, why, yes or no, what something is or does.

    "How many", "how long" and their like ask for a few words, as do who, where and which.
    """
    if _BEGINS.match(question):
        return True
    patterns = (_LATER, _ANYWHERE, _AFTER_A_CONDITION, _IN_A_SEARCH_BOX)
    return not _FOR_A_QUANTITY.search(question) and any(pattern.search(question) for pattern in patterns)


_STEPS = re.compile(
    rf"(?:\A|[.,:;!?…]\s)\W*{_FILLER}how\s+(?:do|does|can|could|should|would|to)\b|\bsteps\b", re.IGNORECASE
)


def asks_for_steps(question: str) -> bool:
    """Whether a question asks what to do, which a list may say step by step."""
    return _STEPS.search(question) is not None


_ONE_S_OWN_STEPS = re.compile(r"how\s+(?:(?:do|can|should|could|would)\s+(?:i|we|you|one)\b|to\b)", re.IGNORECASE)


def asks_what_to_do(question: str) -> bool:
    """Whether a question begins by asking how the person who asks it does something."""
    return _ONE_S_OWN_STEPS.match(question.strip()) is not None


_OR = re.compile(r",?\s+or\s+(?!not\b|no\b)", re.IGNORECASE)
_BEGINS_YES_OR_NO = re.compile(rf"\W*{_FILLER}{_YES_OR_NO}(?![\w’'])", re.IGNORECASE)
_LATER_YES_OR_NO = re.compile(
    rf"[.,:;!?…]\s+{_FILLER}{_YES_OR_NO}\s+(?:I|we|you|it|he|she|they|this|that|the|an?)\b", re.IGNORECASE
)


def asks_yes_or_no(question: str) -> bool:
    """Whether a question can be answered with yes or no: it begins with its verb, and offers no choice with "or"."""
    asked = _BEGINS_YES_OR_NO.match(question) or _LATER_YES_OR_NO.search(question) or _AFTER_A_CONDITION.match(question)
    return asked is not None and not _OR.search(question, asked.end())


_NUMBER = r"(?:two|three|four|five|six|seven|eight|nine|ten|twelve|[2-9]|1\d)"
_PLURAL_VERB = r"(?:are|were|do|did|have|had|can|could|should|shall|must|may|might|will|would|need|exist)"
_THINGS = (
    r"(?:(?!\w*(?:ss|us|is)\b|(?:series|species|news|means|does|was|has|this|always|whose|sometimes)\b)[\w-]{2,}s"
    r"|people|men|women|children|criteria|phenomena)(?![\w'’])"
)
_BEFORE_THINGS = (
    rf"(?:(?!(?:of|is|was|has|does|that|happen(?:s|ed)?|if|when|{_PLURAL_VERB[3:-1]})\b)[\w'’-]+\s+){{0,3}}?"
)
_DETERMINER = r"(?:other|many|(?:all\s+|some\s+)?(?:of\s+)?(?:the|its|his|her|their|our|your|my|these|those)|all|some)"
_SEVERAL = re.compile(
    # which learning rates should I try, to which two countries; not which rates file is read, what makes it run
    rf"\b(?:what|which)\s+(?:{_NUMBER}\s+{_BEFORE_THINGS}{_THINGS}"
    rf"|{_BEFORE_THINGS}{_THINGS}(?:\s+of\s+(?:an?\s+|the\s+)?[\w'’-]+)?\s+{_PLURAL_VERB}\b|(?:[\w'’-]+\s+)?{_THINGS}\W*\Z"
    r"|(?:kinds|types|sorts)\s+of\b|ones\b)"
    # what are the signs of, who were the members of; not what they are called, or made of
    rf"|\b(?:what|which|who)\s+(?:are|were)\s+(?:{_DETERMINER}\s+(?:{_NUMBER}\s+)?|{_NUMBER}\s+){_BEFORE_THINGS}{_THINGS}"
    r"(?!.*\b(?:called|named|known|of|as|from|into|by|for|in|on|at|with|to|about|than|like)\W*\Z)"
    rf"|(?:\A|[.?!:]\s+)\W*{_FILLER}(?:name|list|identify|enumerate)\s+"
    rf"(?:all\b|some\b|{_NUMBER}\b|(?:the\s+)?{_BEFORE_THINGS}{_THINGS})",
    re.IGNORECASE,
)


def asks_for_several(question: str) -> bool:
    """Whether a question asks for several things by its plural words: which adapters, what are the signs, name three.

    "Who wrote it?" may have several answers, and asks for one by its words.
    """
    return _SEVERAL.search(question) is not None
