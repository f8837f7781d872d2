"""Question to ranked passages: dense, BM25, or both combined in one of two ways, as a langchain-core retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document as LangchainDocument
from langchain_core.retrievers import BaseRetriever
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, JsonValue

from rag_ft.errors import UsageError
from rag_ft.indexing.filters import as_filter
from rag_ft.indexing.locations import location_of
from rag_ft.indexing.query import Query, check_question, make_query
from rag_ft.indexing.reranking import FIRST_WEIGHT, RERANK_DEPTH, Reranker, rerank
from rag_ft.indexing.searcher import Hits, Searcher
from rag_ft.indexing.storage.vectors import SCORE_DECIMALS, Scored, check_k
from rag_ft.schema import Hit, Passage

RetrievalMode: TypeAlias = Literal["dense", "bm25", "hybrid", "blend"]

DEFAULT_MODE: RetrievalMode = "blend"
"""Chosen by measurement: docs/retrieval.md."""

FUSION_DEPTH = 100
"""Passages of each ranking that are combined; k if that is more."""

DEEPER = 4
"""Factor by which rankings are extended where copies of a text fill them."""

WORD_WEIGHT = 0.4
"""Weight of the BM25 score in a blend; results change little between 0.3 and 0.5."""

OWN_WEIGHT = 0.4
"""Chosen on follow-ups and on changes of the subject: docs/retrieval.md."""


class _Ranked(NamedTuple):
    """One text of a query, with what was found for it."""

    text: str
    vector: NDArray[np.float32] | None
    """Its embedding, in modes that use one."""
    rankings: tuple[Sequence[Scored], ...]
    """By vectors, by words, or both."""


@runtime_checkable
class Searchable(Protocol):
    """An index as a retriever needs it."""

    def searcher(self) -> Searcher:
        """Rankings over the present state of the index."""


class Retriever(BaseRetriever):
    """Passages for a question, best first: `retrieve` gives hits, `invoke` and the rest of langchain's API documents.

    dense: cosine of embeddings. bm25: shared words; needs no model. hybrid: reciprocal rank fusion of both. blend: the
    weighted mean of both scores, each divided by the best of its ranking. A `reranker` then reads the best ones again.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: Searchable
    k: int = 3
    """Number of passages per question, of different texts; a k beyond the index gives all."""
    mode: RetrievalMode = DEFAULT_MODE
    where: dict[str, JsonValue] | None = None
    """Filter on documents: see `rag_ft.indexing.filters.Where`."""
    rrf_k: Annotated[int, Field(ge=0)] = 60
    """Constant of reciprocal rank fusion; 60 as in the paper."""
    word_weight: Annotated[float, Field(ge=0, le=1)] = WORD_WEIGHT
    """Weight of the BM25 score in a blend."""
    own_weight: Annotated[float, Field(ge=0, le=1)] = OWN_WEIGHT
    """Weight of a follow-up's own ranking beside that of its text joined to the earlier questions."""
    reranker: Reranker | None = None
    """What reads the best passages again, with the question, and puts them in order; `CrossEncoder` is one."""
    rerank_depth: Annotated[int, Field(ge=1)] = RERANK_DEPTH
    """Passages that the reranker reads; k if that is more."""
    first_weight: Annotated[float, Field(ge=0)] = FIRST_WEIGHT
    """What the first score counts beside the reranker's log-odds."""

    def __init__(self, **fields: Any) -> None:
        # Before pydantic, which would turn a UsageError into its own.
        check_k(fields.get("k", 3))
        _check_mode(fields.get("mode", DEFAULT_MODE))
        if fields.get("where") is not None:
            fields["where"] = as_filter(fields["where"])
        super().__init__(**fields)

    def query(self, question: str, history: Sequence[str] = ()) -> Query:
        """A question with the earlier questions of its conversation, oldest first, for `retrieve` and `retrieve_batch`.

        Only the last ones are searched, as far as the embedder reads them together; `Query.left_out` counts the others.
        Raises UsageError.
        """
        if not history or self.mode == "bm25":
            return make_query(question, history)
        return make_query(question, history, self.index.searcher().fits)

    def retrieve(self, query: str | Query, k: int | None = None) -> Hits:
        """The best passages for a question; `Hits.incomplete` names shards that were not searched.

        Raises UsageError, PromptTooLongError, IndexStoreError.
        """
        return self.retrieve_batch([query], k)[0]

    def retrieve_batch(self, queries: Sequence[str | Query], k: int | None = None) -> list[Hits]:
        """Retrieve for many questions, embedded together; one list of hits per question."""
        return self._search(queries, self.k if k is None else k, self.where, self.mode)

    def _search(
        self, queries: Sequence[str | Query], k: int, where: dict[str, JsonValue] | None, mode: RetrievalMode
    ) -> list[Hits]:
        check_k(k)
        _check_mode(mode)
        asked = [Query(query) if isinstance(query, str) else query for query in queries]
        for query in asked:
            check_question(query.text)
        # One searcher for the whole call: documents that are added meanwhile must not renumber the rows.
        searcher = self.index.searcher()
        allowed = searcher.rows_where(where)
        if self.reranker is None:
            found = [searcher.hits(ranking, allowed) for ranking in self._rank(searcher, asked, k, allowed, mode)]
            return [Hits(query_hits, searcher.incomplete) for query_hits in found]
        rankings = self._rank(searcher, asked, max(k, self.rerank_depth), allowed, mode)
        hits = [searcher.hits(ranking, allowed) for ranking in rankings]
        reranked = rerank(asked, hits, self.reranker, self.first_weight, self.own_weight)
        return [Hits(query_hits[:k], searcher.incomplete) for query_hits in reranked]

    def _rank(
        self,
        searcher: Searcher,
        queries: Sequence[Query],
        k: int,
        allowed: NDArray[np.int64] | None,
        mode: RetrievalMode,
    ) -> list[list[Scored]]:
        """The k best rows of different texts for each query; copies of a text are looked for deeper in the rankings."""
        texts = [text for query in queries for text in query.texts]
        ends = list(accumulate(len(query.texts) for query in queries))
        places = [range(end - len(query.texts), end) for query, end in zip(queries, ends, strict=True)]
        vectors = None if mode == "bm25" else searcher.encode_query(texts)
        combined = mode in ("hybrid", "blend") or len(texts) > len(queries)
        depth = max(k, FUSION_DEPTH) if combined else k
        ranked: list[list[Scored]] = [[] for _ in queries]
        unfinished = list(range(len(queries)))
        while unfinished:
            asked = [place for i in unfinished for place in places[i]]
            sources: list[list[list[Scored]]] = []
            if vectors is not None:
                sources.append(searcher.rank_vectors(vectors[asked], depth, allowed))
            if mode != "dense":
                sources.append(searcher.rank_words([texts[place] for place in asked], depth, allowed))
            results = {
                place: _Ranked(texts[place], None if vectors is None else vectors[place], rankings)
                for place, rankings in zip(asked, zip(*sources, strict=True), strict=True)
            }
            lacking: list[int] = []
            for i in unfinished:
                parts = [results[place] for place in places[i]]
                ranked[i] = searcher.distinct(self._combine(searcher, parts, mode), k)
                full = any(len(ranking) == depth for part in parts for ranking in part.rankings)
                if len(ranked[i]) < k and full:
                    lacking.append(i)
            unfinished, depth = lacking, depth * DEEPER
        return ranked

    def _combine(self, searcher: Searcher, parts: Sequence[_Ranked], mode: RetrievalMode) -> Iterable[Scored]:
        """All rows of the rankings of a query's texts, in the mode's order."""
        if len(parts) > 1:
            return self._mix(searcher, parts, mode)
        (part,) = parts
        if mode == "hybrid":
            return fuse(part.rankings, sum(map(len, part.rankings)), self.rrf_k)
        if mode == "blend":
            rows = _rows([part])
            return _in_order(rows, self._scores(searcher, part, rows, mode))
        return part.rankings[0]

    def _mix(self, searcher: Searcher, parts: Sequence[_Ranked], mode: RetrievalMode) -> Iterator[Scored]:
        """Rank the passages found for a follow-up alone or for its joined text by the weighted mean of both scores."""
        rows = _rows(parts)
        own, joined = (self._scores(searcher, part, rows, mode) for part in parts)
        return _in_order(rows, self.own_weight * own + (1 - self.own_weight) * joined)

    def _scores(
        self, searcher: Searcher, part: _Ranked, rows: NDArray[np.int64], mode: RetrievalMode
    ) -> NDArray[np.float64]:
        """The mode's score of some rows for one text, relative to the best one.

        blend: a convex combination, as in Bruch, Gai and Ingber, "An analysis of fusion functions for hybrid
        retrieval", TOIS 2023. Unlike there, a score is only divided by the best one, which needs no lowest
        score, and the missing score of a passage that one ranking lacks is computed.
        """
        if mode == "hybrid":
            fused = {scored.row: scored.score for scored in fuse(part.rankings, len(rows), self.rrf_k)}
            return _relative(np.array([fused.get(int(row), 0.0) for row in rows]))
        if part.vector is None:
            return _relative(searcher.score_words(part.text, rows))
        cosines = _relative(searcher.score_vectors(part.vector, rows))
        if mode == "dense":
            return cosines
        words = _relative(searcher.score_words(part.text, rows))
        return (1 - self.word_weight) * cosines + self.word_weight * words

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        where: dict[str, JsonValue] | None = None,
        mode: RetrievalMode | None = None,
    ) -> list[LangchainDocument]:
        hits = self._search([query], self.k if k is None else k, where or self.where, mode or self.mode)[0]
        documents = [to_langchain(hit) for hit in hits]
        for document in documents if hits.incomplete else ():
            document.metadata["incomplete"] = list(hits.incomplete)
        return documents

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[LangchainDocument]:
        return await asyncio.to_thread(
            self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **kwargs
        )


def _check_mode(mode: object) -> None:
    if mode not in get_args(RetrievalMode):
        raise UsageError(f"there is no retrieval mode {mode!r}: use dense, bm25, hybrid or blend")


def _rows(parts: Iterable[_Ranked]) -> NDArray[np.int64]:
    """All rows of some rankings, ascending."""
    return np.array(
        sorted({scored.row for part in parts for ranking in part.rankings for scored in ranking}), dtype=np.int64
    )


def _in_order(rows: NDArray[np.int64], scores: NDArray[np.float64]) -> Iterator[Scored]:
    """Rows by score, best first; equal scores in row order."""
    rounded = np.round(scores, SCORE_DECIMALS)
    return (Scored(int(rows[i]), float(rounded[i])) for i in np.argsort(-rounded, kind="stable"))


def _relative(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores divided by the best one; zeros where none is above zero."""
    best = scores.max(initial=0.0)
    return scores / best if best > 0 else np.zeros_like(scores)


def fuse(rankings: Sequence[Sequence[Scored]], k: int, constant: int = 60) -> list[Scored]:
    """Reciprocal rank fusion: the score of a row is the sum of 1 / (constant + rank) over the rankings that hold it.

    Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
    learning methods", SIGIR 2009. Equal sums are in row order.
    """
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, scored in enumerate(ranking, start=1):
            sums[scored.row] = sums.get(scored.row, 0.0) + 1.0 / (constant + rank)
    # One digit more than scores elsewhere: neighbours deep in a ranking differ by 1e-5.
    fused = [Scored(row, round(score, SCORE_DECIMALS + 3)) for row, score in sums.items()]
    return sorted(fused, key=lambda scored: (-scored.score, scored.row))[:k]


def to_langchain(hit: Hit) -> LangchainDocument:
    """Convert a hit to a langchain document, with its offsets, rank and score in the metadata."""
    document = passage_to_langchain(hit.passage)
    document.metadata |= {"score": hit.score, "rank": hit.rank}
    if hit.also_in:
        document.metadata["also_in"] = list(hit.also_in)
    return document


def passage_to_langchain(passage: Passage) -> LangchainDocument:
    """Convert a passage to a langchain document, with its offsets in the metadata."""
    metadata: dict[str, Any] = {
        **passage.metadata,
        "source": passage.source,
        "title": passage.title,
        "document_id": passage.document_id,
        "start_index": passage.start,
        "end_index": passage.end,
    }
    if passage.kind != "prose":
        metadata["kind"] = passage.kind
    if passage.headings:
        metadata["headings"] = list(passage.headings)
    if passage.page is not None:
        metadata["page"] = passage.page - 1  # langchain's loaders count from 0
        metadata["page_label"] = str(passage.page)
    if location := location_of(passage):
        metadata["location"] = location
    return LangchainDocument(page_content=passage.text, metadata=metadata, id=passage.id)
