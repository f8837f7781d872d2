"""Probabilities as log-odds, and back."""

from __future__ import annotations

import math


def log_odds(probability: float) -> float:
    """Log-odds of a probability; infinite at 0 and 1."""
    if probability <= 0 or probability >= 1:
        return math.inf if probability >= 1 else -math.inf
    return math.log(probability) - math.log1p(-probability)


def probability_of(log_odds: float) -> float:
    """The logistic function, for any log-odds."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1 + odds)
