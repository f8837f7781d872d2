"""What a text can be asked for, by simple signs: steps, reasons, a decision, a definition, several things.

English only. A sign is no proof: what is written from it is checked by asking.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag_ft.text.enumerations import enumerated
from rag_ft.text.parts import is_item
from rag_ft.text.spans import Span

_FEWEST_WORDS = 4
_FEWEST_ITEMS = 2
_FEWEST_LISTED = 3

_WORD = re.compile(r"[^\W\d_]{2,}")
_DOES = (
    "add allow apply ask attach avoid build call change check choose click close combine compare compute configure"
    " connect convert copy create cut define delete disable divide download edit enable enter expand export fill find"
    " follow get give go import increase insert install keep leave let load lower make measure mix move multiply open"
    " pass pick place pour press print pull push put raise read reduce remove rename repeat replace restart return run"
    " save scan search select send set sign split start stop store switch take test tick train try turn type uninstall"
    " update upgrade use verify wait wash write"
)
_ORDER = re.compile(
    rf"\W*(?:(?:first|then|next|finally|now|instead|please|always|never|simply|just|also)\b,?\s+)*"
    rf"(?:{'|'.join(_DOES.split())})\s+[\w`\"'“(<-]",
    re.IGNORECASE,
)
_HOW = re.compile(
    r"\b(?:by\s+\w+ing\b|you\s+(?:can|should|must|need\s+to|have\s+to)\s+\w|in\s+order\s+to\s+\w|to\s+\w+\b[^.,;:]{3,60},\s"
    r"(?:\w+\s+)?(?:you|use|run|set|add|open|call|click|press|choose|the|a)\b|works?\s+(?:by|as)\b|steps?\b)",
    re.IGNORECASE,
)
_WHY = re.compile(
    r"\b(?:because|since\s+(?!\d)|so\s+that|therefore|thus|hence|due\s+to|reasons?\b|as\s+a\s+result|otherwise|in\s+order\s+to"
    r"|which\s+is\s+why|that\s+is\s+why|causes?|caused|leads?\s+to|led\s+to|prevents?|avoids?|to\s+(?:avoid|prevent|ensure))\b",
    re.IGNORECASE,
)
_WHETHER = re.compile(
    r"\b(?:must|may|can|cannot|could|should|need(?:s|ed)?|never|always|not|no|only|requires?d?|optional|allow(?:s|ed)?"
    r"|supports?|supported|possible|impossible|forbidden|permitted|depends?)\b|n['’]t\b",
    re.IGNORECASE,
)
_WHAT = re.compile(
    r"(?:\A|[.!?]\s+|\n)\W*(?:(?:an?|the)\s+)?[\w`-]+(?:\s+[\w`()-]+){0,4}\s+(?:is|are|was|were)\s+(?:an?|the|any|one\s+of)\b"
    r"|\b(?:means|refers?\s+to|is\s+called|are\s+called|is\s+known\s+as|stands\s+for|is\s+defined\s+as|consists?\s+of)\b",
    re.IGNORECASE,
)


def is_sentence(text: str) -> bool:
    """Whether a piece of a text has words enough to say something."""
    return len(_WORD.findall(text)) >= _FEWEST_WORDS


def gives_steps(text: str, units: Sequence[Span]) -> bool:
    """Whether it says how something is done."""
    return _HOW.search(text) is not None or any(_ORDER.match(text, unit.start, unit.end) for unit in _bare(text, units))


def gives_reasons(text: str) -> bool:
    """Whether it says why."""
    return _WHY.search(text) is not None


def settles(text: str) -> bool:
    """Whether it says that something must, may, can or cannot be, which decides between yes and no."""
    return _WHETHER.search(text) is not None


_NO = re.compile(r"\b(?:not|cannot|never|no|none|neither|nor|without|hardly|rarely|seldom)\b|n['’]t\b", re.IGNORECASE)


def negates(text: str) -> bool:
    """Whether it has a word of denial."""
    return _NO.search(text) is not None


def defines(text: str) -> bool:
    """Whether it says what something is."""
    return _WHAT.search(text) is not None


def lists_things(text: str, units: Sequence[Span]) -> bool:
    """Whether it has a list of items, or a sentence that lists three things."""
    if sum(is_item(text, unit) for unit in units) >= _FEWEST_ITEMS:
        return True
    return any(len(enumerated(text[unit.start : unit.end])) >= _FEWEST_LISTED for unit in units)


def _bare(text: str, units: Sequence[Span]) -> list[Span]:
    """The units without the marks of list items."""
    return [Span(unit.start + len(mark[0]), unit.end) if (mark := _MARK.match(text, *unit)) else unit for unit in units]


_MARK = re.compile(r"(?:[-*•–‣◦▪●○]|\(?\d{1,3}[.)]|\(?[a-z]\))\s+")
