from __future__ import annotations

import numpy as np
import pytest
from small_indexes import DOCUMENTS, build, document

from rag_ft.errors import UsageError


def test_query_vectors_of_another_shape_are_a_usage_error(path):
    index = build(DOCUMENTS[:1], path)
    for vectors in (np.zeros(64, dtype=np.float32), np.zeros((1, 32), dtype=np.float32)):
        with pytest.raises(UsageError, match=r"must have the shape \(n, 64\)"):
            index.searcher().rank_vectors(vectors, 1)
    with pytest.raises(UsageError, match="not finite"):
        index.searcher().rank_vectors(np.full((1, 64), np.nan, dtype=np.float32), 1)


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"team": "ops"}, "abc"),
        ({"team": ["ops", "web"]}, "abcdef"),
        ({"team": "ops", "document_id": ["b.md", "e.md"]}, "b"),
        ({"source": "/docs/d.md"}, "d"),
        ({"team": "sales"}, ""),
        ({"salary": 1}, ""),
        ({}, "abcdef"),
    ],
)
def test_filter_keeps_passages_of_matching_documents_only(path, where, names):
    index = build(DOCUMENTS, path)
    wanted = {f"{name}.md" for name in names}
    for mode in ("dense", "bm25"):
        hits = index.search("rule paragraph", 100, mode=mode, where=where)
        assert {hit.passage.document_id for hit in hits} == wanted
        everywhere = [hit.passage.id for hit in index.search("rule paragraph", 100, mode=mode)]
        allowed = {hit.passage.id for hit in hits}
        assert [hit.passage.id for hit in hits] == [name for name in everywhere if name in allowed]


def test_filter_matches_inside_stored_lists_and_keeps_true_apart_from_one(path):
    documents = [document("a.md", tags=["x", "y"], draft=True), document("b.md", tags=["z"], draft=1)]
    index = build(documents, path)

    def found(**where: object) -> set[str]:
        return {hit.passage.document_id for hit in index.search("rule", 99, mode="dense", where=where)}

    assert found(tags="y") == {"a.md"}
    assert found(tags=["y", "z"]) == {"a.md", "b.md"}
    assert found(draft=True) == {"a.md"}
    assert found(draft=1) == {"b.md"}


def test_a_searcher_keeps_the_state_of_its_index_while_that_is_changed(path):
    index = build(DOCUMENTS, path)
    searcher = index.searcher()
    before = searcher.hits(searcher.rank_words(["billing rule"], 99)[0])
    index.remove([name for name in index.documents() if name > "b"])
    assert searcher.hits(searcher.rank_words(["billing rule"], 99)[0]) == before
    assert len(index.search("billing rule", 99, mode="bm25")) < len(before)
