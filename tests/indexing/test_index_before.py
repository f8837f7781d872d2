"""An index that an earlier version wrote, in `index_before/`: opened, searched, verified, changed."""

import json
import shutil
from pathlib import Path

import pytest
from fakes import HashingEmbedder
from small_indexes import document

from rag_ft.indexing.index import Index

BEFORE = Path(__file__).resolve().parent / "index_before"
RANKINGS = json.loads((BEFORE / "rankings.json").read_text())


@pytest.fixture
def before(tmp_path):
    shutil.copytree(BEFORE, tmp_path / "index", ignore=shutil.ignore_patterns("rankings.json"))
    return tmp_path / "index"


@pytest.mark.parametrize("mode", sorted(RANKINGS))
def test_an_index_made_before_ranks_as_it_did(before, mode):
    retriever = Index.load(before, embedder=HashingEmbedder()).as_retriever(k=4, mode=mode)
    for query, ranking in RANKINGS[mode].items():
        hits = retriever.retrieve(query)
        assert [hit.passage.id for hit in hits] == [passage for passage, _ in ranking]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in ranking], abs=1e-6)


def test_an_index_made_before_is_verified_whole(before):
    Index.load(before, embedder=HashingEmbedder(), verify="full")
    assert Index.load(before, embedder=HashingEmbedder()).verify().ok


def test_an_index_made_before_takes_a_change_and_embeds_nothing_else(before):
    embedder = HashingEmbedder()
    index = Index.load(before, embedder=embedder)
    index.add([document("g.md", team="web")])
    changed = embedder.passages_encoded
    assert set(index.documents()) == {f"{name}.md" for name in "abcdefg"} and changed < 24
    assert Index.load(before, embedder=HashingEmbedder()).fingerprint == index.fingerprint
