"""Whether a text is English, by its letters and its commonest words."""

from __future__ import annotations

import re

_COMMONEST = frozenset(
    "the of and to a in is that for it as was with be by on not he his but at are this have from or had an they which"
    " one you were all her she there would their we him been has when who will no more if out so up said what its about"
    " than into them can only other do must may use".split()
)
_LEAST_COMMON = 0.15
"""Least share of such words: English prose has some 0.4, lists and notes some 0.2, German and French under 0.1."""
_LEAST_ASCII = 0.85
"""Least share of letters without accents and of the Latin alphabet."""
_FEWEST_WORDS = 8
"""Shorter texts say too little to be judged."""

_WORD = re.compile(r"[^\W\d_]+")


def seems_english(text: str) -> bool:
    """Whether a text may be English; also true of a text of few words."""
    words = _WORD.findall(text)
    if not words:
        return True
    letters = "".join(words)
    if sum(letter.isascii() for letter in letters) < _LEAST_ASCII * len(letters):
        return False
    if len(words) < _FEWEST_WORDS:
        return True
    return sum(word.lower() in _COMMONEST for word in words) >= _LEAST_COMMON * len(words)
