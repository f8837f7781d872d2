"""A sentence's words as they are used in a question: without markup, about the one who asks, with names kept.

English only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from rag_ft.question_generation.sentences.verbs import PLAIN_FORM, THIRD_PERSON, VERBS, any_of, is_base_form

_LINK = re.compile(r"!?\[(?P<text>[^\]]*)\](?:\([^)\s]*(?:\s+\"[^\"]*\")?\)|\[[^\]]*\])")
_MARKUP = re.compile(r"\*\*|__|`{1,3}|(?<![\w*])\*(?=\w)|(?<=\w)\*(?![\w*])|(?<!\w)_(?=\w)|(?<=\w)_(?!\w)")
_BRACKETED = re.compile(r"\s*\([^()]*\)")
_MARK = re.compile(
    r"(?:[-*•–‣◦▪●○+>]+|\(?\d{1,3}[.)]|\(?[a-z]\))\s+"
    r"|\W*(?:note|tip|warning|important|caution|hint|info|remark|q|a)\b\W*:\W*",
    re.IGNORECASE,
)
"""What marks a list item or a note."""
_NUMBERED = re.compile(r"\s*\(?\d{1,3}[.)]\s")
_CONNECTIVE = re.compile(
    r"(?:however|therefore|thus|hence|so|but|and|also|additionally|in\s+addition|furthermore|moreover"
    r"|(?:please\s+)?note(?:\s+that)?|remember(?:\s+that)?|keep\s+in\s+mind\s+that|be\s+aware\s+that|optionally"
    r"|similarly|likewise|in\s+fact|of\s+course|now|as\s+a\s+result|in\s+short|in\s+other\s+words|currently"
    r"|unfortunately|fortunately|luckily|basically|essentially|importantly|as\s+always|at\s+the\s+moment|that\s+said"
    r"|on\s+the\s+other\s+hand"
    r"|by\s+the\s+way)(?:,\s+|\s+(?=(?:you|the|an?)\b))|(?:note|remember|keep\s+in\s+mind|be\s+aware)\s+that\s+",
    re.IGNORECASE,
)
"""What ties a sentence to the one before it."""
_SPACE_BEFORE_STOP = re.compile(r"\s+(?=[,.;:!?](?:\s|\Z))")

_YOU_DO = "|".join(sorted(VERBS - {"access"}))
_ME = re.compile(
    r"\b(?P<before>for|to|with|from|by|of|between|around|about|against|notif(?:y|ies)|warns?|lets?|letting|helps?"
    rf"|makes?|allow(?:s|ing)?|enables?)\s+you\b|\b(?P<verb>{PLAIN_FORM}|{THIRD_PERSON})\s+you\b(?!\s+(?:{_YOU_DO}"
    r"|are|were|can|could|should|must|will|may|might|have|had|did|[a-z]+ed|made|wrote|built|chose|took|set|put|sent"
    r"|got|just|already|also)\b)"
    r"|\byou(?=\s*(?:\Z|[,.;:?]))",
    re.IGNORECASE,
)
"""You as an object: "sends you a report", but not "the change you made"."""
_ABOUT_ME = (
    (re.compile(r"\byou\s+(?:aren't|are\s+not)\b|\byou're\s+not\b", re.IGNORECASE), "I am not"),
    (re.compile(r"\byou're\b|\byou\s+are\b", re.IGNORECASE), "I am"),
    (re.compile(r"\byou\s+weren't\b", re.IGNORECASE), "I was not"),
    (re.compile(r"\byou(?='(?:ve|ll|d)\b)", re.IGNORECASE), "I"),
    (re.compile(r"\byou\s+were\b", re.IGNORECASE), "I was"),
    (re.compile(r"\byourself\b", re.IGNORECASE), "myself"),
    (re.compile(r"\byours\b", re.IGNORECASE), "mine"),
    (re.compile(r"\byour\b", re.IGNORECASE), "my"),
)
_YOU = re.compile(r"\byou\b", re.IGNORECASE)

_ELSE_BEGINS = re.compile(
    r"[;:].*|\s+[-–—]+\s.*|—.*|,?\s+(?:because|since|so\s+that|although|though|even\s+(?:if|though)|whereas"
    r"|as\s+long\s+as|but|in\s+order\s+to)\b.*|,\s+(?:and\s+(?:then\s+)?(?:it|this|that|they|you|the|a|an)|so|which"
    r"|who|where|or\s+else|as|while|unless|just|then|e\.g\.|for\s+example"
    r"|such\s+as|like|including|especially|in\s+which\s+case|making|if|when|thanks|provided|not|rather\s+than)\b.*",
    re.DOTALL,
)
"""Where a statement ends and something else about it begins."""
_INCOMPLETE = re.compile(
    r"\b"
    + any_of(
        "a an the and or to of in on at by for from with into via as that than using including like whose which"
        " who is are your my be called named between about such no not if when running only either both"
        " additional proceed continue help"
    )
    + r"\Z",
    re.IGNORECASE,
)
_NAME_WORD = re.compile(r"(?<![.!?:;•*\-–>|\"“'(\n`#])(?<!\A)[ ](?P<word>[A-Z][\w'’-]*)")
_LOWER_WORD = re.compile(r"(?<![\w./-])[a-z][\w-]*")


def bare_sentence(sentence: str) -> str:
    """A sentence on one line, without list marks, markup, links' targets and what stands in brackets."""
    text = " ".join(sentence.split())
    while mark := _MARK.match(text):
        text = text[mark.end() :]
    text = _LINK.sub(lambda link: link["text"], text)
    text = _BRACKETED.sub("", unmarked(text)).replace("’", "'")
    return _SPACE_BEFORE_STOP.sub("", " ".join(text.split()))


def unmarked(text: str) -> str:
    """A text without the marks of bold, italics and code."""
    return _MARKUP.sub("", text)


def in_brackets(sentence: str) -> str:
    """What stands in the brackets of a sentence."""
    return " ".join(match[0] for match in _BRACKETED.finditer(sentence))


def is_numbered(sentence: str) -> bool:
    """Whether a sentence is an item of a numbered list."""
    return _NUMBERED.match(sentence) is not None


def without_connective(text: str) -> str:
    """A sentence without "However," and the like at its beginning."""
    while connective := _CONNECTIVE.match(text):
        text = text[connective.end() :]
        text = text[:1].upper() + text[1:]
    return text


def about_me(text: str) -> str:
    """What is said to you, as you would say it of yourself: "your file" becomes "my file"."""
    text = _ME.sub(lambda match: f"{match['before'] or match['verb'] or ''} me".lstrip(), text)
    for pattern, mine in _ABOUT_ME:
        text = pattern.sub(mine, text)
    return _YOU.sub("I", text)


def statement(text: str) -> str:
    """The first statement of a sentence's rest; empty where it is not whole, or the first part of an enumeration."""
    text = _ELSE_BEGINS.sub("", text.rstrip(" .!;:,")).strip()
    return "" if "," in text or _INCOMPLETE.search(text) else text


def begins_with_verb(text: str) -> bool:
    """Whether a text begins with a verb as it stands after "to"; an adverb may stand before it."""
    words = text.split(maxsplit=2)
    first = next((word for word in words[:2] if is_base_form(word) or not word.endswith("ly")), "")
    return is_base_form(first)


class Names:
    """Words that a collection writes with a capital letter inside of sentences: these keep it in a question."""

    def __init__(self, texts: Iterable[str]) -> None:
        capital: Counter[str] = Counter()
        lower: Counter[str] = Counter()
        for text in texts:
            capital.update(match["word"].removesuffix("'s").removesuffix("’s") for match in _NAME_WORD.finditer(text))
            lower.update(_LOWER_WORD.findall(text))
        self._words = frozenset(word for word, times in capital.items() if times > lower[word.lower()])

    def in_a_question(self, noun_phrase: str) -> str:
        """A phrase that began a sentence, with a small letter unless it begins with a name."""
        first, _, rest = noun_phrase.partition(" ")
        known = first.removesuffix("'s") in self._words and first not in ("A", "An", "The")
        name_goes_on = rest[:1].isupper() and first not in ("A", "An", "The")
        if known or name_goes_on or any(letter.isupper() or letter.isdigit() for letter in first[1:]):
            return noun_phrase
        return noun_phrase[:1].lower() + noun_phrase[1:]
