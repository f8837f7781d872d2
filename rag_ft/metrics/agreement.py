"""How far two people agree, beyond what chance would give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa of two people's labels for the same things, in the same order: 1 all alike, 0 as by chance.

    (observed - expected) / (1 - expected), where `expected` is the agreement of two people who label at random, each
    with their own shares. Cohen, 1960, "A coefficient of agreement for nominal scales", Educational and Psychological
    Measurement 20(1). None without labels, and where both gave everything the same label: chance then explains all.
    Raises ValueError where the lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"there are {len(first)} labels and {len(second)}: give both people's labels for each thing")
    total = len(first)
    shares, others = Counter(first), Counter(second)
    agreed = sum(label == other for label, other in zip(first, second, strict=True))
    by_chance = sum(count * others[label] for label, count in shares.items())  # times total squared
    if by_chance == total * total:
        return None
    return (agreed * total - by_chance) / (total * total - by_chance)
