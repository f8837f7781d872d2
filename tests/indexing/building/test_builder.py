from __future__ import annotations

import json

import numpy as np
import pytest
from fakes import HashingEmbedder
from small_indexes import CHUNKING, DOCUMENTS, as_format_1, build, document, lines, same

from rag_ft.errors import IndexMismatchError, IndexStoreError
from rag_ft.indexing.building.builder import GenerationBuilder
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.folder import FORMAT, content_checksum
from rag_ft.indexing.storage.manifest import index_fingerprint
from rag_ft.schema import Document


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


def test_half_a_surrogate_pair_is_a_failure_that_names_the_document(path):
    broken = Document(id="x", text="abc \ud800 def", source="x.txt")
    named = Document(id="y", text="abc", source="\ud800.txt")
    index = build([broken, named, DOCUMENTS[0]], path)
    assert [*index.documents()] == ["a.md"]
    assert [failure.source for failure in index.build_report.failures] == ["x.txt", "\\ud800.txt"]
    assert index.build_report.model_dump_json()
    assert "half of a surrogate pair" in index.build_report.failures[0].reason


def test_an_embedder_that_gives_nonsense_is_an_error(path):
    class Broken(HashingEmbedder):
        def encode_passages(self, texts, *, progress=False):
            return np.full((len(texts), self.dimension), np.nan, dtype=np.float32)

    with pytest.raises(IndexMismatchError, match="not finite"):
        build(DOCUMENTS, path, Broken())


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
    assert index.manifest.format == FORMAT and index.verify().ok
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
