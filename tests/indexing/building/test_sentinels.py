from __future__ import annotations

import pytest
from fakes import HashingEmbedder
from small_indexes import DOCUMENTS, build

from rag_ft.errors import IndexMismatchError
from rag_ft.indexing.index import Index


def test_an_embedder_of_the_same_dimension_is_refused_by_its_fingerprint(path):
    build(DOCUMENTS, path)
    with pytest.raises(IndexMismatchError, match=r"was built with the embedder hashing .* not with hashing-other"):
        Index.load(path, embedder=HashingEmbedder(salt="-other"))


def test_an_embedder_that_claims_the_fingerprint_is_refused_by_the_sentinels(path):
    build(DOCUMENTS, path)
    impostor = HashingEmbedder(salt="-other")
    impostor.fingerprint = HashingEmbedder().fingerprint
    with pytest.raises(IndexMismatchError, match=r"no longer gives the vectors .*cosine"):
        Index.load(path, embedder=impostor)


def test_an_impostor_building_over_an_index_reuses_no_vector(path, caplog):
    build(DOCUMENTS, path)
    impostor = HashingEmbedder(salt="-other")
    impostor.fingerprint = HashingEmbedder().fingerprint
    index = build(DOCUMENTS, path, impostor)
    assert index.build_report.passages_embedded == len(index)
