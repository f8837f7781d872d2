from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from databases import DATABASES
from fakes import HashingEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document as LangchainDocument
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from small_indexes import sharded

from rag_ft.errors import UsageError
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.databases.index import DatabaseIndex
from rag_ft.indexing.index import Index
from rag_ft.indexing.query import Query
from rag_ft.indexing.retriever import DEFAULT_MODE, Retriever, fuse
from rag_ft.indexing.storage.vectors import Scored
from rag_ft.schema import Document

MODES = ["dense", "bm25", "hybrid", "blend"]
QUERIES = [
    "how many days of holiday",
    "who locks the server room",
    "coffee for 12 guests",
    "holiday server coffee",
]


def built_whole(documents: list[Document], path: Path, **options: Any) -> Index:
    return Index.build(documents, path, embedder=HashingEmbedder(), progress=False, **options)


FOLDERS = {"one index": built_whole, "shards": sharded}


@pytest.fixture(scope="module", params=[*FOLDERS, *DATABASES])
def build(request: pytest.FixtureRequest, new_address: Callable[[str], str]) -> Callable[..., Index]:
    """What makes an index: each test runs with one index, with the same documents in shards, and in databases."""

    def in_database(documents: list[Document], path: Path, **options: Any) -> Index:
        options = {"embedder": HashingEmbedder(), "progress": False, **options}
        return DatabaseIndex.create(documents, new_address(request.param), **options)

    return FOLDERS.get(request.param, in_database)


@pytest.fixture(scope="module")
def index(build: Callable[..., Index], tmp_path_factory: pytest.TempPathFactory) -> Index:
    facts = {
        "holidays": "Everyone has 30 days of holiday. Holiday is asked for in March.",
        "servers": "The server room is locked by the night guard. A server is named after a river.",
        "coffee": "Coffee for guests is ordered a day before. Coffee for 12 guests needs two pots.",
    }
    documents = [
        Document(
            id=f"{name}-{copy}.md",
            title=name.title(),
            text="\n\n".join(f"{text} This is part {part} of copy {copy}." for part in range(3)),
            source=f"/docs/{name}-{copy}.md",
            metadata={"team": name, "draft": copy > 0},
            page_starts=(0, 100) if name == "coffee" else (),
        )
        for name, text in facts.items()
        for copy in range(2)
    ]
    path = tmp_path_factory.mktemp("retriever") / "index"
    return build(documents, path, chunking=ChunkingConfig(max_tokens=40))


class TestLangchainStandard(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _index(self, index: Index) -> None:
        type(self).index = index

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return Retriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.index}

    @property
    def retriever_query_example(self) -> str:
        return "who locks the server room"


@pytest.mark.parametrize("mode", MODES)
def test_finds_the_passage_with_the_answer(index, mode):
    hits = index.as_retriever(k=2, mode=mode).retrieve("coffee for 12 guests needs how many pots")
    assert {hit.passage.metadata["team"] for hit in hits} == {"coffee"}
    assert [hit.rank for hit in hits] == [1, 2]
    assert hits[0].score >= hits[1].score


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_gives_what_single_questions_give(index, mode):
    retriever = index.as_retriever(k=6, mode=mode)
    assert retriever.retrieve_batch(QUERIES) == [retriever.retrieve(query) for query in QUERIES]


@pytest.mark.parametrize("mode", MODES)
def test_sync_async_and_batch_calls_agree(index, mode):
    retriever = index.as_retriever(k=4, mode=mode)
    single = [retriever.invoke(query) for query in QUERIES]
    assert retriever.batch(QUERIES) == single

    async def run() -> None:
        assert [await retriever.ainvoke(query) for query in QUERIES] == single
        assert await retriever.abatch(QUERIES) == single

    asyncio.run(run())


def test_langchain_documents_tell_where_the_passage_stands(index):
    found = index.as_retriever(k=1).invoke("coffee for 12 guests needs how many pots", where={"draft": False})[0]
    hit = index.passage_by_id(found.id)
    assert isinstance(found, LangchainDocument)
    assert found.page_content == hit.text
    assert found.metadata["document_id"] == "coffee-0.md"
    assert found.metadata["source"] == "/docs/coffee-0.md"
    assert found.metadata["title"] == "Coffee"
    assert found.metadata["team"] == "coffee"
    assert found.metadata["rank"] == 1
    text = index.document("coffee-0.md").text
    assert text[found.metadata["start_index"] : found.metadata["end_index"]] == found.page_content
    if hit.page is not None:
        assert found.metadata["page"] == hit.page - 1
        assert found.metadata["page_label"] == str(hit.page)
    json.dumps(found.metadata)


@pytest.mark.parametrize("mode", MODES)
def test_filters_of_the_retriever_and_of_the_call(index, mode):
    retriever = index.as_retriever(k=50, mode=mode, where={"team": ["coffee", "servers"]})
    assert {hit.passage.metadata["team"] for hit in retriever.retrieve("holiday server coffee")} <= {
        "coffee",
        "servers",
    }
    only = retriever.invoke("holiday server coffee", where={"team": "holidays"})
    assert {found.metadata["team"] for found in only} == {"holidays"}
    assert index.as_retriever(mode=mode, where={"team": "nobody"}).retrieve("coffee") == []


@pytest.mark.parametrize("mode", MODES)
def test_k_of_the_call_wins_and_k_beyond_the_index_gives_what_there_is(index, mode):
    retriever = index.as_retriever(k=2, mode=mode)
    assert len(retriever.invoke("day server", k=1)) == 1
    assert len(retriever.retrieve("day server", k=4)) == 4
    everything = retriever.retrieve("day server", k=10_000)
    if mode != "bm25":
        assert len(everything) == len(index)
    assert len({hit.passage.id for hit in everything}) == len(everything)


@pytest.mark.parametrize("k", [0, -3, 2.5, True])
def test_a_k_below_one_is_a_usage_error(index, k):
    with pytest.raises(UsageError, match="it must be a whole number from 1"):
        index.as_retriever(k=k)
    for call in (index.as_retriever().retrieve, lambda query, k: index.as_retriever().invoke(query, k=k)):
        with pytest.raises(UsageError, match="it must be a whole number from 1"):
            call("coffee", k=k)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("question", "message"),
    [("", "is empty"), (" \n\t", "is empty"), ("a \ud83d b", "half of a surrogate pair")],
)
def test_a_question_that_cannot_be_looked_up_is_a_usage_error(index, mode, question, message):
    with pytest.raises(UsageError, match=message):
        index.as_retriever(mode=mode).retrieve(question)


def test_an_unknown_mode_is_refused(index):
    with pytest.raises(UsageError, match="no retrieval mode 'sparse'"):
        index.as_retriever(mode="sparse")
    with pytest.raises(UsageError, match="no retrieval mode 'sparse': use dense, bm25, hybrid or blend"):
        index.as_retriever().invoke("coffee", mode="sparse")


def test_words_that_no_passage_holds_find_nothing_by_words_and_something_by_meaning(index):
    assert index.as_retriever(mode="bm25").retrieve("zyzzyva") == []
    assert len(index.as_retriever(mode="hybrid").retrieve("zyzzyva")) == 3


def test_bm25_needs_no_embedder(index):
    assert Index.load(index.place).as_retriever(mode="bm25").retrieve("coffee")


def test_fusion_sums_reciprocal_ranks():
    one = [Scored(7, 0.9), Scored(3, 0.8), Scored(1, 0.7)]
    two = [Scored(3, 12.0), Scored(9, 2.0)]
    fused = fuse([one, two], 10)
    wanted = {3: 1 / 62 + 1 / 61, 7: 1 / 61, 9: 1 / 62, 1: 1 / 63}
    assert [found.row for found in fused] == [3, 7, 9, 1]
    assert [found.score for found in fused] == pytest.approx([wanted[row] for row in (3, 7, 9, 1)], abs=1e-9)
    assert fuse([one, two], 2) == fused[:2]


def test_equal_fused_scores_come_in_passage_order():
    assert [found.row for found in fuse([[Scored(8, 1.0)], [Scored(2, 5.0)]], 2)] == [2, 8]


def test_a_blend_is_the_weighted_mean_of_scores_relative_to_the_best(index):
    query = "coffee for 12 guests"
    dense = {hit.passage.id: hit.score for hit in index.as_retriever(k=999, mode="dense").retrieve(query)}
    words = {hit.passage.id: hit.score for hit in index.as_retriever(k=999, mode="bm25").retrieve(query)}
    hits = Retriever(index=index, k=999, mode="blend", word_weight=0.25).retrieve(query)
    assert len(hits) == len(index)
    for hit in hits:
        name = hit.passage.id
        wanted = 0.75 * dense[name] / max(dense.values()) + 0.25 * words.get(name, 0.0) / max(words.values())
        assert hit.score == pytest.approx(wanted, abs=2e-6)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize(("weight", "mode"), [(0.0, "dense"), (1.0, "bm25")])
def test_a_blend_of_one_share_is_that_ranking(index, weight, mode):
    query = "how many days of holiday"
    blended = Retriever(index=index, k=2, mode="blend", word_weight=weight).retrieve(query)
    assert [hit.passage for hit in blended] == [
        hit.passage for hit in index.as_retriever(k=2, mode=mode).retrieve(query)
    ]


def test_the_default_mode_is_the_one_of_the_documentation():
    page = Path(__file__).resolve().parents[2] / "docs" / "retrieval.md"
    assert f"The default is `{DEFAULT_MODE}`" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", MODES)
def test_a_follow_up_is_found_by_the_words_of_the_question_before(index: Index, mode: str) -> None:
    retriever = index.as_retriever(k=4, mode=mode)
    followed = retriever.retrieve(retriever.query("and by night?", ["who locks the server room"]))
    assert followed[0].passage.title == "Servers"
    assert [hit.rank for hit in followed] == [1, 2, 3, 4]
    scores = [hit.score for hit in followed]
    assert scores == sorted(scores, reverse=True) and 0 < scores[0] <= 1


@pytest.mark.parametrize("mode", MODES)
def test_the_weight_of_its_own_ranking_goes_from_the_joined_text_to_the_follow_up_alone(
    index: Index, mode: str
) -> None:
    query = Query("coffee for 12 guests", ("who locks the server room",))
    (own, joined) = query.texts
    for weight, text in ((1.0, own), (0.0, joined)):
        hits = Retriever(index=index, k=8, mode=mode, own_weight=weight).retrieve(query)
        plain = index.as_retriever(k=8, mode=mode).retrieve(text)
        positive = [hit.passage.id for hit in hits if hit.score > 0]
        # Equal scores may change places: rounding comes after the division by the best score.
        assert {hit.passage.id for hit in plain[:3]} == set(positive[:3])


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from("coffee guests server room holiday days the 12 for".split()), min_size=1))
def test_without_history_a_query_finds_what_its_text_finds(index: Index, mode: str, words: list[str]) -> None:
    retriever = index.as_retriever(k=5, mode=mode)
    question = " ".join(words)
    plain = retriever.retrieve(question)
    assert retriever.retrieve(retriever.query(question)) == plain
    assert retriever.retrieve(retriever.query(question, [])) == plain
    together = retriever.retrieve_batch([question, retriever.query("and?", ["coffee for guests"])])
    assert together[0] == plain


def test_copies_of_a_text_count_once_for_a_follow_up_too(build: Callable[..., Index], tmp_path: Path) -> None:
    documents = [Document(id=f"{i}.md", text="Coffee for guests needs two pots.") for i in range(150)]
    documents += [Document(id="tea.md", text="Tea for guests needs one pot."), Document(id="milk.md", text="Milk.")]
    copies = build(documents, tmp_path / "i")
    retriever = copies.as_retriever(k=3)
    hits = retriever.retrieve(retriever.query("and two pots?", ["coffee for guests"]))
    assert len({hit.passage.text for hit in hits}) == 3
    assert len(hits[0].also_in) == 149


def test_earlier_questions_beyond_the_embedders_window_are_left_out_and_counted(tmp_path: Path) -> None:
    documents = [Document(id="a.md", text="Coffee for guests needs two pots.")]
    small = Index.build(documents, tmp_path / "i", embedder=HashingEmbedder(max_tokens=96), progress=False)
    turns = ["tea " * 94, "coffee for guests"]
    assert small.as_retriever().query("and pots?", turns) == Query("and pots?", ("coffee for guests",), 1)
    assert small.as_retriever().query("and pots?", [*turns, "tea " * 94]) == Query("and pots?", (), 3)
    # Words need no embedder and have no window.
    assert small.as_retriever(mode="bm25").query("and pots?", turns).left_out == 0
    assert small.as_retriever().retrieve(small.as_retriever().query("and pots?", turns))


class RerankerThatPrefersLongTexts:
    def relevance_batch(self, pairs):
        self.read = [(question, passage.text) for question, passage in pairs]
        return [float(len(passage.text)) for _, passage in pairs]


def test_a_reranker_orders_the_best_passages_and_k_are_kept(index: Index) -> None:
    reranker = RerankerThatPrefersLongTexts()
    first = index.as_retriever(k=5).retrieve(QUERIES[0])
    hits = Retriever(index=index, k=2, reranker=reranker, rerank_depth=5, first_weight=0.0).retrieve(QUERIES[0])
    longest = sorted((hit.passage.text for hit in first), key=len, reverse=True)
    assert [hit.passage.text for hit in hits] == longest[:2] and [hit.rank for hit in hits] == [1, 2]
    assert reranker.read == [(QUERIES[0], hit.passage.text) for hit in first]
    assert [hit.margin for hit in hits] == [len(longest[i]) - len(longest[i + 1]) for i in (0, 1)]
    assert all(hit.margin is None for hit in first)
