"""Precision, recall and F1 of the items of lists, exact and partial, as MultiSpanQA defines them.

Li, Tomko, Vasardani and Baldwin, "MultiSpanQA: A Dataset for Multi-Span Question Answering", NAACL 2022, and its
evaluation script. All items of all questions count alike (micro-averaged). Where we differ: items are normalised as in
`exact_match`, where the script only takes them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from rag_ft.metrics.answers import normalise


class ItemScore(NamedTuple):
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean; 0 where both are 0."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


class ItemScores(NamedTuple):
    """How the items given compare with the accepted ones."""

    exact: ItemScore
    """An item is right if it equals an accepted one."""
    partial: ItemScore
    """An item is right by the share of its characters that it has in common, in one piece, with the accepted item that
    it is closest to; for recall, by the share of the accepted item's."""


def item_scores(given: Sequence[Sequence[str]], accepted: Sequence[Sequence[str]]) -> ItemScores:
    """The scores of several questions together: the items given to each, and all items of its answer.

    Repeated items count once. A question without accepted items counts as one that is right where none is given.
    """
    given_count = accepted_count = same = 0
    shared_given = shared_accepted = 0.0
    for answer, right in zip(given, accepted, strict=True):
        items, references = _distinct(answer), _distinct(right)
        given_count += max(len(items), 1)
        accepted_count += max(len(references), 1)
        if not items and not references:
            same, shared_given, shared_accepted = same + 1, shared_given + 1, shared_accepted + 1
        elif items and references:
            same += len({*items} & {*references})
            common = [[_common(item, reference) for reference in references] for item in items]
            shared_given += sum(max(row) / len(item) for row, item in zip(common, items, strict=True))
            shared_accepted += sum(
                max(row[i] for row in common) / len(reference) for i, reference in enumerate(references)
            )
    most_given, most_accepted = max(given_count, 1), max(accepted_count, 1)
    return ItemScores(
        ItemScore(same / most_given, same / most_accepted),
        ItemScore(shared_given / most_given, shared_accepted / most_accepted),
    )


def _distinct(items: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, map(normalise, items))))


def _common(first: str, second: str) -> int:
    """Number of characters of the longest text that both contain."""
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.find_longest_match(0, len(first), 0, len(second)).size
