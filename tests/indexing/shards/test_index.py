"""Shards are searched as one index of all their documents: the same passages, scores, copies and parts."""

from __future__ import annotations

import shutil
import threading
import time

import numpy as np
import pytest
from fakes import HashingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from small_indexes import CHUNKING, DOCUMENTS, build, document, same, sharded

from rag_ft.errors import (
    EvaluationError,
    IndexCorruptError,
    IndexMismatchError,
    IndexMissingError,
    IndexStoreError,
    UsageError,
)
from rag_ft.evaluation.evaluate import evaluate
from rag_ft.indexing.index import Index
from rag_ft.indexing.query import Query
from rag_ft.indexing.shards.changing import add_shards, limit_shards, retire_shards
from rag_ft.indexing.shards.index import ShardedIndex
from rag_ft.indexing.storage.store import IndexStore
from rag_ft.questions.records import write_questions
from rag_ft.schema import Document, Evidence, Question

MODES = ("dense", "bm25", "hybrid", "blend")
WORDS = "the tower of oslo lima cairo is high red old new built by masons in year seven".split()
QUESTIONS = ["how high is the tower of oslo", "only3 only4 built built by", "zebra", "title 7 red"]


def made(texts: list[tuple[int, str]], seed: int = 0) -> list[Document]:
    """One document for each text, given as the number of its words and the team that it belongs to."""
    documents = []
    for number, (text, team) in enumerate(texts):
        chance = np.random.default_rng((seed, text))  # equal numbers give copies
        body = "\n\n".join(" ".join(chance.choice(WORDS, 12)) + f" only{text}." for _ in range(1 + text % 3))
        metadata = {"team": team} | ({"access": [team]} if team != "everyone" else {})
        documents.append(Document(id=f"d{number:02}", text=body, title=f"title {text}", metadata=metadata))
    return documents


def everything(index: Index, where=None) -> list[object]:
    """Every ranking of an index, with scores and copies: of questions, of a batch, and of a follow-up."""
    found = []
    for mode in MODES:
        for k in (1, 3, 50):
            retriever = index.as_retriever(k=k, mode=mode, where=where)
            found += [retriever.retrieve(question) for question in QUESTIONS]
            found += retriever.retrieve_batch([*QUESTIONS, Query("and red?", (QUESTIONS[0],))])
    return found


texts = st.tuples(st.integers(0, 9), st.sampled_from(["everyone", "ops", "web"]))


@given(
    texts=st.lists(texts, min_size=1, max_size=24),
    cut=st.lists(st.integers(0, 3), min_size=24, max_size=24),
    filters=st.sampled_from([None, {"team": "ops"}, {"team": ["ops", "web"]}, {"document_id": ["d01", "d05"]}]),
    groups=st.sampled_from([None, [], ["ops"], ["web", "other"]]),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_any_split_gives_exactly_what_one_index_gives(texts, cut, filters, groups, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    documents = made(texts, seed)
    whole = build(documents, folder / "whole")
    parts = {number: [one for one, part in zip(documents, cut, strict=False) if part == number] for number in cut}
    paths = [build(part, folder / f"part{number}").path for number, part in parts.items() if part]
    add_shards(folder / "all", paths)
    shards = Index.load(folder / "all", embedder=HashingEmbedder())
    assert isinstance(shards, ShardedIndex) and shards.incomplete == ()
    if groups is not None:
        whole, shards = whole.visible_to(groups), shards.visible_to(groups)
    assert everything(shards, filters) == everything(whole, filters)
    assert everything(shards) == everything(whole)
    same(shards, whole)
    assert shards.manifest.counts == whole.manifest.counts and len(shards) == len(whole)
    assert shards.entries() == whole.entries()
    assert shards.document_fingerprints() == whole.document_fingerprints()
    for entry in whole.entries():
        assert shards.document(entry.id) == whole.document(entry.id)
        assert shards.passages_of(entry.id) == whole.passages_of(entry.id)
        assert shards.places(entry.id) == whole.places(entry.id)
    for row in range(len(whole)):
        assert shards.passage(row) == whole.passage(row) == shards.passage_by_id(whole.passage(row).id)


def test_more_copies_of_a_text_than_any_ranking_is_deep(tmp_path):
    documents = [Document(id=f"{i:03}.md", text="Coffee for guests needs two pots.") for i in range(300)]
    documents += [Document(id="tea.md", text="Tea for guests needs one pot."), Document(id="milk.md", text="Milk.")]
    whole = Index.build(documents, tmp_path / "whole", embedder=HashingEmbedder(), progress=False)
    shards = sharded(documents, tmp_path / "all", 3)
    for mode in MODES:
        for question in ("coffee for guests", "tea pots", "milk"):
            assert shards.search(question, 3, mode=mode) == whole.search(question, 3, mode=mode)
    assert len(shards.search("coffee pots", 1)[0].also_in) == 299


@pytest.mark.parametrize("kind", ["hnsw", "ivf-pq"])
def test_shards_of_approximate_kinds_are_searched_too(tmp_path, kind):
    documents = made([(number % 10, "everyone") for number in range(30)])
    shards = sharded(documents, tmp_path / "all", 3, kind=kind, chunking=CHUNKING)
    whole = build(documents, tmp_path / "whole")
    for question in QUESTIONS:
        # With so few rows these kinds find all, and scores are exact.
        assert shards.search(question, 5, mode="dense") == whole.search(question, 5, mode="dense")


def test_after_adding_and_retiring_the_results_are_those_of_the_remaining_documents(tmp_path):
    shards = sharded(DOCUMENTS[:4], tmp_path / "all", 2, chunking=CHUNKING)
    assert shards.newest() is shards
    add_shards(tmp_path / "all", [build(DOCUMENTS[4:], tmp_path / "more").path])
    grown = shards.newest(verify="quick")
    same(grown, build(DOCUMENTS, tmp_path / "whole"))
    same(shards, build(DOCUMENTS[:4], tmp_path / "before"))  # an object keeps its state
    retire_shards(tmp_path / "all", ["shard0"])
    same(grown.newest(), build([*DOCUMENTS[1:4:2], *DOCUMENTS[4:]], tmp_path / "after"))
    assert Index.load(tmp_path / "all" / "shard0").manifest.counts.documents == 2  # retired, not erased


def test_a_shard_that_is_changed_in_place_is_seen(tmp_path):
    shards = sharded(DOCUMENTS[:4], tmp_path / "all", 2, chunking=CHUNKING)
    shard = Index.load(tmp_path / "all" / "shard1", embedder=HashingEmbedder())
    shard.add(DOCUMENTS[4:], progress=False)
    shard.remove("b.md")
    same(shards.newest(), build([one for one in DOCUMENTS if one.id != "b.md"], tmp_path / "whole"))
    unchanged = shards.newest()
    assert unchanged is not shards and unchanged.newest() is unchanged


def broken(folder, way: str) -> None:
    if way == "gone":
        shutil.rmtree(folder)
    elif way == "damaged":
        (folder / "manifest.json").write_bytes(b"{")
    elif way == "cut":
        (vectors,) = folder.glob("generations/*/vectors.faiss")
        vectors.write_bytes(vectors.read_bytes()[:-40])
    else:
        Index.build([DOCUMENTS[0]], folder, embedder=HashingEmbedder(salt="other"), chunking=CHUNKING, progress=False)


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("gone", "there is no index at"),
        ("damaged", "is not the JSON of an index manifest"),
        ("cut", "bytes instead of"),
        ("other", "and the shards with hashing"),
    ],
)
def test_a_shard_that_cannot_be_used_is_told_in_every_reply_and_the_others_answer(tmp_path, way, says, caplog):
    before = sharded(DOCUMENTS, tmp_path / "all", 3, chunking=CHUNKING)
    broken(tmp_path / "all" / "shard0", way)
    rest = build([one for number, one in enumerate(DOCUMENTS) if number % 3], tmp_path / "rest")
    loaded = Index.load(tmp_path / "all", embedder=HashingEmbedder())
    states = [loaded] if way == "cut" else [loaded, before.newest()]  # a cut file is not looked for while it is open
    for shards in states:
        (sentence,) = shards.incomplete
        assert sentence.startswith("the shard 'shard0' was not searched: ") and says in sentence
        same(shards, rest)
        for mode in MODES:
            hits = shards.as_retriever(3, mode).retrieve("rule 2")
            assert hits.incomplete == (sentence,) and hits
            assert shards.as_retriever(3, mode).invoke("rule 2")[0].metadata["incomplete"] == [sentence]
        # Who may read only a part does not learn which shards there are.
        part = shards.visible_to(["ops"])
        assert part.incomplete == ("1 of 3 parts of the index were not searched, because they do not answer",)
        assert part.as_retriever().retrieve("rule").incomplete == part.incomplete
    assert sum(says in record.getMessage() for record in caplog.records) == len(states)
    assert before.incomplete == ()


def test_a_shard_that_comes_back_is_searched_again(tmp_path, monkeypatch):
    shards = sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)
    (tmp_path / "all" / "shard0").rename(tmp_path / "away")
    without = shards.newest()
    assert len(without.incomplete) == 1 and without.newest() is without
    (tmp_path / "away").rename(tmp_path / "all" / "shard0")
    assert without.newest() is without  # tried again only after a while
    monkeypatch.setattr("rag_ft.indexing.shards.index.RETRY_S", 0.0)
    back = without.newest()
    assert back.incomplete == ()
    same(back, build(DOCUMENTS, tmp_path / "whole"))


def test_without_any_shard_that_answers_there_is_no_index(tmp_path):
    shards = sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)
    for number in range(2):
        shutil.rmtree(tmp_path / "all" / f"shard{number}")
    for call in (lambda: Index.load(tmp_path / "all"), shards.newest):
        with pytest.raises(IndexStoreError, match=r"no shard of the index at .* can be used: the shard 'shard0' was"):
            call()


def slow(monkeypatch, shards: ShardedIndex, name: str, what: str, wait: threading.Event) -> None:
    """Make a shard wait in one step of a search."""
    (shard,) = [shard for shard in shards._sharded.shards if shard.name == name]
    target = shard.generation.vectors if what == "search" else shard.postings
    call = getattr(target, what)
    monkeypatch.setattr(target, what, lambda *given: (wait.wait(20), call(*given))[1])


@pytest.mark.parametrize("step", ["search", "scores_of", "scores"])
def test_a_shard_that_is_too_slow_is_left_out_told_and_not_waited_for_again(tmp_path, monkeypatch, step):
    documents = [document(f"{name}.md") for name in "abcdefghijkl"]
    sharded(documents, tmp_path / "all", 3, chunking=CHUNKING)
    limit_shards(tmp_path / "all", 0.3)
    shards = Index.load(tmp_path / "all", embedder=HashingEmbedder())
    wait = threading.Event()
    slow(monkeypatch, shards, "shard1", step, wait)
    start = time.monotonic()
    hits = shards.as_retriever(3).retrieve("rule 2 for coffee")
    assert hits.incomplete == ("the shard 'shard1' was not searched: it took more than 0.3 s",)
    again = shards.as_retriever(3).retrieve("rule 2 for coffee")
    assert again.incomplete == ("the shard 'shard1' was not searched: it is still busy with an earlier call",)
    assert time.monotonic() - start < 5
    others = {one.id for number, one in enumerate(documents) if number % 3 != 1}
    for found in (hits, again):
        assert len(found) == 3 and [hit.rank for hit in found] == [1, 2, 3]
        assert {hit.passage.document_id for hit in found} <= others
    wait.set()
    deadline = time.monotonic() + 10
    while shards.as_retriever(3).retrieve("rule 2").incomplete and time.monotonic() < deadline:
        time.sleep(0.05)
    assert shards.as_retriever(3).retrieve("rule 2 for coffee").incomplete == ()


def test_a_shard_that_hangs_while_it_is_looked_at_is_not_opened_again_meanwhile(tmp_path, monkeypatch):
    """Its manifest cannot be read in time: opening it would wait for the same disk, for minutes."""
    sharded(DOCUMENTS, tmp_path / "all", 3, chunking=CHUNKING)
    limit_shards(tmp_path / "all", 0.3)
    shards = Index.load(tmp_path / "all", embedder=HashingEmbedder())
    wait, read = threading.Event(), IndexStore.read_manifest

    def hangs(store):
        if store.path.name == "shard1":
            wait.wait(20)
        return read(store)

    monkeypatch.setattr(IndexStore, "read_manifest", hangs)
    start = time.monotonic()
    newest = shards.newest()
    assert time.monotonic() - start < 5
    assert newest.incomplete == ("the shard 'shard1' was not searched: it is still busy with an earlier call",)
    wait.set()


def test_a_shard_that_fails_in_the_middle_is_told_and_when_all_do_it_is_an_error(tmp_path, monkeypatch):
    shards = sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)

    def fails(*given):
        raise IndexCorruptError("vectors.faiss cannot be read")

    monkeypatch.setattr(shards._sharded.shards[0].generation.vectors, "search", fails)
    hits = shards.as_retriever(9).retrieve("rule 2")
    assert hits.incomplete == ("the shard 'shard0' was not searched: vectors.faiss cannot be read",)
    assert {hit.passage.document_id for hit in hits} == {"b.md", "d.md", "f.md"}
    monkeypatch.setattr(shards._sharded.shards[1].generation.vectors, "search", fails)
    with pytest.raises(IndexStoreError, match=r"no shard of the index at .* answers"):
        shards.search("rule 2")


def test_two_shards_with_one_document_id_are_never_searched_together(tmp_path):
    """One id must stand for one text: citations and passages are found by it."""
    shards = sharded(DOCUMENTS[:4], tmp_path / "all", 2, chunking=CHUNKING)
    with pytest.raises(IndexMismatchError, match=r"'shard0' and 'again' both have a document 'a\.md': remove it from"):
        add_shards(tmp_path / "all", [build([DOCUMENTS[0], DOCUMENTS[5]], tmp_path / "again").path])
    assert shards.newest() is shards
    # Where a shard gets the document later, the one that was added first keeps it.
    Index.load(tmp_path / "all" / "shard1", embedder=HashingEmbedder()).add([DOCUMENTS[0]], progress=False)
    clashing = shards.newest()
    assert clashing.incomplete == (
        "the shard 'shard1' was not searched: the shards 'shard0' and 'shard1' both have a document 'a.md': remove it"
        " from one of them with 'rag-ft index remove'",
    )
    same(clashing, build(DOCUMENTS[:4:2], tmp_path / "first"))
    Index.load(tmp_path / "all" / "shard0").remove("a.md")
    assert clashing.newest().incomplete == ()


def test_it_is_changed_shard_by_shard(tmp_path):
    shards = sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)
    evidence = Evidence(document_id="a.md", start=0, end=9, quote="Paragraph")
    for call in (
        lambda: shards.add([document("x.md")]),
        lambda: shards.remove("a.md"),
        lambda: shards.save(tmp_path / "copy"),
        lambda: shards.add_feedback("what?", "right", evidence),
    ):
        with pytest.raises(UsageError, match="is made of shards: change one of them"):
            call()
    with pytest.raises(UsageError, match="holds a list of shards and not an index of its own: give one of the shards"):
        build(DOCUMENTS, tmp_path / "all")
    with pytest.raises(UsageError, match="the part for some groups"):
        shards.visible_to("ops").newest()
    same(shards.newest(), build(DOCUMENTS, tmp_path / "whole"))


def test_feedback_is_read_from_the_shards_and_an_evaluation_needs_them_all(tmp_path):
    shards = sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)
    with pytest.raises(UsageError, match="feedback is kept beside each of them: give one of them"):
        shards.feedback_questions()
    (tmp_path / "all" / "shard0" / "manifest.json").unlink()
    question = Question(id="q", question="Which rule?", answers=("Rule 1",))
    write_questions([question], tmp_path / "qa.jsonl")
    with pytest.raises(EvaluationError, match="an evaluation needs the whole index, but the shard 'shard0' was not"):
        evaluate(tmp_path / "qa.jsonl", tmp_path / "all", output=tmp_path / "run")


def test_originals_and_the_proof_of_a_removal_come_from_the_shards(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.md").write_text(f"The {name} is here. It stands on the hill of {name}.")
        Index.build(
            tmp_path / name,
            tmp_path / "all" / name,
            embedder=HashingEmbedder(),
            keep_originals=True,
            progress=False,
        )
    add_shards(tmp_path / "all", [tmp_path / "all" / "one", tmp_path / "all" / "two"])
    shards = Index.load(tmp_path / "all", embedder=HashingEmbedder())
    kept = shards.original("two.md")
    assert kept is not None and kept.path.read_text().startswith("The two")
    assert shards.visible_to([]).original("one.md").name == "one.md"
    report = shards.verify(absent="three.md")
    assert report.ok and {check.name.partition(":")[0] for check in report.checks} == {"one", "two"}
    assert not shards.verify(absent="two.md").ok
    (tmp_path / "all" / "one" / "manifest.json").unlink()
    assert not shards.verify().ok


def test_another_embedder_is_refused_and_the_same_one_compared(tmp_path):
    sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)
    with pytest.raises(IndexMismatchError, match="was built with the embedder hashing"):
        Index.load(tmp_path / "all", embedder=HashingEmbedder(salt="x"))
    (tmp_path / "all" / "shards.json").unlink()
    with pytest.raises(IndexMissingError, match="there is no index at"):
        Index.load(tmp_path / "all")


def test_threads_search_one_state_after_another_while_shards_come_and_go(tmp_path):
    shards = sharded(DOCUMENTS[:4], tmp_path / "all", 2, chunking=CHUNKING)
    extra = build(DOCUMENTS[4:], tmp_path / "extra").path
    states = {
        tuple(sorted(one.id for one in documents)): build(documents, tmp_path / f"w{len(documents)}")
        for documents in (DOCUMENTS[:4], DOCUMENTS)
    }
    current = [shards]
    stop = threading.Event()
    problems: list[str] = []

    def search() -> None:
        while not stop.is_set():
            index = current[0]
            wanted = states[tuple(index.documents())]
            for mode in MODES:
                if index.search("rule 2 for coffee", 5, mode=mode) != wanted.search("rule 2 for coffee", 5, mode=mode):
                    problems.append(f"{mode}: {list(index.documents())}")

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        add_shards(tmp_path / "all", [extra])
        current[0] = current[0].newest()
        assert len(list(current[0].documents())) == 6
        retire_shards(tmp_path / "all", ["extra"])
        current[0] = current[0].newest()
        assert len(list(current[0].documents())) == 4
    stop.set()
    for thread in threads:
        thread.join(30)
    assert problems == []


def test_an_index_of_shards_is_read_by_bm25_without_any_model(tmp_path):
    sharded(DOCUMENTS, tmp_path / "all", 2, chunking=CHUNKING)
    assert Index.load(tmp_path / "all").search("rule 2", mode="bm25")
