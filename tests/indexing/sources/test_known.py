"""Builds of a folder of which only the changed files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes import HashingEmbedder

from rag_ft.indexing.index import Index
from rag_ft.indexing.sources.file import SourceFile
from rag_ft.indexing.sources.known import KnownFiles

EMBEDDER = HashingEmbedder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for name in "abc":
        (tmp_path / "docs" / f"{name}.md").write_text(f"# Title {name}\n\nThe text of {name}.\n")
    return tmp_path / "docs"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read since the list was last cleared."""
    names: list[str] = []
    events = SourceFile.events

    def recorded(file: SourceFile, worker):
        names.append(file.name)
        yield from events(file, worker)

    monkeypatch.setattr(SourceFile, "events", recorded)
    return names


def build(folder: Path, known: KnownFiles | None, name: str = "index", **options) -> Index:
    return Index.build(folder, folder.parent / name, embedder=EMBEDDER, progress=False, known_files=known, **options)


def same(folder: Path, index: Index) -> None:
    """The index equals one that was built from nothing."""
    fresh = build(folder, None, "fresh")
    assert index.fingerprint == fresh.fingerprint
    assert [*index.entries()] == [*fresh.entries()]
    assert [*index.passages()] == [*fresh.passages()]


def test_only_files_that_changed_are_read(folder, read):
    known = KnownFiles()
    build(folder, known)
    assert sorted(read) == ["a.md", "b.md", "c.md"]
    read.clear()
    (folder / "b.md").write_text("# Title b\n\nAnother text.\n")
    (folder / "c.md").unlink()
    (folder / "d.md").write_text("A new one.\n")
    index = build(folder, known)
    assert sorted(read) == ["b.md", "d.md"]
    report = index.build_report
    assert (report.added, report.changed, report.removed, report.unchanged) == (("d.md",), ("b.md",), ("c.md",), 1)
    same(folder, index)


def test_nothing_is_written_when_nothing_changed(folder, read):
    known = KnownFiles()
    first = build(folder, known)
    read.clear()
    second = build(folder, known)
    assert read == [] and second.manifest.generation == first.manifest.generation


def test_a_touched_file_is_read_and_found_unchanged(folder, read):
    known = KnownFiles()
    build(folder, known)
    read.clear()
    os.utime(folder / "a.md", (1, 1))
    index = build(folder, known)
    assert read == ["a.md"] and index.build_report.unchanged == 3


def test_a_file_of_equal_size_and_time_that_replaces_another_is_read(folder, read):
    known = KnownFiles()
    build(folder, known)
    status = (folder / "a.md").stat()
    text = (folder / "a.md").read_text().replace("text", "TEXT")
    (folder / "new").write_text(text)
    os.utime(folder / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(folder / "new", folder / "a.md")
    assert build(folder, known).build_report.changed == ("a.md",)


def test_rules_of_access_take_effect_although_no_document_changed(folder, read, caplog):
    known = KnownFiles()
    build(folder, known)
    read.clear()
    (folder / "access.toml").write_text('[access]\n"b.md" = ["board"]\n')
    index = build(folder, known)
    assert read == ["b.md"]
    assert [*index.visible_to(["staff"]).documents()] == ["a.md", "c.md"]
    read.clear()
    index = build(folder, known)
    assert read == [] and "matches no document" not in caplog.text
    (folder / "access.toml").unlink()
    index = build(folder, known)
    assert [*index.visible_to(["staff"]).documents()] == ["a.md", "b.md", "c.md"]
    same(folder, index)


def test_what_another_process_removed_from_the_index_is_read_again(folder, read):
    known = KnownFiles()
    build(folder, known).remove("b.md")
    read.clear()
    index = build(folder, known)
    assert read == ["b.md"] and [*index.documents()] == ["a.md", "b.md", "c.md"]


def test_everything_is_read_for_passages_of_another_size(folder, read):
    from rag_ft.indexing.chunking import ChunkingConfig

    known = KnownFiles()
    build(folder, known)
    read.clear()
    build(folder, known, chunking=ChunkingConfig(max_tokens=40))
    assert sorted(read) == ["a.md", "b.md", "c.md"]


def test_a_file_that_cannot_be_read_is_named_each_time_and_tried_when_it_changes(folder, read):
    known = KnownFiles()
    (folder / "d.md").write_text(" ")
    reasons = {failure.reason for failure in build(folder, known).build_report.failures}
    read.clear()
    again = build(folder, known)
    assert read == [] and {failure.reason for failure in again.build_report.failures} == reasons
    (folder / "d.md").write_text("Words at last.\n")
    assert build(folder, known).build_report.added == ("d.md",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every file")
def test_a_file_that_may_not_be_opened_is_tried_each_time(folder, read):
    known = KnownFiles()
    (folder / "a.md").chmod(0)
    build(folder, known)
    read.clear()
    build(folder, known)
    assert read == ["a.md"]


def test_two_files_with_documents_of_one_id_are_read_again(folder):
    known = KnownFiles()
    for name in ("x.jsonl", "y.jsonl"):
        (folder / name).write_text(f'{{"id": "same", "text": "From {name}."}}\n')
    build(folder, known)
    (folder / "x.jsonl").unlink()
    index = build(folder, known)
    assert index.document("same").text == "From y.jsonl."
    same(folder, index)


def test_what_is_kept_back_stays_as_it_was_and_is_named(folder, read):
    known = KnownFiles()
    (folder / "nas").mkdir()
    (folder / "nas" / "e.md").write_text("On another drive.\n")
    build(folder, known)
    read.clear()
    (folder / "a.md").write_text("Half a sen")
    (folder / "nas" / "e.md").unlink()
    (folder / "nas").rmdir()
    known.kept_back = {"a.md": "is still being written", "nas": "is no longer mounted"}
    index = build(folder, known)
    assert read == []
    assert index.document("a.md").text == "Title a\n\nThe text of a."
    assert index.document("nas/e.md").text == "On another drive."
    assert {failure.reason for failure in index.build_report.failures} == set(known.kept_back.values())
    known.kept_back = {}
    index = build(folder, known)
    assert [*index.documents()] == ["a.md", "b.md", "c.md"]
    same(folder, index)


def test_a_build_that_was_given_up_is_made_by_the_next(folder, read):
    class GivenUp(BaseException):
        pass

    def give_up():
        taken.append("a file")
        if len(taken) == 3:
            raise GivenUp

    taken, known = [], KnownFiles(give_up)
    with pytest.raises(GivenUp):
        build(folder, known)
    index = build(folder, known)
    same(folder, index)
