"""Whether a text begins by saying yes or no in so many words, as answers of a FAQ do. English only."""

from __future__ import annotations

import re

_ENDS = (
    r"(?=[*_”']*\s*(?:[,.!:;…(]|[-–—]\s|\n|\Z)"
    r"|\s+(?:you|it|they|we|there|this|that|these|those|i|but|because|since|not)\b)"
)
_AT_FIRST = r"[\s*_\"'“>-]*(?:(?:well|unfortunately|currently|sadly|fortunately|luckily|sorry),?\s+)?"
_YES = re.compile(rf"{_AT_FIRST}(?:yes|yep|yup|absolutely|definitely|of course|certainly){_ENDS}", re.IGNORECASE)
_NO = re.compile(
    rf"{_AT_FIRST}(?:no|nope|not\s+(?:yet|currently|really|necessarily|at\s+(?:the|this)\s+(?:moment|time|point))"
    rf"|unfortunately\s+not){_ENDS}",
    re.IGNORECASE,
)


def begins_with_yes_or_no(text: str) -> bool | None:
    """True where a text begins with yes or a word for it, False where with no; None where it says neither."""
    if _YES.match(text):
        return True
    return False if _NO.match(text) else None
