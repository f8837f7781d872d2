from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from databases import DATABASES
from fakes import HashingEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_indexes import CHUNKING, DOCUMENTS, build, document

from rag_ft.errors import CorpusError, IndexMissingError, IndexStoreError, UsageError
from rag_ft.indexing.access import audience
from rag_ft.indexing.databases.index import DatabaseIndex
from rag_ft.indexing.index import Index
from rag_ft.schema import Document

QUERIES = ["rule 2 for billing", "version 0 of c.md", "coffee paragraph 3", "security", "parking in version 1"]
MODES = ["dense", "bm25", "hybrid", "blend"]


def create(documents: object, address: str, embedder: HashingEmbedder | None = None, **options) -> DatabaseIndex:
    options = {"chunking": CHUNKING, "progress": False} | options
    return DatabaseIndex.create(documents, address, embedder=embedder or HashingEmbedder(), **options)


@pytest.fixture(params=DATABASES)
def address(request: pytest.FixtureRequest, new_address: Callable[[str], str]) -> str:
    return new_address(request.param)


def same(index: Index, folder: Index) -> None:
    """Both hold the same documents and passages, and rank them equally by their vectors."""
    assert index.fingerprint == folder.fingerprint and len(index) == len(folder)
    assert [*index.documents()] == [*folder.documents()]
    assert [*index.passages()] == [*folder.passages()]
    for query in QUERIES:
        for k in (1, 3, 7, 1000):
            ours, theirs = index.search(query, k, mode="dense"), folder.search(query, k, mode="dense")
            assert [hit.score for hit in ours] == [hit.score for hit in theirs]
            # Of passages that share no word with the query, whose scores are rounding errors, any may be the last.
            last = ours[-1].score if len(ours) < len(index) else -1.0
            assert [hit for hit in ours if hit.score > last] == [hit for hit in theirs if hit.score > last]
        found = [hit.passage.id for hit in index.search(query, 1000, mode="bm25")]
        assert set(found) == {hit.passage.id for hit in folder.search(query, 1000, mode="bm25")}


def test_a_database_gives_what_a_folder_gives(address: str, path: Path) -> None:
    index = create(DOCUMENTS, address)
    folder = build(DOCUMENTS, path)
    same(index, folder)
    assert index.build_report is not None and index.build_report.added == tuple(folder.documents())
    again = Index.load(address, embedder=HashingEmbedder())
    assert isinstance(again, DatabaseIndex)
    same(again, folder)
    assert again.document("a.md") == folder.document("a.md")
    assert again.passages_of("b.md") == folder.passages_of("b.md")
    assert again.entries() == folder.entries()
    assert again.places("a.md") is None and again.original("a.md") is None
    assert again.manifest.recall_at_10 == 1.0


def test_a_build_embeds_only_what_changed_and_removes_what_is_gone(address: str, path: Path) -> None:
    embedder = HashingEmbedder()
    index = create(DOCUMENTS, address, embedder)
    embedded = embedder.passages_encoded
    unchanged = create(DOCUMENTS, address, embedder)
    assert unchanged.build_report is not None and unchanged.build_report.unchanged == 6
    assert unchanged.build_report.passages_embedded == 0
    later = [document("a.md", 1, team="ops"), *DOCUMENTS[1:4], document("x.md")]
    changed = create(later, address, embedder).build_report
    assert changed is not None
    assert (changed.added, changed.changed, changed.unchanged) == (("x.md",), ("a.md",), 3)
    assert changed.removed == ("e.md", "f.md") and changed.passages_embedded == 8
    assert embedder.passages_encoded > embedded
    same(index.newest(), build(later, path))


def test_a_text_that_moved_to_another_document_is_not_embedded_again(address: str) -> None:
    index = create(DOCUMENTS, address)
    moved = DOCUMENTS[0].model_copy(update={"id": "moved.md"})
    report = index.add([moved], progress=False)
    assert report.added == ("moved.md",) and report.passages_embedded == 0


def test_another_chunking_is_made_of_the_same_database(address: str, path: Path) -> None:
    create(DOCUMENTS, address)
    larger = CHUNKING.model_copy(update={"max_tokens": 60})
    index = create(DOCUMENTS, address, chunking=larger)
    assert index.chunking == larger
    folder = Index.build(DOCUMENTS, path, embedder=HashingEmbedder(), chunking=larger, progress=False)
    same(index, folder)


@pytest.mark.parametrize("mode", MODES)
def test_filters_are_those_of_a_folder(address: str, path: Path, mode: str) -> None:
    documents = [
        document(
            f"{i}.md", count=i, half=i / 2, even=i % 2 == 0, tags=["a", i] if i % 3 else [], nested=[[i], {"x": i}]
        )
        for i in range(9)
    ]
    index, folder = create(documents, address), build(documents, path)
    for where in (
        {"count": 3},
        {"count": [1, 2, 77]},
        {"even": True},
        {"even": 1},
        {"count": True},
        {"half": 1},
        {"tags": "a", "even": False},
        {"tags": 4},
        {"nested": [[4]]},
        {"nested": {"x": 5}},
        {"document_id": ["1.md", "2.md"]},
        {"source": "/docs/3.md"},
        {"nothing": None},
        {},
    ):
        found = {hit.passage.id for hit in index.search("version 0 rule 2", 100, mode=mode, where=where)}
        assert found == {hit.passage.id for hit in folder.search("version 0 rule 2", 100, mode=mode, where=where)}
        if mode == "dense":
            assert index.search("rule 2", 3, mode=mode, where=where) == folder.search(
                "rule 2", 3, mode=mode, where=where
            )


def test_a_part_is_of_the_state_that_its_session_sees(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread sees the next state between the look at the state and the making of the part."""
    index = create(DOCUMENTS, address)
    current, session = index._current, index.database.session()

    def overtaken(seen):
        state = current(seen)
        if seen is session:
            create(DOCUMENTS[1:], address)
            newest = index.database.session()
            current(newest)
            newest.close()
        return state

    monkeypatch.setattr(index, "_current", overtaken)
    part = index.part_of(session, audience("ops", None))
    assert [row.id for row in part.table] == [document.id for document in DOCUMENTS]
    session.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_part_for_some_groups_is_as_if_there_were_nothing_else(address: str, mode: str, request) -> None:
    labels = {"a.md": ["ops"], "b.md": ["web"], "c.md": ["ops", "web"], "d.md": []}
    documents = [
        one.model_copy(update={"metadata": {"access": labels[one.id]} if one.id in labels else {}}) for one in DOCUMENTS
    ]
    index = create(documents, address)
    part = index.visible_to("ops")
    readable = [one for one in documents if one.id in ("a.md", "c.md", "e.md", "f.md")]
    assert [*part.documents()] == [one.id for one in readable] and part.is_part
    # The same database, with these documents alone.
    alone = create(readable, f"{address}#alone")
    assert part.fingerprint == alone.fingerprint and [*part.passages()] == [*alone.passages()]
    for query in QUERIES:
        if mode == "dense" or not index.database.words_of_whole:
            assert part.search(query, 9, mode=mode) == alone.search(query, 9, mode=mode)
        else:
            found = {hit.passage.id for hit in part.search(query, 9, mode=mode)}
            assert found == {hit.passage.id for hit in alone.search(query, 9, mode=mode)}
    index.remove("a.md")
    assert "a.md" not in {hit.passage.document_id for hit in part.search("rule 2", 50, mode=mode)}
    index.add([document("e.md", 4, access=["web"])], progress=False)
    assert "e.md" not in {hit.passage.document_id for hit in part.search("version 4", 50, mode=mode)}
    assert len(part.searcher().hits([])) == 0
    with pytest.raises(UsageError, match="only the part for some groups"):
        part.remove("c.md")


def test_scores_of_words_in_a_part_do_not_depend_on_hidden_documents(address: str) -> None:
    shown = [document("a.md", access=["ops"]), document("b.md", access=["ops"])]
    few = create([*shown, document("z.md", access=["web"])], address).visible_to("ops")
    before = [few.search(query, 9, mode="bm25") for query in QUERIES]
    many = [document(f"z{i}.md", access=["web"]) for i in range(20)]
    more = create([*shown, *many], address).visible_to("ops")
    assert [more.search(query, 9, mode="bm25") for query in QUERIES] == before


def test_copies_of_a_text_count_once_and_are_named(address: str, path: Path) -> None:
    documents = [Document(id=f"{i:03}.md", text="Coffee for guests needs two pots.") for i in range(150)]
    documents += [Document(id="tea.md", text="Tea for guests needs one pot."), Document(id="milk.md", text="Milk.")]
    documents += [Document(id="space.md", text="Coffee  for guests\nneeds two pots.")]
    index, folder = create(documents, address), build(documents, path)
    for where in (None, {"document_id": ["003.md", "004.md", "tea.md"]}):
        hits = index.search("coffee for guests", 3, mode="dense", where=where)
        assert hits == folder.search("coffee for guests", 3, mode="dense", where=where)
    assert len(index.search("coffee for guests", 3, mode="blend")[0].also_in) == 150


def test_removed_documents_are_searched_for_and_not_found(address: str, tmp_path: Path) -> None:
    for one in DOCUMENTS:
        (tmp_path / one.id).write_text(one.text, encoding="utf-8")
    index = create(tmp_path, address)
    copy = tmp_path / "outside.md"
    copy.write_text((tmp_path / "b.md").read_text(encoding="utf-8"), encoding="utf-8")
    before = index.verify(absent=str(tmp_path / "b.md"))
    assert not before.ok and {check.name for check in before.checks if not check.ok} == {"absent: records"}
    assert index.remove("b.md", dry_run=True).remaining_documents == 5 and len([*index.documents()]) == 6
    report = index.remove("b.md")
    assert report.documents == ("b.md",) and report.remaining_documents == 5
    proof = index.verify(absent=str(tmp_path / "b.md"))
    assert proof.ok, proof
    names = [check.name for check in proof.checks]
    assert names[-4:] == ["absent: records", "absent: rows", "absent: sentences", "absent: vectors"]
    assert "not searched" in proof.checks[names.index("absent: rows")].detail  # what no search reaches is said
    assert not any(hit.passage.document_id == "b.md" for hit in index.search("version 0 of b.md", 50))
    with pytest.raises(UsageError, match=r"has no document 'b\.md'"):
        index.remove("b.md")
    with pytest.raises(UsageError, match="nothing was removed"):
        index.remove(where={"team": "nobody"})


def test_a_document_that_is_only_named_otherwise_is_found_by_the_proof(address: str, tmp_path: Path) -> None:
    file = tmp_path / "b.md"
    file.write_text(DOCUMENTS[1].text, encoding="utf-8")
    index = create([DOCUMENTS[0], DOCUMENTS[1].model_copy(update={"id": "copy.md", "source": "copy"})], address)
    proof = index.verify(absent=str(file))
    failed = [check for check in proof.checks if not check.ok]
    assert [check.name for check in failed] == ["absent: sentences"] and "'copy.md'" in failed[0].detail


_steps = st.lists(
    st.tuples(
        st.sampled_from(["build", "add", "remove"]), st.sets(st.sampled_from("abcdef"), min_size=1), st.booleans()
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps)
@pytest.mark.parametrize("kind", DATABASES)
def test_any_order_of_changes_ends_like_a_folder(kind, steps, new_address, tmp_path_factory) -> None:
    address, folder_path = new_address(kind), tmp_path_factory.mktemp("folder") / "index"
    index, folder = create(DOCUMENTS, address), build(DOCUMENTS, folder_path)
    for version, (step, names, both) in enumerate(steps, start=1):
        documents = [document(f"{name}.md", version if both else 0) for name in sorted(names)]
        if step == "build":
            index, folder = create(documents, address), build(documents, folder_path)
        elif step == "add":
            index.add(documents, progress=False)
            folder.add(documents, progress=False)
        else:
            there = [one.id for one in documents if one.id in set(folder.documents())]
            if there and len(there) < len(list(folder.documents())):
                assert index.remove(there) == folder.remove(there)
    same(index, folder)
    assert index.verify().ok


def test_text_of_any_kind_comes_back(address: str) -> None:
    text = "Nul \x00, quotes ' \" \\ %s {x} $1, Äpfel, 漢字, emoji 🙂, tab\t. A path C:\\temp\\n, it's 'quoted' || so."
    odd = Document(
        id="odd 'name'\".md", text=text, title="a\x00b", metadata={"k": "\x00", "f": 1e5, "deep": {"x": [1.0]}}
    )
    index = create([odd, DOCUMENTS[0]], address)
    assert index.document(odd.id) == odd
    for mode in MODES:
        assert index.search("emoji äpfel quoted temp", 1, mode=mode)[0].passage.document_id == odd.id
        index.search("it's 'quoted' || fine & !no :* <-> \\ % $1 {x}", 3, mode=mode)
    assert index.verify().ok


def test_searches_go_on_while_documents_change(address: str) -> None:
    index = create(DOCUMENTS, address)
    stop, errors = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            for mode in MODES:
                try:
                    hits = index.search("rule 2 for billing", 5, mode=mode)
                    assert len(hits) == 5
                except Exception as error:
                    errors.append(error)
                    return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    writer = Index.load(address, embedder=HashingEmbedder())
    for version in range(1, 6):
        writer.add([document("a.md", version), document(f"new{version}.md")], progress=False)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert len([*index.newest().documents()]) == 11


def test_what_a_database_does_not_keep_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeps no files"):
        create(DOCUMENTS, address, keep_originals=True)
    index = create(DOCUMENTS, address)
    with pytest.raises(UsageError, match="keeps no feedback"):
        index.add_feedback("question", "right", None)
    with pytest.raises(UsageError, match="is in a database"):
        index.save(tmp_path / "folder")
    assert not index.feedback_questions().records


def test_nothing_readable_leaves_the_database_as_it_was(address: str, tmp_path: Path) -> None:
    with pytest.raises(IndexMissingError, match="there is no index at"):
        Index.load(address)
    with pytest.raises(CorpusError):
        create(tmp_path, address)
    with pytest.raises(IndexMissingError):
        Index.load(address)
    index = create(DOCUMENTS, address)
    with pytest.raises(CorpusError):
        create(tmp_path, address)
    assert len([*index.newest().documents()]) == 6


def test_another_embedder_is_refused(address: str) -> None:
    index = create(DOCUMENTS, address)
    for other in (HashingEmbedder(dimension=32), HashingEmbedder(salt="x")):
        for call in (
            lambda other=other: create(DOCUMENTS, address, other),
            lambda other=other: Index.load(address, embedder=other),
        ):
            with pytest.raises(IndexStoreError, match="was built with the embedder hashing"):
                call()
    assert len([*index.newest().documents()]) == 6
