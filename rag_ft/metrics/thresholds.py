"""The confidence under which an answer should become null: one rule for all readers that are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def best_threshold(answered: Sequence[tuple[float, float]], null: Sequence[float]) -> float:
    """The confidence under which an answer should become null, so that neither kind of question is given up for the
    other: by the harmonic mean of answerable F1 and the share of unanswerable questions recognised.

    The mean is flat around its highest point and where on the flat part that lies is chance, so the middle of the
    part is taken that is within one standard error of it (the one-standard-error rule of Breiman et al.,
    Classification and Regression Trees, 1984, section 3.4.3). 0 where nothing is unanswerable, no answer is right,
    or no threshold recognises anything.

    `answered`: confidence and F1 of each answerable question; `null`: confidence of each unanswerable one.
    """
    if not null or not answered:
        return 0.0
    candidates = _between([*(confidence for confidence, _ in answered), *null])
    worth, error = zip(*(_worth(answered, null, one) for one in candidates), strict=True)
    best = max(range(len(candidates)), key=lambda one: worth[one])
    if not worth[best]:
        return 0.0
    least = worth[best] - error[best]
    first = last = best
    while first > 0 and worth[first - 1] >= least:
        first -= 1
    while last + 1 < len(candidates) and worth[last + 1] >= least:
        last += 1
    middle = (candidates[first] + candidates[last]) / 2
    return min(candidates[first : last + 1], key=lambda one: abs(one - middle))


def recognising_threshold(null: Sequence[float], share: float, *, margin: bool = True) -> float | None:
    """The lowest threshold that recognises `share` of the unanswerable questions. None where they are too few.

    With a margin sampling is allowed for: the lower end of the one-sided 95% Wilson interval of the recognised reaches
    the share, so that other questions like these will probably not be below it. Without one it is reached on these
    questions, and on others as often missed as not. `null`: confidence of each unanswerable question.
    """
    from scipy.stats import binomtest

    if not null:
        return None
    for threshold in _between(null):
        recognised = sum(confidence < threshold for confidence in null)
        # Two-sided 90%: one-sided 95%.
        least = binomtest(recognised, len(null)).proportion_ci(0.9, "wilson").low if margin else recognised / len(null)
        if least >= share:
            return threshold
    return None


def _between(confidences: Sequence[float]) -> list[float]:
    """Thresholds that part the confidences in every possible way, ascending: between two of them, as a threshold on
    one would hang on its last digit.
    """
    values = sorted({0.0, 1.0, *confidences})
    return [0.0, *((low + high) / 2 for low, high in pairwise(values))]


def _worth(answered: Sequence[tuple[float, float]], null: Sequence[float], threshold: float) -> tuple[float, float]:
    """The harmonic mean at a threshold, and its standard error to first order."""
    kept = np.array([f1 if confidence >= threshold else 0.0 for confidence, f1 in answered])
    recognised = np.array([float(confidence < threshold) for confidence in null])
    f1, share = float(kept.mean()), float(recognised.mean())
    if not f1 or not share:
        return 0.0, 0.0
    by_f1, by_share = 2 * (share / (f1 + share)) ** 2, 2 * (f1 / (f1 + share)) ** 2
    variance = by_f1**2 * float(kept.var()) / len(kept) + by_share**2 * float(recognised.var()) / len(recognised)
    return harmonic_mean(f1, share), math.sqrt(variance)


def harmonic_mean(one: float, other: float) -> float:
    """Of two shares; 0 where either is."""
    return 2 * one * other / (one + other) if one and other else 0.0
