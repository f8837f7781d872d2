"""Files kept beside an index: there with their document, gone with it."""

import hashlib
import os
from pathlib import Path

import pytest
from fakes import HashingEmbedder
from small_indexes import CHUNKING

from rag_ft.errors import CorpusError, UsageError
from rag_ft.indexing.building.builder import GenerationBuilder
from rag_ft.indexing.index import Index
from rag_ft.indexing.sources.events import ReadDocument
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.storage.originals import Originals
from rag_ft.schema import Document

HTML = b"<p>The crane lifts forty-two tonnes.</p>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "crane.html").write_bytes(HTML)
    (folder / "deep" / "copy.html").write_bytes(HTML)
    (folder / "lock.txt").write_text("The lock opens at noon.")
    (folder / "lines.jsonl").write_text('{"text": "A line of many."}\n')
    return folder


def build(folder, path, keep=True):
    return Index.build(folder, path, embedder=HashingEmbedder(), chunking=CHUNKING, progress=False, keep_originals=keep)


def kept(path):
    return sorted(file.name for file in (path / "originals").iterdir()) if (path / "originals").exists() else []


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_files_are_kept_by_content_and_found_by_document(folder, path):
    index = build(folder, path)
    assert kept(path) == sorted([sha(HTML), sha(b"The lock opens at noon.")])
    original = index.original("deep/copy.html")
    assert original.path.read_bytes() == HTML and original.name == "copy.html"
    assert index.original("lines.jsonl:1") is None
    report = index.verify()
    assert report.ok and any("3 documents have their original" in check.detail for check in report.checks)


def test_nothing_is_kept_unless_it_is_asked_for(folder, path):
    index = build(folder, path, keep=False)
    assert index.original("lock.txt") is None and not (path / "originals").exists()


def test_a_build_adds_them_and_a_build_without_the_option_removes_them(folder, path):
    before = build(folder, path, keep=False)
    index = build(folder, path)
    assert len(kept(path)) == 2 and index.build_report.unchanged == 4 and index.build_report.passages_embedded == 0
    assert index.fingerprint == before.fingerprint
    generation = index.manifest.generation
    assert build(folder, path).manifest.generation == generation
    build(folder, path, keep=False)
    assert not (path / "originals").exists()


def test_an_original_goes_with_the_last_document_that_has_it(folder, path):
    index = build(folder, path)
    index.remove("crane.html")
    assert sha(HTML) in kept(path)
    index.remove("deep/copy.html")
    assert kept(path) == [sha(b"The lock opens at noon.")]
    assert index.verify(absent=str(folder / "crane.html")).ok


def test_a_changed_file_takes_its_former_original_away(folder, path):
    build(folder, path)
    (folder / "lock.txt").write_text("The lock opens at one.")
    index = build(folder, path)
    assert index.original("lock.txt").path.read_bytes() == b"The lock opens at one."
    assert sha(b"The lock opens at noon.") not in kept(path)


def test_added_documents_are_kept_only_if_that_is_asked_for(folder, path, tmp_path):
    index = build(folder, path)
    more = tmp_path / "more.txt"
    more.write_text("The quay is open.")
    index.add(more, progress=False)
    assert index.original("more.txt") is None and len(kept(path)) == 2
    index.add(more, progress=False, keep_originals=True)
    assert index.original("more.txt").path.read_bytes() == b"The quay is open."
    document = ReadDocument(Document(id="u.txt", text="Up."), original=Original.of_bytes(b"Up."))
    index.add([document], progress=False, keep_originals=True)
    assert index.original("u.txt").path.read_bytes() == b"Up." and index.verify().ok


def test_a_document_that_can_no_longer_be_read_keeps_its_original(folder, path):
    build(folder, path)
    (folder / "lock.txt").write_text("  ")
    index = build(folder, path)
    assert index.build_report.kept == ("lock.txt",)
    assert index.original("lock.txt").path.read_bytes() == b"The lock opens at noon."


def test_damage_is_found_and_repaired(folder, path):
    index = build(folder, path)
    (path / "originals" / sha(HTML)).write_bytes(HTML + b" ")
    report = index.verify()
    assert [check.name for check in report.checks if not check.ok] == ["originals"]
    index = build(folder, path)
    assert index.verify().ok
    (path / "originals" / sha(HTML)).unlink()
    assert index.original("crane.html") is None and not index.verify().ok
    assert build(folder, path).original("crane.html").path.read_bytes() == HTML


def test_what_a_killed_build_left_is_removed_and_what_others_put_there_stays(folder, path):
    index = build(folder, path)
    (path / "originals" / ("0" * 64)).write_bytes(b"left")
    (path / "originals" / ("0" * 64 + ".01234567.tmp")).write_bytes(b"left")
    (path / "originals" / "mine.txt").write_bytes(b"mine")
    assert not index.verify().ok
    build(folder, path)
    assert len(kept(path)) == 3 and (path / "originals" / "mine.txt").exists()


def test_a_failed_build_leaves_no_new_original(folder, path, tmp_path, monkeypatch):
    build(folder, path)
    before = kept(path)
    (folder / "new.txt").write_text("Something new.")

    def fails(*args, **settings):
        raise CorpusError("stop here")

    monkeypatch.setattr("rag_ft.indexing.building.builder.GenerationBuilder.write", fails)
    with pytest.raises(CorpusError):
        build(folder, path)
    assert kept(path) == before


def test_a_file_that_changed_after_it_was_read_is_not_kept(tmp_path, caplog):
    file = tmp_path / "a.txt"
    file.write_text("new")
    originals = Originals(tmp_path)
    assert not originals.keep(Original(sha(b"old"), file))
    assert not [*originals.folder.iterdir()] and "changed while it was read" in caplog.text


def test_a_file_that_is_gone_after_it_was_read_is_told_and_the_build_goes_on(folder, path, caplog, monkeypatch):
    """Files are read ahead of those whose originals are copied."""
    take = GenerationBuilder.take

    def taken(builder, document, *arguments):
        if document.id == "lock.txt":
            (folder / "lock.txt").unlink()
        take(builder, document, *arguments)

    monkeypatch.setattr(GenerationBuilder, "take", taken)
    index = build(folder, path)
    assert kept(path) == [sha(HTML)] and "cannot be opened any more" in caplog.text
    assert index.document("lock.txt").text and index.original("lock.txt") is None


def test_a_copy_of_the_index_has_them_too(folder, path, tmp_path):
    index = build(folder, path)
    index.save(tmp_path / "copy")
    copy = Index.load(tmp_path / "copy", embedder=HashingEmbedder())
    assert copy.original("crane.html").path.read_bytes() == HTML and copy.verify().ok


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_a_link_in_place_of_the_folder_is_refused(folder, path, tmp_path):
    build(folder, path)
    elsewhere = tmp_path / "elsewhere"
    (path / "originals").rename(elsewhere)
    (path / "originals").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a link"):
        build(folder, path)
