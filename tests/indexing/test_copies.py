"""Passages with the same text, which count once among the k that are retrieved."""

import json

import pytest
from fakes import HashingEmbedder

from rag_ft.indexing.chunking import CHUNKING_RULES, ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.folder import TEXT_KEYS, content_checksum
from rag_ft.indexing.storage.manifest import index_fingerprint
from rag_ft.schema import Document

MODES = ["dense", "bm25", "hybrid", "blend"]
NOTICE = "The crane on the north quay is closed for repair in the second week of May."
COPIES = 30


def documents() -> list[Document]:
    copies = [
        Document(
            id=f"notice-{number:02}.txt",
            # White space differs.
            text=NOTICE.replace(" ", "\n" if number % 2 else " "),
            title=f"notice {number}",
            metadata={"team": "quay" if number < 3 else "yard", **({"access": ["staff"]} if number == 1 else {})},
        )
        for number in range(COPIES)
    ]
    others = [
        Document(id="plan.txt", text="The crane is back in June, says the plan.", title="plan"),
        Document(id="other.txt", text="A crane needs a licence.", title="other"),
    ]
    return [*copies, *others]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("copies") / "index"
    return Index.build(documents(), path, embedder=HashingEmbedder(), progress=False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("k", [1, 2, 3, 200])
def test_a_text_counts_once_and_its_other_places_are_named(index, mode, k, monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.retriever.FUSION_DEPTH", 4)  # copies fill the first rankings
    hits = index.search("crane closed for repair on the north quay", k, mode=mode)
    assert [" ".join(hit.passage.text.split()) == NOTICE for hit in hits] == [True, False, False][: len(hits)]
    assert [hit.rank for hit in hits] == [1, 2, 3][: min(k, 3)]
    names = {hits[0].passage.id, *hits[0].also_in}
    assert names == {index.passages_of(f"notice-{number:02}.txt")[0].id for number in range(COPIES)}
    assert len(hits[0].also_in) == COPIES - 1
    assert all(hit.also_in == () for hit in hits[1:])


@pytest.mark.parametrize("mode", MODES)
def test_copies_that_the_filter_or_the_readers_rights_leave_out_are_not_named(index, mode):
    def places(hit):
        return {name.rpartition("#")[0] for name in (hit.passage.id, *hit.also_in)}

    (hit,) = index.search("crane closed for repair", 3, mode=mode, where={"team": "quay"})
    assert places(hit) == {"notice-00.txt", "notice-01.txt", "notice-02.txt"}
    outside = index.visible_to([])
    assert "notice-01.txt" not in places(outside.search("crane closed for repair", 3, mode=mode)[0])
    (hit,) = outside.search("crane closed for repair", 3, mode=mode, where={"team": "quay"})
    assert places(hit) == {"notice-00.txt", "notice-02.txt"}


def test_langchain_documents_name_the_other_places(index):
    found = index.as_retriever(k=1).invoke("crane closed for repair")[0]
    assert len(found.metadata["also_in"]) == COPIES - 1


def test_the_keys_of_equal_texts_are_verified(index, tmp_path):
    assert index.verify().ok
    copy = tmp_path / "copy"
    index.save(copy)
    again = Index.load(copy, embedder=HashingEmbedder())
    assert again.search("crane closed", 2, mode="bm25") == index.search("crane closed", 2, mode="bm25")
    again._generation.text_keys = again._generation.text_keys[::-1]
    from rag_ft.indexing.verify import _check_passages

    assert not _check_passages(again._generation).ok


def former(path):
    """Turn an index into one that was made before texts were normalised and copies were known."""
    generation = path / "generations" / json.loads((path / "manifest.json").read_bytes())["generation"]
    from rag_ft.checksums import sha256_of
    from rag_ft.indexing.storage.bm25 import Bm25Index
    from rag_ft.indexing.storage.table import passage_texts

    manifest = json.loads((path / "manifest.json").read_bytes())
    table = Index.load(path).entries()
    Bm25Index.build(passage_texts(generation / "passages.jsonl", table, 2), 2).save(generation / "bm25")
    (generation / TEXT_KEYS).unlink()
    del manifest["files"][TEXT_KEYS]
    for name, entry in manifest["files"].items():
        entry["size"] = (generation / name).stat().st_size
        entry["sha256"] = sha256_of(generation / name)
    manifest["format"] = 2
    manifest["chunking"]["rules"] = 2
    prints = [row.fingerprint for row in table]
    manifest["fingerprint"] = index_fingerprint(prints, manifest["embedder"]["fingerprint"], manifest["chunking"])
    manifest.pop("checksum")
    manifest["checksum"] = content_checksum(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_an_index_made_before_works_and_is_made_again_at_its_next_build(tmp_path, caplog):
    path = tmp_path / "index"
    source = [
        Document(id="a", text="Call getCraneLoad first.", title="a"),
        Document(id="b", text="Call getCraneLoad first.", title="b"),
        Document(id="c", text="Another text.", title="c"),
    ]

    def build():
        chunking = ChunkingConfig(max_tokens=40)
        return Index.build(source, path, embedder=HashingEmbedder(), chunking=chunking, progress=False)

    build()
    former(path)
    old = Index.load(path, embedder=HashingEmbedder())
    assert old.verify().ok
    assert old.passage(0).kind == "prose" and old.chunking.rules == 2
    assert [hit.passage.document_id for hit in old.search("getcraneload", 3, mode="bm25")] == ["a", "b"]
    assert old.search("crane", 3, mode="bm25") == []
    assert [hit.passage.document_id for hit in old.visible_to([]).search("getcraneload", 3, mode="bm25")] == ["a", "b"]
    assert len(old.search("getcraneload", 3, mode="blend")) == 3
    old.add([Document(id="d", text="Call getCraneLoad twice. ﬁle", title="d")], progress=False)
    assert old.manifest.rules == 2 and old.verify().ok
    assert old.search("crane", 3, mode="bm25") == []
    new = build()
    assert f"made again by rules {CHUNKING_RULES}" in caplog.text
    assert new.build_report.passages_embedded == 0  # the texts are the same
    assert [(hit.passage.document_id, hit.also_in) for hit in new.search("crane", 3, mode="bm25")] == [
        ("a", ("b#0-24",))
    ]
    assert new.verify().ok
