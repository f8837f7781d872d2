"""The confidence below which an answer should become null: one rule for all readers that are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def best_threshold(answered: Sequence[tuple[float, float]], null: Sequence[float]) -> float:
    """The confidence below which an answer should become null, so that neither kind of question is sacrificed.

    It maximises the harmonic mean of F1 on answerable and abstention recall. The mean is flat around its highest point,
    and chance decides where on the flat part that lies. So the middle of the part within one standard error is taken
    (the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984, section 3.4.3). 0 where
    nothing is unanswerable, no answer is right, or no threshold recognises an unanswerable question.

    `answered`: confidence and F1 of each answerable question; `null`: confidence of each unanswerable question.
    """
    if not null or not answered:
        return 0.0
    candidates = _between([*(confidence for confidence, _ in answered), *null])
    worth, error = zip(*(_worth(answered, null, threshold) for threshold in candidates), strict=True)
    best = max(range(len(candidates)), key=lambda i: worth[i])
    if not worth[best]:
        return 0.0
    least = worth[best] - error[best]
    first = last = best
    while first > 0 and worth[first - 1] >= least:
        first -= 1
    while last + 1 < len(candidates) and worth[last + 1] >= least:
        last += 1
    middle = (candidates[first] + candidates[last]) / 2
    return min(candidates[first : last + 1], key=lambda threshold: abs(threshold - middle))


def recognising_threshold(null: Sequence[float], share: float, *, margin: bool = True) -> float | None:
    """The lowest threshold with an abstention recall of `share`; None where there are too few questions.

    With a margin for sampling error, the lower end of recall's one-sided 95% Wilson interval reaches the share, so that
    the recall on other questions like these will probably not fall below it. Without a margin, the recall on these
    questions reaches it, and on others it falls short about half the time. `null`: confidence of each unanswerable
    question.
    """
    from scipy.stats import binomtest

    if not null:
        return None
    for threshold in _between(null):
        declined = sum(confidence < threshold for confidence in null)
        # Two-sided 90% is one-sided 95%.
        least = binomtest(declined, len(null)).proportion_ci(0.9, "wilson").low if margin else declined / len(null)
        if least >= share:
            return threshold
    return None


def _between(confidences: Sequence[float]) -> list[float]:
    """Thresholds that separate the confidences in every possible way, ascending.

    Each lies between two confidences: a threshold at a confidence would depend on its last digit.
    """
    values = sorted({0.0, 1.0, *confidences})
    return [0.0, *((low + high) / 2 for low, high in pairwise(values))]


def _worth(answered: Sequence[tuple[float, float]], null: Sequence[float], threshold: float) -> tuple[float, float]:
    """Harmonic mean of F1 on answerable and abstention recall at a threshold, and its standard error to first order."""
    kept = np.array([f1 if confidence >= threshold else 0.0 for confidence, f1 in answered])
    declined = np.array([float(confidence < threshold) for confidence in null])
    f1, recall = float(kept.mean()), float(declined.mean())
    if not f1 or not recall:
        return 0.0, 0.0
    by_f1, by_recall = 2 * (recall / (f1 + recall)) ** 2, 2 * (f1 / (f1 + recall)) ** 2
    variance = by_f1**2 * float(kept.var()) / len(kept) + by_recall**2 * float(declined.var()) / len(declined)
    return harmonic_mean(f1, recall), math.sqrt(variance)


def harmonic_mean(first: float, second: float) -> float:
    """Harmonic mean of two shares; 0 where either is 0."""
    return 2 * first * second / (first + second) if first and second else 0.0
