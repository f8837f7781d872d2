import os

from read_documents import read, reasons

from rag_ft.indexing.storage.folder import mark


def test_a_folder_is_read_in_order_and_says_what_it_leaves_out(tmp_path):
    for name in ("b.txt", "a/z.md", "a/picture.png", ".hidden.txt", ".git/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Text.")
    documents, contents = read(tmp_path)
    assert list(documents) == ["b.txt", "a/z.md"]
    assert {os.path.basename(skip.source) for skip in contents.skipped} == {"picture.png", ".hidden.txt", ".git"}


def test_an_index_inside_the_folder_is_not_read(tmp_path):
    for name in ("a.txt", "index/x.txt", "other/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Text.")
    mark(tmp_path / "index")
    assert list(read(tmp_path)[0]) == ["a.txt", "other/b.txt"]
    assert list(read(tmp_path, exclude=[tmp_path / "other"])[0]) == ["a.txt"]


def test_a_folder_with_the_names_of_an_index_is_read_where_no_index_is(tmp_path):
    for name in ("a.txt", "site/generations/x.txt", "site/manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}" if name.endswith("json") else "Text.")
    assert list(read(tmp_path)[0]) == ["a.txt", "site/generations/x.txt"]


def test_symlink_loops_end_and_no_file_is_read_twice(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("Text.")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again.txt").symlink_to(tmp_path / "a" / "x.txt")
    (tmp_path / "self.txt").symlink_to(tmp_path / "self.txt")
    documents, contents = read(tmp_path)
    assert [*documents] == ["a/x.txt"]
    assert reasons(contents) == ["is a link that leads nowhere"]
    assert {skip.source: skip.reason for skip in contents.skipped} == {
        str(tmp_path / "a" / "up"): f"is a link to {tmp_path}, which is read itself",
        str(tmp_path / "again.txt"): f"is a link to {tmp_path / 'a' / 'x.txt'}, which is read itself",
    }


def test_a_file_has_its_own_name_and_that_of_a_link_only_where_its_own_is_not_read(tmp_path):
    root, outside = tmp_path / "docs", tmp_path / "outside"
    for file in (root / "z" / "real.txt", root / ".data" / "page.md", root / "page.bin", outside / "far.txt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("Text.")
    (root / "a.txt").symlink_to("z/real.txt")
    (root / "b").symlink_to("z", target_is_directory=True)
    (root / "c").symlink_to(outside, target_is_directory=True)
    (root / "d").symlink_to(outside, target_is_directory=True)
    (root / "page.md").symlink_to(".data/page.md")  # as Kubernetes mounts configuration
    (root / "other.md").symlink_to("page.bin")
    documents, contents = read(root)
    assert [*documents] == ["other.md", "page.md", "c/far.txt", "z/real.txt"] and contents.failures == []
    assert sorted(os.path.relpath(skip.source, root) for skip in contents.skipped) == [
        ".data",
        "a.txt",
        "b",
        "d",
        "page.bin",
    ]
    (tmp_path / "way").symlink_to(root, target_is_directory=True)
    assert [*read(tmp_path / "way")[0]] == [*documents]
