"""The confidence under which an answer should become null: one rule for all readers that are compared."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any


def best_threshold(answered: Sequence[tuple[float, float]], null: Sequence[float]) -> float:
    """The confidence under which an answer should become null: where the harmonic mean of answerable F1 and
    the share of unanswerable questions recognised is highest, so that neither is given up for the other; the lowest
    such one. 0 where nothing is unanswerable.

    `answered`: confidence and F1 of each answerable question; `null`: confidence of each unanswerable one.
    """
    if not null or not answered:
        return 0.0
    values = sorted({0.0, 1.0, *(confidence for confidence, _ in answered), *null})
    # Between two observed confidences: a threshold on one of them would hang on its last digit.
    candidates = [0.0, *((low + high) / 2 for low, high in pairwise(values))]

    def worth(threshold: float) -> float:
        f1 = sum(one for confidence, one in answered if confidence >= threshold) / len(answered)
        recognised = sum(confidence < threshold for confidence in null) / len(null)
        return harmonic_mean(f1, recognised)

    return max(candidates, key=lambda one: (worth(one), -one))


def harmonic_mean(one: float, other: float) -> float:
    """Of two shares; 0 where either is."""
    return 2 * one * other / (one + other) if one and other else 0.0


CONFIDENCE = "not null"
"""What a reader's confidence is the probability of; kept beside a threshold, which means nothing for another one."""


def threshold_record(value: float, reading: str) -> dict[str, Any]:
    """A threshold as an adapter's record keeps it, for answers in mode `quote`."""
    return {"value": value, "mode": "quote", "reading": reading, "confidence": CONFIDENCE}


def trained_threshold(record: dict[str, Any], mode: str, reading: str) -> float | None:
    """The threshold that an adapter's record has for this way of answering; None where it was chosen for another."""
    chosen = record.get("threshold")
    if not isinstance(chosen, dict) or (chosen.get("mode"), chosen.get("reading")) != (mode, reading):
        return None
    if chosen.get("confidence") != CONFIDENCE:
        warnings.warn(
            "the adapter's threshold was chosen for what an earlier version called confidence and is left aside, so"
            " that null must lose: choose one anew with rag-ft adapter calibrate",
            stacklevel=3,
        )
        return None
    return float(chosen["value"])
