"""The second stage of a search: a model that reads question and passage together puts the best passages in order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise, zip_longest
from typing import NamedTuple, Protocol, runtime_checkable

from rag_ft.indexing.query import Query
from rag_ft.indexing.storage.vectors import SCORE_DECIMALS
from rag_ft.metrics.odds import probability_of
from rag_ft.schema import Hit, Passage

RERANK_DEPTH = 10
"""Passages of the first stage that are read again, unless more are asked for."""

FIRST_WEIGHT = 8.0
"""Log-odds that the best first score is worth more than a score of zero: docs/retrieval.md has the measurements."""


class _Scored(NamedTuple):
    """A hit with the sum that puts it in order."""

    log_odds: float
    hit: Hit

    @property
    def score(self) -> float:
        """The sum as a probability."""
        return round(probability_of(self.log_odds), SCORE_DECIMALS + 3)


@runtime_checkable
class Reranker(Protocol):
    """What puts passages in order by reading them with the question; `rag_ft.models.CrossEncoder` is one."""

    def relevance_batch(self, pairs: Sequence[tuple[str, Passage]]) -> Sequence[float]:
        """Log-odds that the passage of each pair answers the pair's question."""


def rerank(
    queries: Sequence[Query], hits: Sequence[Sequence[Hit]], reranker: Reranker, first_weight: float, own_weight: float
) -> list[list[Hit]]:
    """The hits of each query by the reranker's log-odds plus the weighted first score, ranks counted again.

    A hit's score is the sum as a probability, its margin the difference to the next one's sum. First scores are divided
    by the query's best one, as in a blend. A follow-up is read both alone and joined to the earlier questions, and
    `own_weight` weighs the two. Equal scores keep the first stage's order.
    """
    pairs = [
        (text, hit.passage)
        for query, query_hits in zip(queries, hits, strict=True)
        for text in query.texts
        for hit in query_hits
    ]
    log_odds = iter(reranker.relevance_batch(pairs))
    reranked = []
    for query, query_hits in zip(queries, hits, strict=True):
        by_text = [list(islice(log_odds, len(query_hits))) for _ in query.texts]
        best = max((hit.score for hit in query_hits), default=0.0)
        scored = []
        for i, hit in enumerate(query_hits):
            own, *joined = (of_text[i] for of_text in by_text)
            read = own_weight * own + (1 - own_weight) * joined[0] if joined else own
            first = hit.score / best if best > 0 else 0.0
            scored.append(_Scored(read - first_weight * (1 - first), hit))
        scored.sort(key=lambda hit: -hit.score)
        margins = [round(max(hit.log_odds - after.log_odds, 0.0), SCORE_DECIMALS) for hit, after in pairwise(scored)]
        reranked.append(
            [
                scored_hit.hit.model_copy(update={"score": scored_hit.score, "rank": rank, "margin": margin})
                for rank, (scored_hit, margin) in enumerate(zip_longest(scored, margins), start=1)
            ]
        )
    return reranked
