from __future__ import annotations

import pytest
from fakes import HashingEmbedder
from small_indexes import DOCUMENTS, build, same

from rag_ft.errors import IndexStoreError
from rag_ft.indexing.index import Index


def test_save_copies_the_index_and_replaces_another(path):
    index = build(DOCUMENTS, path)
    other = path.parent / "other"
    build(DOCUMENTS[:1], other)
    index.save(other)
    same(index, Index.load(other, embedder=HashingEmbedder(), verify="full"))
    index.save(other)
    index.save(path)
    assert len([*(other / "generations").iterdir()]) == 1


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
