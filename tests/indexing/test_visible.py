"""The part of an index that an audience may read: as if there were nothing else."""

import numpy as np
import pytest
from fakes import HashingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.errors import UsageError
from rag_ft.indexing.access import audience
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.vectors import Scored, exact_scores, exact_top
from rag_ft.schema import Document

WORDS = "the tower of oslo lima cairo is high red old new built by masons in year seven".split()
MODES = ("dense", "bm25", "hybrid", "blend")


def documents(labels: list[object], seed: int = 0) -> list[Document]:
    """One document for each label; None: without a label."""
    chance = np.random.default_rng(seed)
    return [
        Document(
            id=f"d{number:02}",
            text=" ".join(chance.choice(WORDS, 8)) + ". " + " ".join(chance.choice(WORDS, 8)) + f" only{number}.",
            title=f"title {number}",
            metadata={} if label is None else {"access": label},
        )
        for number, label in enumerate(labels)
    ]


def build(path, made, kind="flat"):
    return Index.build(made, path, embedder=HashingEmbedder(), progress=False, kind=kind)


def rankings(index: Index, k: int = 50) -> list[object]:
    return [
        index.as_retriever(k=k, mode=mode).retrieve(question)
        for mode in MODES
        for question in ("how high is the tower of oslo", "only3 only4 only5 built by", "zebra", "title 7")
    ]


@given(
    labels=st.lists(
        st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "c"]), unique=True)), min_size=1, max_size=9
    ),
    groups=st.sets(st.sampled_from(["a", "b", "c", "d"])),
    default=st.one_of(st.none(), st.sets(st.sampled_from(["a", "c"]))),
    kind=st.sampled_from(["flat", "hnsw", "ivf-pq"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
def test_every_search_gives_exactly_what_an_index_without_the_hidden_documents_gives(
    labels, groups, default, kind, seed, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("part")
    made = documents(labels, seed)
    part = build(folder / "whole", made, kind).visible_to(groups, default_access=default)
    readable = [one for one in made if audience(groups, default).may_read(one.metadata)]
    assert list(part.documents()) == [one.id for one in readable]
    assert len(part) == sum(entry.passages for entry in part.entries())
    found = [hit.passage.document_id for hits in rankings(part) for hit in hits]
    assert set(found) <= {one.id for one in readable}
    dense = part.as_retriever(k=50, mode="dense").retrieve("tower")
    assert {hit.passage.document_id for hit in dense} == {one.id for one in readable}
    if readable:
        alone = build(folder / "alone", readable, kind)
        same = alone.visible_to(groups, default_access=default)
        assert rankings(part) == rankings(same)
        assert part.fingerprint == same.fingerprint == alone.fingerprint
        assert part.manifest.counts == alone.manifest.counts
        assert list(part.passages()) == list(alone.passages())
        if kind == "flat":
            assert rankings(part) == rankings(alone)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    labels = [None, ["staff"], ["legal"], [], ["legal", "staff"], None]
    return build(tmp_path_factory.mktemp("v") / "index", documents(labels))


def test_what_is_hidden_is_told_as_what_does_not_exist(index):
    part = index.visible_to("staff")
    for name in ("d02", "nothing"):
        for ask in (part.document, part.passages_of, part.document_fingerprint):
            with pytest.raises(UsageError, match=f"has no document '{name}'"):
                ask(name)
    hidden = index.passages_of("d02")[0].id
    with pytest.raises(UsageError, match="has no passage"):
        part.passage_by_id(hidden)
    with pytest.raises(IndexError, match=f"of {len(part)}"):
        part.passage(len(part))
    assert not len(part.searcher().rows_where({"document_id": ["d02", "d03"]}))
    assert part.search("only2 only3", 9, mode="bm25") == []
    assert [hit.passage.document_id for hit in part.search("only4", 9, mode="bm25")] == ["d04"]


def test_a_filter_chooses_among_the_visible_only(index):
    part = index.visible_to("staff")
    for mode in MODES:
        hits = part.as_retriever(9, mode, {"document_id": ["d01", "d02", "d05"]}).retrieve("title tower only1 only5")
        assert {hit.passage.document_id for hit in hits} == {"d01", "d05"}
        assert part.as_retriever(9, mode, {"access": "legal"}).retrieve("title") != []
        hits = part.as_retriever(9, mode, {"access": "legal"}).retrieve("title")
        assert {hit.passage.document_id for hit in hits} == {"d04"}


def test_a_retriever_takes_groups_and_langchain_cannot_get_around_them(index):
    retriever = index.as_retriever(k=20, access=["staff"])
    found = retriever.invoke("title", where={"document_id": "d02"})
    assert found == []
    assert {one.metadata["document_id"] for one in retriever.invoke("title")} == {"d00", "d01", "d04", "d05"}
    assert len(index.as_retriever(k=20).invoke("title")) == len(index)
    assert {one.metadata["document_id"] for one in index.as_retriever(20, access=[]).invoke("title")} == {"d00", "d05"}


def test_a_part_is_neither_changed_nor_verified_nor_widened(index, tmp_path):
    part = index.visible_to("staff")
    for change in (
        lambda: part.add([Document(id="x", text="x")]),
        lambda: part.remove("d00"),
        lambda: part.remove("d00", dry_run=True),
        lambda: part.save(tmp_path / "copy"),
        lambda: part.verify(),
        lambda: part.visible_to("legal"),
    ):
        with pytest.raises(UsageError, match="the part for some groups"):
            change()
    assert part.build_report is None and not (tmp_path / "copy").exists()


@pytest.mark.parametrize("groups", [["a b"], [3], [["x"]], ["ä"]])
def test_groups_that_are_none_are_refused(index, groups):
    with pytest.raises(UsageError, match="access names the group"):
        index.as_retriever(access=groups)


def test_a_part_loads_no_embedder_of_its_own_and_follows_changes_of_the_whole(tmp_path):
    made = build(tmp_path / "index", documents([None, ["staff"]]))
    loaded = Index.load(tmp_path / "index", embedder=HashingEmbedder())
    before = loaded.visible_to("staff")
    assert before.embedder is loaded.embedder
    loaded.add([Document(id="new", text="New tower.", metadata={"access": ["staff"]})], progress=False)
    assert "new" not in list(before.documents()) and "new" in list(loaded.visible_to("staff").documents())
    assert "new" not in list(made.documents())


def test_audiences_that_see_the_same_share_one_part_and_their_number_is_bounded(index, monkeypatch):
    assert index.visible_to(["staff", "x"])._generation is index.visible_to(["staff", "y"])._generation
    assert index.visible_to(["staff"], default_access=["q"])._generation is not index.visible_to(["staff"])._generation
    monkeypatch.setattr("rag_ft.indexing.visible.KEPT", 2)
    for groups in (["staff"], ["legal"], ["staff", "legal"], []):
        index.visible_to(groups)
    assert len(index._generation.parts._kept) == 2


def test_the_exact_search_finds_what_a_scan_of_everything_finds():
    chance = np.random.default_rng(1)
    vectors = chance.normal(size=(3000, 24)).astype(np.float32)
    vectors[100:130] = vectors[7]  # ties
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.sort(chance.choice(3000, 900, replace=False)).astype(np.int64)
    for query in (*vectors[5:15], chance.normal(size=24).astype(np.float32)):
        scores = exact_scores(vectors[rows], query)
        order = np.argsort(-scores, kind="stable")
        best = [*map(Scored, rows[order].tolist(), scores[order].tolist())]
        for k in (1, 10, 2000):
            assert exact_top(vectors, query, k, rows) == best[:k]


def test_an_answer_for_some_groups_is_walked_back_with_these_groups(index):
    from rag_ft.answering.provenance import trace
    from rag_ft.schema import Answer, Citation, DeclinedAnswer, Provenance, Usage

    part = index.visible_to("staff")
    made = Provenance(
        index=part.fingerprint,
        embedder=part.manifest.embedder.fingerprint,
        base_model="",
        adapter=None,
        prompt="",
        mode="quote",
        reading="separate",
        index_path=str(index.path),
    )
    usage = Usage(prompt_tokens=0, completion_tokens=0, retrieve_seconds=0, read_seconds=0, verify_seconds=0)
    answer = Answer(
        question="q",
        answer=None,
        confidence=1,
        abstained=True,
        complete=True,
        completion="",
        usage=usage,
        provenance=made,
    )
    assert trace(answer, groups=["staff"])[0].ok is True
    passage = next(part.passages())
    quote = {"document_id": passage.document_id, "passage_id": passage.id, "source": "", "title": "", "page": None}
    quote |= {"quote": passage.text, "start": passage.start, "end": passage.end, "verdict": "supported"}
    citation = Citation.model_validate({**quote, "answer_start": None, "answer_end": None})
    unsure = DeclinedAnswer(answer=passage.text, citations=(citation,), confidence=0.1)
    told = trace(answer.model_copy(update={"declined": unsure}), groups=["staff"])
    assert ("citation 1", True) in [(link.name, link.ok) for link in told]  # what was shown is walked back, too
    whole = trace(answer)[0]
    assert whole.ok is False and "--groups" in whole.detail
