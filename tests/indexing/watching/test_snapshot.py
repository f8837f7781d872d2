"""What a look at a folder sees: the files that a build would read."""

from __future__ import annotations

import os

from fakes import HashingEmbedder

from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.index import Index
from rag_ft.indexing.sources.events import ReadDocument
from rag_ft.indexing.watching.snapshot import snapshot_of


def files(folder, exclude=None):
    return {name for name in snapshot_of(folder, exclude or folder / "index").files if not os.path.isabs(name)}


def test_the_files_are_those_that_a_build_reads(tmp_path):
    folder = tmp_path / "docs"
    for name in ("a.md", "deep/b.txt", "deep/deeper/c.HTML", ".hidden.md", ".git/d.md", "e.exe", "~$f.docx", "g.md~"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("<p>Some words.</p>")
    Index.build(folder / "deep", folder / "index", embedder=HashingEmbedder(), progress=False)
    Index.build(folder / "deep", folder / "other-index", embedder=HashingEmbedder(), progress=False)
    read = {event.file for event in read_corpus(folder).events() if isinstance(event, ReadDocument)}
    assert files(folder) == read == {"a.md", "deep/b.txt", "deep/deeper/c.HTML"}


def test_links_are_followed_and_a_circle_ends(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.md").write_text("a")
    (tmp_path / "docs" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "docs" / "circle").symlink_to(tmp_path / "docs")
    (tmp_path / "docs" / "nowhere.md").symlink_to(tmp_path / "nothing.md")
    assert files(tmp_path / "docs") == {"link/a.md"}


def test_rules_of_access_count_also_those_of_folders_above(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("a")
    before = snapshot_of(tmp_path / "docs", tmp_path / "index")
    (tmp_path / "access.toml").write_text("[access]\n")
    above = snapshot_of(tmp_path / "docs", tmp_path / "index")
    (tmp_path / "docs" / "access.toml").write_text("[access]\n")
    inside = snapshot_of(tmp_path / "docs", tmp_path / "index")
    assert before.files != above.files != inside.files


def test_a_change_of_content_size_or_file_shows(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("one")
    first = snapshot_of(tmp_path, tmp_path / "index")
    path.write_text("two")
    second = snapshot_of(tmp_path, tmp_path / "index")
    (tmp_path / "new.md").write_text("two")
    os.replace(tmp_path / "new.md", path)
    third = snapshot_of(tmp_path, tmp_path / "index")
    assert first.files != second.files != third.files
    assert third.files == snapshot_of(tmp_path, tmp_path / "index").files


def test_a_folder_that_is_not_there_is_told_from_an_empty_one(tmp_path):
    assert not snapshot_of(tmp_path / "nothing", tmp_path / "index").is_there
    empty = snapshot_of(tmp_path, tmp_path / "index")
    assert empty.is_there and not empty.has_documents


def test_a_folder_on_another_device_is_a_mount(tmp_path, monkeypatch):
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / "a.md").write_text("a")
    assert snapshot_of(tmp_path, tmp_path / "index").mounts == set()
    real = os.stat

    def other_device(path, *arguments, **options):
        status = real(path, *arguments, **options)
        if os.fspath(path) == os.fspath(tmp_path):
            values = list(status)
            values[2] += 1
            return os.stat_result(values)
        return status

    monkeypatch.setattr(os, "stat", other_device)
    assert snapshot_of(tmp_path, tmp_path / "index").mounts == {"nas"}
