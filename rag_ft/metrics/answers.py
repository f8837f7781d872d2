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
    return word_overlap(answer, accepted).f1


class WordOverlap(NamedTuple):
    """What share of an answer's words are an accepted answer's, and the other way round."""

    precision: float
    """Share of the answer's words that are the accepted answer's."""
    recall: float
    """Share of the accepted answer's words that the answer has."""
    f1: float
    """Harmonic mean of the two."""


def word_overlap(answer: str | None, accepted: Sequence[str]) -> WordOverlap:
    """Precision, recall and F1 of the answer's words against the accepted answer with the best F1.

    Words are a multiset, after `normalise`, as in SQuAD's script; of equally good accepted answers the first counts.
    All three are 0 for None, and for an answer where nothing is accepted.
    """
    if answer is None:
        return _NO_OVERLAP
    tokens = normalise(answer).split()
    overlaps = [_overlap(tokens, normalise(reference).split()) for reference in accepted]
    return max(overlaps, key=lambda overlap: overlap.f1, default=_NO_OVERLAP)


_NO_OVERLAP = WordOverlap(0.0, 0.0, 0.0)


def _overlap(tokens: list[str], reference: list[str]) -> WordOverlap:
    if not tokens or not reference:
        same = float(tokens == reference)
        return WordOverlap(same, same, same)
    shared = sum((Counter(tokens) & Counter(reference)).values())
    if shared == 0:
        return _NO_OVERLAP
    precision, recall = shared / len(tokens), shared / len(reference)
    return WordOverlap(precision, recall, 2 * precision * recall / (precision + recall))


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


def accuracy_at(points: Sequence[RiskPoint], coverage: float) -> float:
    """The share of right answers if the surest are given until at least `coverage` of the questions are answered.

    1 minus the risk there; `points` as `risk_coverage` gives them, the last of which covers every question.
    """
    return 1 - next(point.risk for point in points if point.coverage >= coverage)


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
