from __future__ import annotations

import threading

import pytest
from fakes import HashingEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_indexes import DOCUMENTS, build, document, same

from rag_ft.errors import CorpusError, IndexLockedError, IndexMissingError, IndexStoreError, UsageError
from rag_ft.indexing.building.builder import GenerationBuilder
from rag_ft.indexing.index import Index
from rag_ft.schema import Document


def test_build_reports_what_it_did_and_holds_every_passage(path):
    index = build(DOCUMENTS, path)
    report = index.build_report
    assert report.added == tuple(f"{name}.md" for name in "abcdef")
    assert report.passages == report.passages_embedded == len(index) == index.manifest.counts.passages
    assert [*index.documents()] == [f"{name}.md" for name in "abcdef"]
    for given_document in DOCUMENTS:
        assert index.document(given_document.id) == given_document
        passages = index.passages_of(given_document.id)
        assert "".join(passage.text for passage in passages)
        for passage in passages:
            assert given_document.text[passage.start : passage.end] == passage.text
            assert index.passage_by_id(passage.id) == passage
            assert (passage.title, passage.source) == (given_document.title, given_document.source)
            assert passage.metadata == given_document.metadata


def test_a_title_that_chunking_left_off_stays_off(path):
    long = document("a.md").model_copy(update={"title": "A very long title of many words " * 3})
    index = build([long], path)
    assert {passage.title for passage in index.passages()} == {""}
    assert index.document("a.md").title == long.title
    assert index.verify().ok
    index.remove("a.md")
    assert index.verify("a.md").ok


def test_rebuilding_an_unchanged_folder_embeds_and_writes_nothing(path):
    before = build(DOCUMENTS, path)
    embedder = HashingEmbedder()
    after = build(DOCUMENTS[::-1], path, embedder)
    assert after.build_report.unchanged == 6
    assert after.build_report.passages_embedded == 0
    assert embedder.passages_encoded <= 3  # the sentinels
    assert after.manifest == before.manifest


@pytest.mark.parametrize("damaged", [False, True])
def test_a_build_that_fails_before_its_end_leaves_a_former_index_it_cannot_reuse(path, damaged):
    before = build(DOCUMENTS, path)
    (keys,) = path.rglob("keys.npy")
    content = keys.read_bytes()
    if damaged:
        keys.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    class Failing(HashingEmbedder):
        def encode_passages(self, texts):
            if self.salt == "other" or damaged:
                raise KeyboardInterrupt
            return super().encode_passages(texts)

    with pytest.raises(KeyboardInterrupt):
        build(DOCUMENTS, path, Failing(salt="" if damaged else "other"))
    keys.write_bytes(content)
    same(Index.load(path, embedder=HashingEmbedder(), verify="full"), before)


def test_the_fingerprint_depends_on_content_and_not_on_order_time_or_place(path):
    first = build(DOCUMENTS, path)
    second = build(DOCUMENTS[::-1], path.parent / "other")
    assert first.fingerprint == second.fingerprint
    assert first.manifest.generation != second.manifest.generation
    assert build(DOCUMENTS[1:], path).fingerprint != second.fingerprint


def test_the_second_document_of_an_id_is_reported_and_left_out(path):
    index = build([DOCUMENTS[0], DOCUMENTS[0].model_copy(update={"text": "Other.", "source": "/x"})], path)
    assert [*index.documents()] == ["a.md"]
    assert index.document("a.md") == DOCUMENTS[0]
    (failure,) = index.build_report.failures
    assert failure.source == "/x"
    assert "has the id 'a.md' of an earlier document" in failure.reason


def test_a_source_without_documents_is_an_error(path):
    with pytest.raises(CorpusError):
        build([], path)
    with pytest.raises(IndexMissingError):
        Index.load(path)


def test_chunks_beyond_the_embedders_window_are_a_usage_error(path):
    with pytest.raises(UsageError, match="chunks of 24 tokens do not fit the embedder hashing, which reads at most 8"):
        build(DOCUMENTS, path, HashingEmbedder(max_tokens=8))


STATES = st.lists(
    st.dictionaries(st.sampled_from([f"{name}.md" for name in "abcd"]), st.integers(0, 2), min_size=1),
    min_size=1,
    max_size=4,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=STATES, kind=st.sampled_from(["auto", "flat"]))
def test_any_sequence_of_folder_states_ends_as_a_clean_build(states, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    for state in states:
        documents = [document(name, version) for name, version in state.items()]
        index = build(documents, folder / "kept", kind=kind)
    same(index, build(documents, folder / "clean", kind=kind))
    assert index.verify().ok


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.sampled_from([f"{name}.md" for name in "bcde"]), st.integers(0, 2)),
        max_size=6,
    )
)
def test_any_sequence_of_additions_and_removals_ends_as_a_clean_build(steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    held = {"a.md": document("a.md")}
    index = build([*held.values()], folder / "kept")
    for adding, name, version in steps:
        if adding:
            held[name] = document(name, version)
            index.add([held[name]], progress=False)
        elif name in held:
            del held[name]
            index.remove(name)
    same(index, build([*held.values()], folder / "clean"))
    assert index.verify().ok


def test_add_takes_in_new_documents_and_replaces_those_of_the_same_id(path):
    index = build(DOCUMENTS[:3], path)
    report = index.add([document("b.md", version=7), document("z.md")], progress=False)
    assert (report.added, report.changed, report.removed) == (("z.md",), ("b.md",), ())
    assert [*index.documents()] == ["a.md", "b.md", "c.md", "z.md"]
    assert "version 7" in index.document("b.md").text


def test_remove_says_beforehand_and_does_then_the_same(path):
    index = build(DOCUMENTS, path)
    before = [*index.passages()]
    planned = index.remove(where={"team": "ops"}, dry_run=True)
    assert [*Index.load(path).passages()] == before
    done = index.remove(where={"team": "ops"})
    assert planned.model_copy(update={"dry_run": False}) == done
    assert done.documents == ("a.md", "b.md", "c.md")
    assert done.remaining_passages == len(index) == len(before) - done.passages
    assert [*index.documents()] == ["d.md", "e.md", "f.md"]


def test_removing_needs_no_embedder(path):
    build(DOCUMENTS, path)
    Index.load(path).remove(["a.md", "b.md"])
    assert [*Index.load(path).documents()] == ["c.md", "d.md", "e.md", "f.md"]


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
def test_after_removal_searching_equals_an_index_that_never_had_the_document(path, kind):
    index = build(DOCUMENTS, path, kind=kind)
    index.remove("c.md")
    kept = [given_document for given_document in DOCUMENTS if given_document.id != "c.md"]
    same(index, build(kept, path.parent / "clean", kind=kind))


def test_removing_the_last_document_leaves_an_empty_index_that_still_works(path):
    index = build(DOCUMENTS[:1], path)
    index.remove("a.md")
    again = Index.load(path, embedder=HashingEmbedder(), verify="full")
    assert len(again) == 0
    assert again.search("x", 3, mode="dense") == again.search("x", 3, mode="bm25") == []
    assert again.verify("a.md").ok
    again.add(DOCUMENTS[:2], progress=False)
    same(again, build(DOCUMENTS[:2], path.parent / "clean"))


def test_removing_what_is_not_there_or_nothing_is_a_usage_error(path):
    index = build(DOCUMENTS, path)
    for arguments, message in [
        ({"ids": "nope.md"}, "no document 'nope.md'"),
        ({"where": {"team": "sales"}}, "nothing was removed"),
        ({}, "either ids or where"),
        ({"ids": "a.md", "where": {"team": "ops"}}, "either ids or where"),
        ({"ids": []}, "empty"),
        ({"where": {}}, "empty"),
    ]:
        with pytest.raises(UsageError, match=message):
            index.remove(**arguments)
    assert len([*index.documents()]) == 6


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
def test_an_index_that_was_emptied_opens_and_takes_documents_again(path, kind):
    build(DOCUMENTS[:3], path, kind=kind).remove([one.id for one in DOCUMENTS[:3]])
    index = Index.load(path, embedder=HashingEmbedder())
    assert len(index) == 0 and index.manifest.kind == kind and index.verify().ok
    index.add(DOCUMENTS[:1], progress=False)
    assert len(index) > 0 and index.verify().ok


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
def test_an_index_from_before_the_mark_is_updated_without_embedding_again(path, kind):
    before = build(DOCUMENTS, path, kind=kind)
    (path / ".rag-ft-index").unlink()
    same(before, Index.load(path, embedder=HashingEmbedder(), verify="full"))
    index = build(DOCUMENTS, path, kind=kind)
    assert (index.build_report.passages_embedded, index.build_report.unchanged) == (0, len(DOCUMENTS))
    assert index.fingerprint == before.fingerprint and (path / ".rag-ft-index").is_file()


def test_a_build_that_would_not_fit_says_so_before_it_writes_the_new_index(path, monkeypatch):
    import shutil

    before = build(DOCUMENTS[:2], path)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 0))
        with pytest.raises(IndexStoreError, match=r"needs 0 MB of free space.*what was embedded so far is kept"):
            build(DOCUMENTS, path)
    same(Index.load(path, embedder=HashingEmbedder(), verify="full"), before)
    assert build(DOCUMENTS, path).build_report.passages_embedded == 0


def test_a_folder_with_other_files_is_not_turned_into_an_index(path):
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files \(thesis.txt\)"):
        build(DOCUMENTS, path)
    assert [entry.name for entry in path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_a_usage_error(path):
    path.write_text("mine")
    with pytest.raises(UsageError, match="is a file: give a folder"):
        build(DOCUMENTS, path)
    with pytest.raises(IndexMissingError, match="there is no index at"):
        Index.load(path)


def test_a_second_writer_is_told_that_the_index_is_being_written(path):
    index = build(DOCUMENTS, path)
    entered, leave = threading.Event(), threading.Event()

    def slow_source():
        entered.set()
        leave.wait(30)
        yield from DOCUMENTS

    writer = threading.Thread(target=lambda: build(slow_source(), path))
    writer.start()
    try:
        entered.wait(30)
        with pytest.raises(IndexLockedError, match="another process is writing the index at"):
            index.remove("a.md", lock_timeout_s=0.1)
        assert len(Index.load(path)) == len(index)
    finally:
        leave.set()
        writer.join()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ENOSPC", "the disk of .*index is full: free some space"),
        ("EACCES", "no permission to use .*change its permissions"),
    ],
)
def test_file_system_errors_name_the_cause_and_leave_the_former_index(path, monkeypatch, code, message):
    import errno
    import os

    before = build(DOCUMENTS[:3], path)

    def failing(handle: int) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(IndexStoreError, match=message):
            build(DOCUMENTS, path)
    same(Index.load(path, embedder=HashingEmbedder(), verify="full"), before)
    same(build(DOCUMENTS, path), build(DOCUMENTS, path.parent / "clean"))
    assert Index.load(path, embedder=HashingEmbedder()).verify().ok


def test_a_full_disk_during_faiss_writing_names_the_cause(path, monkeypatch):
    import faiss

    def failing(*_: object) -> None:
        raise RuntimeError("Error in virtual size_t FileIOWriter: write error: 0 != 1 (No space left on device)")

    monkeypatch.setattr(faiss, "write_index", failing)
    with pytest.raises(IndexStoreError, match=r"the disk of .*index is full"):
        build(DOCUMENTS, path)


def test_an_error_after_the_commit_does_not_delete_what_was_committed(path, monkeypatch):
    from rag_ft.indexing.storage.store import IndexStore

    build(DOCUMENTS[:2], path)
    sweep = IndexStore.sweep
    with monkeypatch.context() as patched:

        def failing(self, keep, *, journal):
            if journal:
                raise KeyboardInterrupt
            sweep(self, keep, journal=journal)

        patched.setattr(IndexStore, "sweep", failing)
        with pytest.raises(KeyboardInterrupt):
            build(DOCUMENTS, path)
    index = Index.load(path, embedder=HashingEmbedder(), verify="full")
    assert len([*index.documents()]) == 6
    report = {check.name: check.ok for check in index.verify().checks}
    assert report["leftovers"] is False
    index.remove("a.md")
    assert index.verify("a.md").ok


def test_the_deepest_metadata_that_a_document_takes_is_stored_and_read_again(path):
    deep: list[object] = []
    for _ in range(254):
        deep = [deep]
    index = build([Document(id="deep", text="x", metadata={"x": deep})], path)
    assert index.build_report.failures == ()
    assert index.document("deep").metadata == {"x": deep}


def test_a_damaged_manifest_can_be_restored_after_a_build_that_failed(path, monkeypatch):
    before = build(DOCUMENTS, path)
    manifest = path / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content[:-9])
    monkeypatch.setattr(GenerationBuilder, "embed_pending", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(DOCUMENTS, path)
    manifest.write_bytes(content)
    same(Index.load(path, embedder=HashingEmbedder(), verify="full"), before)


def test_a_file_that_costs_too_much_is_named_and_the_others_are_indexed(tmp_path):
    from rag_ft.indexing.formats import ReadLimits

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "long.txt").write_text("Some words. " * 100)
    (docs / "short.txt").write_text("A short text.")
    limits = ReadLimits(max_chars=1_000)
    index = Index.build(docs, tmp_path / "index", embedder=HashingEmbedder(), limits=limits, progress=False)
    assert [*index.documents()] == ["short.txt"]
    (failure,) = index.build_report.failures
    assert failure.source.endswith("long.txt") and "more than the 1,000 characters allowed" in failure.reason
    report = index.add(docs / "long.txt", progress=False)
    assert report.added == ("long.txt",) and report.failures == ()
