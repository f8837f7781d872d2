from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import HashingEmbedder

from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.manifest import VerifyReport
from rag_ft.indexing.storage.store import IndexStore, open_generation
from rag_ft.schema import Document

FOOTER = "This page is the property of the company and is not to be copied."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "hr").mkdir(parents=True)
    (folder / "hr" / "pay.md").write_text(
        f'# Pay\n\nThe director earns "ninety" thousand a year — naïvely.\n\nBonuses are paid in June.\n\n{FOOTER}\n',
        encoding="utf-8",
    )
    (folder / "coffee.md").write_text(f"# Coffee\n\nCoffee for guests is ordered a day before.\n\n{FOOTER}\n")
    (folder / "servers.md").write_text("# Servers\n\nThe guard locks the server room at night. See hr/pay.md.\n")
    return folder


@pytest.fixture
def index(folder: Path, tmp_path: Path) -> Index:
    return Index.build(
        folder,
        tmp_path / "index",
        embedder=HashingEmbedder(),
        chunking=ChunkingConfig(max_tokens=24),
        progress=False,
    )


def failed(report: VerifyReport) -> list[str]:
    assert report.ok == all(check.ok for check in report.checks)
    return [check.name for check in report.checks if not check.ok]


def test_a_sound_index_passes_every_check(index):
    report = index.verify()
    assert failed(report) == []
    assert [check.name for check in report.checks] == [
        "files",
        "counts",
        "passages",
        "places",
        "vectors",
        "words",
        "fingerprint",
        "originals",
        "feedback",
        "embedder",
        "leftovers",
    ]


def test_checks_are_logged_one_by_one(index, caplog):
    caplog.set_level("INFO", "rag_ft.indexing.verify")
    report = index.verify()
    assert caplog.messages == [f"ok: {check.name}: {check.detail}" for check in report.checks]


def test_a_document_that_is_there_is_not_absent(index, folder):
    assert failed(index.verify("hr/pay.md")) == ["absent: records", "absent: files"]
    by_path = failed(index.verify(str(folder / "hr" / "pay.md")))
    assert "absent: sentences" in by_path


def test_a_removed_document_is_proven_absent_by_id_and_by_its_file(index, folder):
    index.remove("hr/pay.md")
    assert failed(index.verify("hr/pay.md")) == []
    report = index.verify(str(folder / "hr" / "pay.md"))
    assert failed(report) == []
    details = {check.name: check.detail for check in report.checks}
    assert "more are in other documents that remain (coffee.md)" in details["absent: sentences"]
    assert details["absent: vectors"].startswith("none of its")


def test_nothing_of_a_removed_document_is_left_in_any_file(index):
    index.remove("hr/pay.md")
    for path in index.path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in (b"ninety", b"thousand", b"director", b"Bonuses", b"bonus", "naïv".encode()):
            assert secret not in content.lower(), path


def test_its_words_no_longer_find_anything(index):
    assert index.search("bonuses of the director", 9, mode="bm25")
    index.remove("hr/pay.md")
    assert index.search("bonuses director ninety thousand", 9, mode="bm25") == []


def test_a_document_that_was_never_there_is_absent(index):
    assert failed(index.verify("no-such.md")) == []


def test_a_name_that_is_neither_a_document_nor_a_file_is_not_proven_in_silence(index, folder):
    def told(absent):
        return {check.name: (check.ok, check.detail) for check in index.verify(absent).checks[-4:]}

    assert told("pey.md")["absent: sentences"] == (True, "not searched: no file at pey.md")
    assert told("pey.md")["absent: name"] == (True, "no document's id ends in 'pey.md'")
    for slip in ("pay.md", "docs/hr/pay.md"):
        ok, detail = told(slip)["absent: name"]
        assert not ok and detail.startswith("'hr/pay.md' ends in the same file name: pass that id if you meant it")
    (folder / "picture.png").write_bytes(b"x")
    assert "is of a kind that is not read" in told(str(folder / "picture.png"))["absent: sentences"][1]


def test_the_file_of_documents_with_ids_of_their_own_is_known_where_it_is_gone(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"id": "fox", "text": "The fox is quick."}\n{"id": "dog", "text": "A dog."}\n')
    index = Index.build(tmp_path / "d.jsonl", tmp_path / "i", embedder=HashingEmbedder(), progress=False)
    (tmp_path / "d.jsonl").unlink()
    index.remove("fox")
    assert failed(index.verify("d.jsonl")) == ["absent: records", "absent: files"]
    details = {check.name: check.detail for check in index.verify("d.jsonl").checks}
    assert details["absent: records"] == "'d.jsonl' is the file of 'dog', with 1 passages"
    index.remove("dog")
    assert failed(index.verify("d.jsonl")) == []


def test_sentences_are_searched_for_in_a_text_without_spaces(index, folder):
    text = (
        "第一条规定员工必须在每天早上九点以前到达办公室并且在系统里登记。"
        "第二条规定经理每个月要检查一次所有登记并且写一份报告。"
    )
    (folder / "zh.txt").write_text(text, encoding="utf-8")
    index.add([Document(id="other", text=text.replace("第一条", "首条"))], progress=False)
    assert "absent: sentences" in failed(index.verify(str(folder / "zh.txt")))


def test_a_copy_under_another_name_is_found_by_its_sentences_and_named(index, folder):
    text = (folder / "hr" / "pay.md").read_text(encoding="utf-8")
    (folder / "copy.md").write_text(text, encoding="utf-8")
    index.add(folder / "copy.md", progress=False)
    index.remove("hr/pay.md")
    report = index.verify(str(folder / "hr" / "pay.md"))
    details = {check.name: check.detail for check in report.checks if not check.ok}
    assert [*details] == ["absent: sentences"]
    assert "are in the document 'copy.md': remove that too" in details["absent: sentences"]


def test_leftovers_with_the_document_are_found(index, folder):
    generation = IndexStore(index.path).generations
    (kept,) = generation.iterdir()
    shutil.copytree(kept, generation / "ffffffffffffffff")
    index.remove("hr/pay.md")
    assert failed(index.verify(str(folder / "hr" / "pay.md"))) == []
    stale = index.path / ".journal" / "0123456789abcdef"
    stale.mkdir(parents=True)
    (stale / "block-01234567.tmp").write_text('{"id":"hr/pay.md","text":"Bonuses are paid in June."}')
    assert failed(index.verify("hr/pay.md")) == ["leftovers", "absent: files"]
    assert failed(index.verify(str(folder / "hr" / "pay.md"))) == ["leftovers", "absent: sentences"]


def test_files_that_do_not_belong_together_are_noticed_even_with_right_checksums(index, monkeypatch):
    """As a program error would leave them: every checksum holds, the contents contradict each other."""
    generation = open_generation(IndexStore(index.path), verify="full")
    monkeypatch.setattr("rag_ft.indexing.verify.open_generation", lambda *_, **__: generation)

    def only(name: str) -> None:
        assert failed(index.verify()) == [name]

    with monkeypatch.context() as patched:
        patched.setattr(generation, "keys", np.zeros_like(generation.keys))
        only("vectors")
    with monkeypatch.context() as patched:
        patched.setattr(generation.vectors, "vectors", generation.vectors.vectors * 2)
        only("vectors")
    with monkeypatch.context() as patched:
        from rag_ft.indexing.storage.bm25 import Bm25Index

        patched.setattr(generation, "bm25", Bm25Index.build(["other words"] * len(generation)))
        only("words")
    with monkeypatch.context() as patched:
        wrong = generation.manifest.model_copy(update={"fingerprint": "0" * 64})
        patched.setattr(generation, "manifest", wrong)
        only("fingerprint")


def test_another_embedder_is_noticed(index):
    index._embedder = HashingEmbedder(salt="other")
    assert failed(index.verify()) == ["embedder"]
