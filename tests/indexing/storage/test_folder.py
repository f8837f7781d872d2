from __future__ import annotations

import json

import pytest
from attacks import attack

from rag_ft.errors import UsageError
from rag_ft.indexing.storage.folder import (
    MARK,
    check_may_write,
    content_checksum,
    holds_index,
    is_generation,
    is_marked,
    is_name,
    mark,
    remove_generation,
    remove_journal,
)

HEX = "0123456789abcdef"
attacks = attack("index")


@pytest.mark.parametrize("name", list(attacks.layouts()))
def test_no_build_touches_what_a_user_has_in_the_folder_or_behind_its_links(tmp_path, name):
    assert attacks.attack_layout(tmp_path, attacks.layouts()[name], changes=["build"]) == ""


@pytest.mark.parametrize("change", ["save", "add", "remove"])
@pytest.mark.parametrize(
    "name", ["an index, a folder in generations", "an index, a file in its generation", "generations with a file"]
)
def test_no_other_change_touches_them_either(tmp_path, name, change):
    assert attacks.attack_layout(tmp_path, attacks.layouts()[name], True, changes=[change]) == ""


@pytest.mark.parametrize("name", ["", "../../data", "0123456789ABCDEF", f"{HEX}0", f"{HEX}\n", HEX[1:], f"{HEX[1:]}g"])
def test_only_sixteen_hex_digits_name_a_generation(name):
    assert is_name(HEX) and not is_name(name)


def test_a_link_is_no_generation(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / HEX).symlink_to(tmp_path / "real")
    assert not is_generation(tmp_path / HEX)
    remove_generation(tmp_path / HEX, inside=tmp_path)
    assert (tmp_path / HEX).is_symlink() and (tmp_path / "real").is_dir()


def test_a_folder_is_an_index_by_its_mark_its_manifest_or_its_generations(tmp_path):
    names = ("marked", "signed", "generations", "nothing", "named")
    marked, signed, generations, nothing, named = (tmp_path / name for name in names)
    for folder in (marked, signed, nothing):
        folder.mkdir()
    mark(marked)
    content = {"format": 1, "generation": HEX}
    (signed / "manifest.json").write_text(json.dumps(content | {"checksum": content_checksum(content)}))
    (generations / "generations" / HEX).mkdir(parents=True)
    (generations / "generations" / HEX / "table.jsonl").write_text("")
    (named / "generations" / HEX).mkdir(parents=True)
    (named / "generations" / HEX / "photo.jpg").write_text("mine")
    (named / "manifest.json").write_text('{"name": "site"}')
    assert [holds_index(tmp_path / name) for name in names] == [True, True, True, False, False]
    assert not holds_index(tmp_path / "absent")


def test_an_unfinished_index_from_before_the_mark_may_be_built_again(tmp_path):
    (tmp_path / "generations" / HEX / "bm25").mkdir(parents=True)
    (tmp_path / "generations" / HEX / "staged-passages.tmp").write_text("text")
    (tmp_path / ".journal" / HEX).mkdir(parents=True)
    (tmp_path / ".journal" / HEX / f"block-000000-{'a' * 32}.npy").write_text("")
    (tmp_path / ".lock").touch()
    check_may_write(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 99, b"[" * 90_000, b'{"format": 2', b"\xff"])
def test_an_index_from_before_the_mark_with_a_damaged_manifest_may_be_built_again(tmp_path, content):
    attacks.build(tmp_path / "index", 3)
    (tmp_path / "index" / MARK).unlink()
    (tmp_path / "index" / "manifest.json").write_bytes(content)
    (tmp_path / "index" / "notes.txt").write_text("mine")
    assert attacks.build(tmp_path / "index", 3).verify().ok
    assert is_marked(tmp_path / "index") and (tmp_path / "index" / "notes.txt").read_text() == "mine"
    assert len([*(tmp_path / "index" / "generations").iterdir()]) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("generations/notes.txt", r"holds other files \(generations/notes.txt\): give a new or empty folder"),
        (f"generations/{HEX}/photo.jpg", rf"holds other files \(generations/{HEX}/photo.jpg\)"),
        (".journal/mine/photo.jpg", r"holds other files \(.journal/mine\)"),
        ("manifest.json", r"holds other files \(manifest.json\)"),
        (".lock", r"\.lock is not empty"),
    ],
)
def test_a_folder_of_others_is_refused_by_name_before_anything_is_written(tmp_path, name, says):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = attacks.tree(tmp_path)
    with pytest.raises(UsageError, match=says):
        attacks.build(tmp_path, 2)
    assert attacks.tree(tmp_path) == before


def test_what_is_not_ours_in_an_index_is_told_and_stays(tmp_path, caplog):
    attacks.build(tmp_path, 2)
    notes = tmp_path / "generations" / "notes.txt"
    notes.write_text("mine")
    index = attacks.build(tmp_path, 3)
    assert f"rag_ft did not write {notes} and leaves it alone" in caplog.text
    (leftovers,) = [check for check in index.verify().checks if check.name == "leftovers"]
    assert leftovers.ok and str(notes) in leftovers.detail


def test_all_that_is_ours_goes_from_a_folder_that_others_use_too(tmp_path):
    generation = tmp_path / HEX
    (generation / "bm25").mkdir(parents=True)
    for name in ("documents.jsonl", "bm25/vocab.index.json", "photo.jpg"):
        (generation / name).write_text("text")
    remove_generation(generation, inside=tmp_path)
    assert [path.name for path in generation.rglob("*")] == ["photo.jpg"]
    journal = tmp_path / ".journal"
    for part in (HEX, HEX[::-1]):
        (journal / part).mkdir(parents=True)
        (journal / part / "block-01234567.tmp").write_text("text")
    (journal / HEX / "photo.jpg").write_text("mine")
    remove_journal(journal, inside=tmp_path, keep=HEX)
    assert [path.name for path in journal.iterdir()] == [HEX] and len([*(journal / HEX).iterdir()]) == 2
    remove_journal(journal, inside=tmp_path)
    assert [path.name for path in (journal / HEX).iterdir()] == ["photo.jpg"]
