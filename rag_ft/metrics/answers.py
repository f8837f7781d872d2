"""Exact match and token F1 as SQuAD 2.0 defines them; abstention, risk against coverage, calibration.

Rajpurkar, Jia and Liang, "Know What You Don't Know", ACL 2018, and the evaluation script of that data set.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from rag_ft.schema import Question

_ARTICLES = re.compile(r"\b(a|an|the)\b")


_PUNCTUATION = frozenset(string.punctuation)


def normalise(text: str) -> str:
    """Lower case; punctuation, the articles a, an, the, and surplus white space removed, in this order."""
    kept = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def exact_match(answer: str | None, accepted: Sequence[str]) -> float:
    """1.0 if the normalised answer equals a normalised accepted answer, else 0.0.

    Without accepted answers null is right: 1.0 for None and 0.0 for everything else.
    """
    if answer is None or not accepted:
        return float(answer is None and not accepted)
    return float(any(normalise(answer) == normalise(reference) for reference in accepted))


def token_f1(answer: str | None, accepted: Sequence[str]) -> float:
    """Best F1 of the answer's tokens against an accepted answer's; null as in `exact_match`.

    Tokens are a multiset, after `normalise`.
    """
    if answer is None or not accepted:
        return float(answer is None and not accepted)
    return max(_f1(normalise(answer).split(), normalise(reference).split()) for reference in accepted)


def _f1(tokens: list[str], reference: list[str]) -> float:
    if not tokens or not reference:
        return float(tokens == reference)
    shared = sum((Counter(tokens) & Counter(reference)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(tokens), shared / len(reference)
    return 2 * precision * recall / (precision + recall)


class Abstention(NamedTuple):
    """How well null recognises unanswerable questions. None where there is nothing to count."""

    precision: float | None
    """Abstention precision: the share of the questions declined that is unanswerable."""
    recall: float | None
    """Abstention recall: the share of the unanswerable questions that is declined."""


def abstention(declined: Sequence[bool], answerable: Sequence[bool]) -> Abstention:
    """Abstention precision and recall. Raises ValueError for lists of different lengths."""
    pairs = list(zip(declined, answerable, strict=True))
    rightly = sum(null and not can_answer for null, can_answer in pairs)
    nulls, unanswerable = sum(declined), sum(not can_answer for can_answer in answerable)
    return Abstention(rightly / nulls if nulls else None, rightly / unanswerable if unanswerable else None)


class RiskPoint(NamedTuple):
    """Risk and coverage of answering only with a confidence of at least `threshold`."""

    threshold: float
    coverage: float
    """Share of the questions that are answered."""
    risk: float
    """Mean loss (1 - score) of the questions that are answered."""


def risk_coverage(confidence: Sequence[float], scores: Sequence[float]) -> tuple[list[RiskPoint], float]:
    """Risk against coverage as the threshold falls, and the area under the curve (lower is better).

    El-Yaniv and Wiener (2010); the area is the mean risk over the coverages 1/n, 2/n ... 1, questions of equal
    confidence entering together at their mean. `scores` are what each question would get if its best answer were
    given: 0 for every answer to an unanswerable question. Raises ValueError for no questions or different lengths.
    """
    if len(confidence) != len(scores) or not scores:
        raise ValueError(f"{len(confidence)} confidences and {len(scores)} scores: give one of each for every question")
    order = sorted(zip(confidence, scores, strict=True), reverse=True)
    points: list[RiskPoint] = []
    lost, area, count = 0.0, 0.0, 0
    for threshold, tied in groupby(order, key=lambda pair: pair[0]):
        losses = [1 - score for _, score in tied]
        mean = sum(losses) / len(losses)
        for _ in losses:
            count += 1
            lost += mean
            area += lost / count
        points.append(RiskPoint(threshold, count / len(order), lost / count))
    return points, area / len(order)


def calibration_error(confidence: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error: the gap between confidence and share right in `bins` bins of equal size, weighted.

    Equal size and not equal width (Nguyen and O'Connor, 2015): a reader's confidences crowd near 0 and 1. Raises
    ValueError for no questions or different lengths.
    """
    if len(confidence) != len(right) or not right:
        raise ValueError(
            f"{len(confidence)} confidences and {len(right)} outcomes: give one of each for every question"
        )
    order = sorted(zip(confidence, right, strict=True))
    total, edges = 0.0, [round(i * len(order) / bins) for i in range(bins + 1)]
    for start, end in pairwise(edges):
        part = order[start:end]
        if part:
            total += abs(sum(confident for confident, _ in part) - sum(was_right for _, was_right in part))
    return total / len(order)


CORRECT_FROM = 0.5
"""Least token F1 of a right answer, whose numbers must be right, too: it shares at least as much with an accepted
answer as it misses."""


def is_correct(answer: str | None, question: Question) -> bool:
    """Whether an answer, null included, counts as right.

    An answer with other numbers than the accepted answer's is wrong, however many words they share: "114 metres" is not
    "107 metres".
    """
    if answer is None or not question.answers:
        return token_f1(answer, question.answers) == 1.0
    return any(
        token_f1(answer, (accepted,)) >= CORRECT_FROM and _numbers(answer) == _numbers(accepted)
        for accepted in question.answers
    )


_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def _numbers(text: str) -> list[str]:
    """The numbers of a text, sorted; 1,000 is 1000, as in exact match."""
    return sorted(re.findall(r"\d+(?:[.,]\d+)*", _THOUSANDS.sub("", text)))
