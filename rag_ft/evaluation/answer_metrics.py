"""Exact match and token F1 of answers, as SQuAD 2.0 defines them.

Rajpurkar, Jia and Liang, "Know What You Don't Know", ACL 2018, and the evaluation script of that data set.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation)


def normalise(text: str) -> str:
    """Lower case; punctuation, the articles a, an, the, and surplus white space removed, in this order."""
    kept = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact_match(answer: str | None, accepted: Sequence[str]) -> float:
    """1.0 if the normalised answer equals a normalised accepted one, else 0.0.

    No accepted answer means that null is right: then 1.0 for None and 0.0 for everything else.
    """
    if answer is None or not accepted:
        return float(answer is None and not accepted)
    return float(any(normalise(answer) == normalise(one) for one in accepted))


def token_f1(answer: str | None, accepted: Sequence[str]) -> float:
    """Best F1 of the answer's tokens (a multiset, after `normalise`) against each accepted answer; null as above."""
    if answer is None or not accepted:
        return float(answer is None and not accepted)
    return max(_f1(normalise(answer).split(), normalise(one).split()) for one in accepted)


def _f1(tokens: list[str], reference: list[str]) -> float:
    if not tokens or not reference:
        return float(tokens == reference)
    shared = sum((Counter(tokens) & Counter(reference)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(tokens), shared / len(reference)
    return 2 * precision * recall / (precision + recall)
