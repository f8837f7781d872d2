"""Passages for any langchain-core `VectorStore`, whose retriever a `Pipeline` then takes.

What such a store does not know is lost: the rankings by words and their blend, `Where` with its rules, access groups,
copies of a text that count once, and the title that is embedded with a passage here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document as LangchainDocument
from langchain_core.embeddings import Embeddings

from rag_ft.indexing.chunking import embedder_input
from rag_ft.indexing.retriever import passage_to_langchain

if TYPE_CHECKING:
    from langchain_core.vectorstores import VectorStore

    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.index import Index

_BATCH = 256


class EmbedderEmbeddings(Embeddings):
    """An embedder of this package as langchain's `Embeddings`; texts are normalised as an index normalises them."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed passages."""
        vectors: list[list[float]] = self._embedder.encode_passages([embedder_input(text) for text in texts]).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed a question."""
        vector: list[float] = self._embedder.encode_query([embedder_input(text)])[0].tolist()
        return vector


def add_passages(store: VectorStore, index: Index, **options: Any) -> int:
    """Add all passages of an index to a vector store, under their ids; returns their number.

    Their metadata holds document id, offsets, title, source and page, from which a `Pipeline` makes passages again.
    `options`: others of the store's `add_documents`. Give the part of an index that its readers may read
    (`Index.visible_to`): a vector store has no access groups.
    """
    documents: Iterator[LangchainDocument] = map(passage_to_langchain, index.passages())
    count = 0
    while batch := list(islice(documents, _BATCH)):
        store.add_documents(batch, ids=[str(document.id) for document in batch], **options)
        count += len(batch)
    return count
