from __future__ import annotations

from pathlib import Path

from fakes import HashingEmbedder
from langchain_core.vectorstores import InMemoryVectorStore
from small_indexes import DOCUMENTS, build

from rag_ft.answering.pipeline import Pipeline, _hit
from rag_ft.indexing.vectorstores import EmbedderEmbeddings, add_passages


class QuotesTheFirst:
    """Stands in for a reader: only its interface to retrieval is needed."""

    cross_encoder = None


def test_passages_keep_their_ids_and_offsets_in_any_vector_store(path: Path) -> None:
    index = build(DOCUMENTS, path)
    store = InMemoryVectorStore(EmbedderEmbeddings(HashingEmbedder()))
    assert add_passages(store, index) == len(index)
    assert add_passages(store, index) == len(index)  # under their ids: nothing twice
    retriever = store.as_retriever(search_kwargs={"k": 4})
    found = retriever.invoke("rule 2 for c.md")
    assert len(found) == len({document.id for document in found}) == 4
    for rank, document in enumerate(found, start=1):
        passage = _hit(document, rank).passage
        known = index.passage_by_id(passage.id)
        assert (passage.document_id, passage.start, passage.end, passage.text, passage.title, passage.source) == (
            known.document_id,
            known.start,
            known.end,
            known.text,
            known.title,
            known.source,
        )


def test_a_pipeline_retrieves_from_any_vector_store_with_its_own_k(path: Path) -> None:
    index = build(DOCUMENTS, path)
    store = InMemoryVectorStore(EmbedderEmbeddings(HashingEmbedder()))
    add_passages(store, index)
    pipeline = Pipeline(store.as_retriever(), QuotesTheFirst())  # type: ignore[arg-type]
    queries = [pipeline._query("rule 2 for c.md", ()), pipeline._query("security", ())]
    for hits in pipeline._retrieve(queries, 2):
        assert len(hits) == 2
        for hit in hits:
            document = index.document(hit.passage.document_id)
            assert document.text[hit.passage.start : hit.passage.end] == hit.passage.text
