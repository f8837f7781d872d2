from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import HashingEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_ft.errors import (
    CorpusError,
    IndexLockedError,
    IndexMismatchError,
    IndexMissingError,
    IndexStoreError,
    UsageError,
)
from rag_ft.indexing.building.builder import GenerationBuilder
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.folder import content_checksum
from rag_ft.indexing.storage.generation import json_line
from rag_ft.indexing.storage.manifest import index_fingerprint
from rag_ft.schema import Document

CHUNKING = ChunkingConfig(max_tokens=24)
TOPICS = ["billing", "security", "holidays", "servers", "coffee", "parking"]


def document(name: str, version: int = 0, **metadata: object) -> Document:
    topic = TOPICS[sum(name.encode()) % len(TOPICS)]
    text = "\n\n".join(
        f"Paragraph {part} of {name} speaks of {topic} in version {version}. Rule {part} holds for {name}."
        for part in range(4)
    )
    return Document(id=name, text=text, title=f"About {topic}", source=f"/docs/{name}", metadata=metadata)


def build(documents: list[Document], path: Path, embedder: HashingEmbedder | None = None, **options) -> Index:
    embedder = embedder or HashingEmbedder()
    return Index.build(documents, path, embedder=embedder, chunking=CHUNKING, progress=False, **options)


DOCUMENTS = [document(f"{name}.md", team="ops" if name in "abc" else "web") for name in "abcdef"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index"


def rankings(index: Index) -> list[list[tuple[str, float]]]:
    queries = ["rule 2 for billing", "version 0 of c.md", "coffee paragraph 3", "security"]
    hits = [index.search(query, 7, mode=mode) for mode in ("dense", "bm25") for query in queries]
    return [[(hit.passage.id, hit.score) for hit in ranking] for ranking in hits]


def same(one: Index, other: Index) -> None:
    assert [*one.passages()] == [*other.passages()]
    assert [*one.documents()] == [*other.documents()]
    assert one.fingerprint == other.fingerprint
    assert rankings(one) == rankings(other)


def lines(*records: object) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in records)


def as_format_1(path: Path) -> None:
    """Rewrite an index as version 1 of the format had it: no document says which file it came from."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    table = path / "generations" / manifest["generation"] / "table.jsonl"
    rows = [json.loads(line) for line in table.read_bytes().splitlines()]
    table.write_bytes(b"".join(json_line({key: row[key] for key in row if key != "file"}) for row in rows))
    data = table.read_bytes()
    manifest["files"]["table.jsonl"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["format"] = 1
    manifest["checksum"] = content_checksum(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


# Building


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


def test_rows_and_ids_name_the_same_passages(path):
    index = build(DOCUMENTS, path)
    assert [index.passage(row) for row in range(len(index))] == [*index.passages()]
    with pytest.raises(IndexError):
        index.passage(len(index))


def test_rebuilding_an_unchanged_folder_embeds_and_writes_nothing(path):
    before = build(DOCUMENTS, path)
    embedder = HashingEmbedder()
    after = build(DOCUMENTS[::-1], path, embedder)
    assert after.build_report.unchanged == 6
    assert after.build_report.passages_embedded == 0
    assert embedder.passages_encoded <= 3  # the sentinels
    assert after.manifest == before.manifest


def test_rebuilding_embeds_only_what_changed_and_removes_what_is_gone(path):
    build(DOCUMENTS, path)
    changed = [document("a.md", version=1, team="ops"), *DOCUMENTS[2:], document("new.md")]
    index = build(changed, path)
    report = index.build_report
    assert (report.added, report.changed, report.removed) == (("new.md",), ("a.md",), ("b.md",))
    assert report.unchanged == 4
    assert report.passages_embedded == len(index.passages_of("a.md")) + len(index.passages_of("new.md"))
    same(index, build(changed, path.parent / "clean"))


def test_a_change_in_one_sentence_embeds_only_the_passages_that_hold_it(path):
    build(DOCUMENTS, path)
    edited = DOCUMENTS[0].model_copy(update={"text": DOCUMENTS[0].text.replace("Rule 3", "Law 3")})
    index = build([edited, *DOCUMENTS[1:]], path)
    assert index.build_report.changed == ("a.md",)
    assert index.build_report.passages_embedded == 1
    same(index, build([edited, *DOCUMENTS[1:]], path.parent / "clean"))


def test_renaming_a_document_embeds_nothing(path):
    build(DOCUMENTS, path)
    renamed = [DOCUMENTS[0].model_copy(update={"id": "moved/a.md"}), *DOCUMENTS[1:]]
    index = build(renamed, path)
    assert index.build_report.passages_embedded == 0
    assert (index.build_report.added, index.build_report.removed) == (("moved/a.md",), ("a.md",))
    same(index, build(renamed, path.parent / "clean"))


def test_equal_texts_are_embedded_once(path):
    twins = [DOCUMENTS[0], DOCUMENTS[0].model_copy(update={"id": "twin.md"})]
    index = build(twins, path)
    assert index.build_report.passages_embedded * 2 == len(index)


def test_another_chunking_cuts_everything_anew(path):
    build(DOCUMENTS, path)
    index = Index.build(
        DOCUMENTS, path, embedder=HashingEmbedder(), chunking=ChunkingConfig(max_tokens=60), progress=False
    )
    assert index.chunking.max_tokens == 60
    assert index.build_report.unchanged == 0
    assert index.build_report.changed == tuple(f"{name}.md" for name in "abcdef")


def test_an_index_that_was_cut_by_older_rules_is_cut_anew_when_it_is_built_again_and_not_by_a_change(path):
    build(DOCUMENTS, path)
    manifest = json.loads((path / "manifest.json").read_bytes())
    assert manifest["chunking"].pop("rules") > 1  # the first indexes did not say by which
    prints = [row.fingerprint for row in Index.load(path).entries()]
    manifest["fingerprint"] = index_fingerprint(prints, manifest["embedder"]["fingerprint"], manifest["chunking"])
    manifest["checksum"] = content_checksum(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    old = Index.load(path, embedder=HashingEmbedder())
    assert old.chunking.rules == 1
    assert old.add([document("new.md")], progress=False).unchanged == 0  # the others are not looked at
    assert "rules" not in old.manifest.chunking and len(list(old.documents())) == len(DOCUMENTS) + 1
    again = build(DOCUMENTS, path)
    assert again.build_report.unchanged == 0 and again.chunking == CHUNKING
    assert build(DOCUMENTS, path).build_report.unchanged == len(DOCUMENTS)


def test_another_embedder_embeds_everything_anew(path, caplog):
    build(DOCUMENTS, path)
    index = build(DOCUMENTS, path, HashingEmbedder(salt="other"))
    assert index.build_report.passages_embedded == len(index)
    assert "everything is embedded again" in caplog.text


@pytest.mark.parametrize("damaged", [False, True])
def test_a_build_that_fails_before_its_end_leaves_a_former_index_it_cannot_reuse(path, damaged):
    before = build(DOCUMENTS, path)
    (keys,) = path.rglob("keys.npy")
    content = keys.read_bytes()
    if damaged:
        keys.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    class Failing(HashingEmbedder):
        def encode_passages(self, texts, *, progress=False):
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


def test_half_a_surrogate_pair_is_a_failure_that_names_the_document(path):
    broken = Document(id="x", text="abc \ud800 def", source="x.txt")
    named = Document(id="y", text="abc", source="\ud800.txt")
    index = build([broken, named, DOCUMENTS[0]], path)
    assert [*index.documents()] == ["a.md"]
    assert [failure.source for failure in index.build_report.failures] == ["x.txt", "\\ud800.txt"]
    assert index.build_report.model_dump_json()
    assert "half of a surrogate pair" in index.build_report.failures[0].reason


def test_chunks_beyond_the_embedders_window_are_a_usage_error(path):
    with pytest.raises(UsageError, match="chunks of 24 tokens do not fit the embedder hashing, which reads at most 8"):
        build(DOCUMENTS, path, HashingEmbedder(max_tokens=8))


def test_an_embedder_that_gives_nonsense_is_an_error(path):
    class Broken(HashingEmbedder):
        def encode_passages(self, texts, *, progress=False):
            return np.full((len(texts), self.dimension), np.nan, dtype=np.float32)

    with pytest.raises(IndexMismatchError, match="not finite"):
        build(DOCUMENTS, path, Broken())


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


# Searching


def test_search_gives_hits_with_ranks_and_cosines(path):
    index = build(DOCUMENTS, path)
    passage = index.passage(5)
    hits = index.search(passage.title + "\n" + passage.text, 3, mode="dense")
    assert hits[0].passage == passage
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3]


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3"])
def test_a_k_that_is_not_a_positive_whole_number_is_a_usage_error(path, k):
    index = build(DOCUMENTS[:1], path)
    for mode in ("dense", "bm25"):
        with pytest.raises(UsageError, match="it must be a whole number from 1"):
            index.search("a", k, mode=mode)


def test_k_beyond_the_index_gives_every_passage(path):
    index = build(DOCUMENTS, path)
    assert len(index.search("billing", 10_000, mode="dense")) == len(index)


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


# Adding and removing


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


# Loading and saving


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf-pq"])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_loaded_index_finds_what_the_built_one_found(path, kind, mmap):
    built = build(DOCUMENTS, path, kind=kind)
    same(built, Index.load(path, embedder=HashingEmbedder(), verify="full", mmap=mmap))
    assert built.manifest.kind == kind
    assert 0.5 <= built.manifest.recall_at_10 <= 1


def test_an_object_keeps_its_state_while_the_index_is_written_again(path):
    build(DOCUMENTS, path)
    reader = Index.load(path, embedder=HashingEmbedder())
    before = rankings(reader)
    build(DOCUMENTS[3:], path)
    assert rankings(reader) == before
    assert len(Index.load(path)) < len(reader)


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


def test_an_embedder_that_cannot_be_found_by_name_is_asked_for(path, monkeypatch):
    build(DOCUMENTS, path)
    index = Index.load(path)
    assert index.search("billing", 1, mode="bm25")
    with pytest.raises(IndexMismatchError, match=r"as Index\.load"):
        index.search("billing", 1, mode="dense")


@pytest.mark.parametrize("name", ["organisation/model", "embedder", "{folder}/embedder"])
def test_an_index_from_a_stranger_fetches_and_loads_no_embedder(path, tmp_path, monkeypatch, name):
    def never(*arguments, **options):
        raise AssertionError("looked up")

    (tmp_path / "embedder").mkdir()
    monkeypatch.chdir(tmp_path)
    embedder = HashingEmbedder()
    embedder.name = name.format(folder=tmp_path)
    build(DOCUMENTS, path, embedder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", never)
    monkeypatch.setattr("rag_ft.models.weights.resolve_embedder", never)
    index = Index.load(path)
    with pytest.raises(IndexMismatchError, match=r"if you trust it, give it once with --embedder"):
        _ = index.embedder


def test_save_copies_the_index_and_replaces_another(path):
    index = build(DOCUMENTS, path)
    other = path.parent / "other"
    build(DOCUMENTS[:1], other)
    index.save(other)
    same(index, Index.load(other, embedder=HashingEmbedder(), verify="full"))
    index.save(other)
    index.save(path)
    assert len([*(other / "generations").iterdir()]) == 1


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


def test_save_copies_what_the_manifest_speaks_of_and_no_link_or_file_beside(path):
    index = build(DOCUMENTS, path)
    (path.parent / "secret.txt").write_text("mine")
    (generation,) = (path / "generations").iterdir()
    (generation / "linked").symlink_to(path.parent, target_is_directory=True)
    (generation / "notes.txt").write_text("mine")
    index.save(path.parent / "other")
    assert not [*path.parent.glob("other/**/linked"), *path.parent.glob("other/**/*.txt")]


def test_a_save_that_was_ended_after_its_commit_is_finished_by_the_next(path, monkeypatch):
    from rag_ft.indexing.storage.store import IndexStore

    index, other = build(DOCUMENTS, path), path.parent / "other"
    build(DOCUMENTS[:2], other)
    with monkeypatch.context() as patched:
        patched.setattr(IndexStore, "sweep", lambda self, keep, *, journal: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index.save(other)
    assert len([*(other / "generations").iterdir()]) == 2
    index.save(other)
    assert Index.load(other, embedder=HashingEmbedder()).verify().ok


def test_save_replaces_a_damaged_copy_of_the_same_state(path):
    index = build(DOCUMENTS, path)
    other = path.parent / "other"
    index.save(other)
    next(other.rglob("table.jsonl")).write_text("damaged")
    index.save(other)
    same(index, Index.load(other, embedder=HashingEmbedder(), verify="full"))


@pytest.mark.parametrize("before", [[], DOCUMENTS[:2]], ids=["nothing", "an index"])
def test_a_copy_that_finds_no_space_is_one_sentence_and_leaves_nothing(path, monkeypatch, before):
    import shutil

    index, other = build(DOCUMENTS, path), path.parent / "other"
    if before:
        build(before, other)

    def full(source, target, *_):
        target.write(b"half")
        raise OSError(28, "No space left on device")

    for patch in (
        (shutil, "copyfileobj", full),
        (shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 0)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(*patch)
            with pytest.raises(IndexStoreError, match=r"(full|free space).*no part of the copy was kept") as told:
                index.save(other)
        assert "Errno" not in str(told.value)
        assert len([*other.glob("generations/*")]) == bool(before)


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
        ("EACCES", "no permission to use .*allow it"),
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


def test_a_file_that_cannot_be_read_any_more_stays_as_it_was_indexed(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("The fox is quick.")
    (folder / "sub" / "b.txt").write_text("The dog is lazy.")
    Index.build(folder, tmp_path / "i", embedder=HashingEmbedder(), progress=False)
    (folder / "a.txt").write_bytes(bytes(range(256)))
    (folder / "sub" / "b.txt").unlink()
    index = Index.build(folder, tmp_path / "i", embedder=HashingEmbedder(), progress=False)
    assert index.build_report.kept == ("a.txt",)
    assert index.build_report.removed == ("sub/b.txt",)
    assert [failure.source for failure in index.build_report.failures] == [str(folder / "a.txt")]
    assert index.document("a.txt").text == "The fox is quick."


def test_the_deepest_metadata_that_a_document_takes_is_stored_and_read_again(path):
    deep: list[object] = []
    for _ in range(254):
        deep = [deep]
    index = build([Document(id="deep", text="x", metadata={"x": deep})], path)
    assert index.build_report.failures == ()
    assert index.document("deep").metadata == {"x": deep}


def squad(*titles: str) -> str:
    articles = [{"title": name, "paragraphs": [{"context": f"{name} is a town."}]} for name in titles]
    return json.dumps({"data": articles})


LINES = [
    {"id": "fox", "text": "The fox is quick.", "url": "https://x.org/fox"},
    {"id": "dog", "text": "The dog is lazy."},
    {"text": "The owl is wise."},
]


@pytest.mark.parametrize(
    ("name", "content", "kept", "removed"),
    [
        ("d.jsonl", b"\xff\xfe", ["d.jsonl:3", "dog", "fox"], []),
        ("d.jsonl", b"", ["d.jsonl:3", "dog", "fox"], []),
        ("d.jsonl", lines(LINES[0], b"{broken", LINES[2]), ["dog"], []),
        ("d.jsonl", lines(b"{broken", LINES[1], LINES[2]), ["fox"], []),
        (
            "d.jsonl",
            lines(LINES[0], {"id": "dog", "text": "caf\xe9"}).replace(b"\\u00e9", b"\xe9"),
            ["d.jsonl:3", "dog"],
            [],
        ),
        ("d.jsonl", lines({"id": "fox", "text": ""}, LINES[2]), ["fox"], ["d.jsonl:3", "dog"]),
        ("d.jsonl", lines({"id": "fox", "text": "\ud800"}, LINES[1]), ["fox"], ["d.jsonl:3"]),
        ("d.jsonl", lines(LINES[0]), [], ["d.jsonl:3", "dog"]),
        ("s.json", squad("Rome", "Bonn").encode()[:-9], ["Bonn", "Rome"], []),
        ("s.json", squad("Rome").encode(), [], ["Bonn"]),
        ("sub/t.jsonl", b"{", ["sub/t.jsonl:1"], []),
    ],
)
def test_documents_of_a_file_that_cannot_be_read_any_more_stay(tmp_path, name, content, kept, removed):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "d.jsonl").write_bytes(lines(*LINES))
    (folder / "s.json").write_text(squad("Rome", "Bonn"))
    (folder / "sub" / "t.jsonl").write_bytes(lines({"text": "The cat is sly."}))
    (folder / "package.json").write_text("{}")
    (folder / "a.txt").write_text("One.")
    Index.build(folder, tmp_path / "i", embedder=HashingEmbedder(), progress=False)
    (folder / "a.txt").write_text("Two.")
    # Carried over unread in between, and the folder is named in another way afterwards.
    Index.build(folder, tmp_path / "i", embedder=HashingEmbedder(), progress=False)
    (folder / name).write_bytes(content)
    report = Index.build(folder / "sub" / "..", tmp_path / "i", embedder=HashingEmbedder(), progress=False).build_report
    assert (sorted(report.kept), sorted(report.removed)) == (kept, removed)
    assert bool(report.failures) == bool(kept)


def test_what_cannot_be_read_stays_where_everything_is_cut_or_embedded_anew_too(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("The tower is high. " * 9)
    (folder / "d.jsonl").write_bytes(lines(*LINES))

    def made(**options):
        return Index.build(folder, tmp_path / "i", **{"embedder": HashingEmbedder(), "progress": False, **options})

    made()
    (folder / "a.txt").write_bytes(b"\0" * 9)
    (folder / "d.jsonl").write_bytes(lines({"id": "fox", "text": "\ud800"}, LINES[1], LINES[2]))
    for options in ({"chunking": CHUNKING}, {"chunking": CHUNKING, "embedder": HashingEmbedder(salt="other")}):
        index = made(**options)
        assert sorted(index.build_report.kept) == ["a.txt", "fox"] and not index.build_report.removed
        assert index.document("a.txt").text.startswith("The tower") and len(index.passages_of("a.txt")) > 1
        assert index.as_retriever(k=1).retrieve("the quick fox")[0].passage.document_id == "fox"
        assert index.verify().ok


def test_an_index_that_does_not_say_where_documents_came_from_learns_it_when_it_is_built_again(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(lines(*LINES))
    Index.build(path, tmp_path / "i", embedder=HashingEmbedder(), progress=False)
    as_format_1(tmp_path / "i")
    assert [row.file for row in Index.load(tmp_path / "i").entries()] == ["", "", ""]
    index = Index.build(path, tmp_path / "i", embedder=HashingEmbedder(), progress=False)
    assert (index.build_report.unchanged, index.build_report.passages_embedded) == (3, 0)
    assert [row.file for row in index.entries()] == ["d.jsonl"] * 3
    assert index.manifest.format == 2 and index.verify().ok
    index.remove("fox")
    assert [row.file for row in Index.load(tmp_path / "i").entries()] == ["d.jsonl"] * 2


@pytest.mark.parametrize("before", [[], DOCUMENTS[:2]], ids=["nothing", "an index"])
def test_a_full_disk_while_staging_leaves_no_unfinished_generation(path, monkeypatch, before):
    import errno

    class Full:
        """A file whose disk is full: also what it still holds cannot be written when it is closed."""

        def __init__(self, file):
            self.file = file

        def tell(self):
            return 0

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            self.file.close()
            self.write(b"")

    if before:
        build(before, path)
    made = GenerationBuilder.__init__

    def full(self, *arguments, **options):
        made(self, *arguments, **options)
        staging = self._staging
        staging.documents, staging.passages = Full(staging.documents), Full(staging.passages)

    monkeypatch.setattr(GenerationBuilder, "__init__", full)
    with pytest.raises(IndexStoreError, match=r"the disk of .*index is full"):
        build(DOCUMENTS, path)
    assert len([*(path / "generations").iterdir()]) == bool(before)


def test_what_a_killed_first_build_staged_is_swept_by_the_next(path, monkeypatch):
    staged = path / "generations" / "ffffffffffffffff"
    staged.mkdir(parents=True)
    (staged / "staged-documents.tmp").write_text("Text.")
    monkeypatch.setattr(GenerationBuilder, "embed_pending", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(DOCUMENTS, path)
    assert [*(path / "generations").iterdir()] == []


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
