from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from attacks import run_attack
from fakes import HashingEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_ft.errors import IndexCorruptError, IndexFormatError, IndexMissingError, IndexStoreError
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.folder import FORMAT, content_checksum
from rag_ft.indexing.storage.store import IndexStore
from rag_ft.schema import Document

CHUNKING = ChunkingConfig(max_tokens=24)


def documents(count: int, version: int = 0) -> list[Document]:
    return [
        Document(
            id=f"doc{number}.md",
            title=f"Title {number}",
            text="\n\n".join(f"Paragraph {part} of {number}, version {version}, on word{part}." for part in range(4)),
        )
        for number in range(count)
    ]


def build(count: int, path: Path, version: int = 0, **options) -> Index:
    return Index.build(
        documents(count, version),
        path,
        embedder=HashingEmbedder(),
        chunking=CHUNKING,
        progress=False,
        **options,
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "index"
    build(5, path, kind="ivf-pq")
    return path


@pytest.fixture
def copy(sound, tmp_path) -> Path:
    shutil.copytree(sound, tmp_path / "index")
    return tmp_path / "index"


def data_files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name not in (".lock", ".rag-ft-index"))


# Damage


def test_no_index_is_an_error_that_says_how_to_make_one(tmp_path):
    with pytest.raises(IndexMissingError, match=r"there is no index at .*nowhere: build one with 'rag-ft index build'"):
        Index.load(tmp_path / "nowhere")


@pytest.mark.parametrize("verify", ["quick", "full", "none"])
def test_every_empty_file_is_an_error_that_names_it(copy, verify):
    for file in data_files(copy):
        content = file.read_bytes()
        file.write_bytes(b"")
        with pytest.raises(IndexCorruptError, match=rf"{file.name} is empty.*build the index again"):
            Index.load(copy, verify=verify)
        file.write_bytes(content)
    Index.load(copy, embedder=HashingEmbedder(), verify=verify)


@pytest.mark.parametrize("verify", ["quick", "full", "none"])
def test_every_truncated_or_missing_file_is_an_error_that_names_it(copy, verify):
    for file in data_files(copy):
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        if file.name != "manifest.json":  # its last byte is a line end
            with pytest.raises(IndexCorruptError, match=f"{file.name} has [0-9,]+ bytes instead of"):
                Index.load(copy, verify=verify)
        file.unlink()
        with pytest.raises((IndexCorruptError, IndexMissingError), match=f"{file.name} is missing|there is no index"):
            Index.load(copy, verify=verify)
        file.write_bytes(content)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_byte_anywhere_is_noticed(copy, data):
    files = data_files(copy)
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    flip = data.draw(st.integers(1, 255))
    before = bytes(content)
    content[place] ^= flip
    file.write_bytes(bytes(content))
    try:
        with pytest.raises(IndexStoreError):
            Index.load(copy, verify="full")
            assert json.loads(bytes(content)) == json.loads(before)  # only white space of the manifest may differ
            raise IndexStoreError
    finally:
        file.write_bytes(before)


def test_quick_loading_notices_an_edited_large_file(copy, monkeypatch):
    monkeypatch.setattr("rag_ft.checksums.REMEMBER_FROM_BYTES", 64)
    Index.load(copy)
    for file in data_files(copy):
        if file.name == "manifest.json":
            continue
        content, status = file.read_bytes(), file.stat()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(IndexCorruptError, match=f"{file.name} was edited or damaged"):
            Index.load(copy)
        file.write_bytes(content)


def test_an_edited_manifest_is_noticed(copy):
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"hashing"', '"hashinG"'))
    for verify in ("quick", "full", "none"):
        with pytest.raises(IndexCorruptError, match=r"manifest.json was edited or damaged"):
            Index.load(copy, verify=verify)


def test_a_manifest_that_is_not_json_is_noticed(copy):
    for content in (b"{", b"[1]", b"\xff\xfe", b"null"):
        (copy / "manifest.json").write_bytes(content)
        with pytest.raises(IndexCorruptError, match="is not the JSON of an index manifest"):
            Index.load(copy)


def test_a_newer_format_asks_for_an_upgrade_and_is_not_overwritten(copy, tmp_path):
    manifest = copy / "manifest.json"
    content = json.loads(manifest.read_text())
    content["format"], content["new_field"] = FORMAT + 1, "?"
    content["checksum"] = content_checksum(content)
    manifest.write_text(json.dumps(content))
    before = manifest.read_bytes()
    with pytest.raises(IndexFormatError, match=rf"is in index format {FORMAT + 1} of a newer rag_ft.*upgrade rag_ft"):
        Index.load(copy)
    files = sorted(copy.rglob("*"))
    with pytest.raises(IndexFormatError):
        build(5, copy)
    with pytest.raises(IndexFormatError, match="upgrade rag_ft"):
        build(5, tmp_path / "other").save(copy)
    assert manifest.read_bytes() == before and sorted(copy.rglob("*")) == files


def test_building_over_a_damaged_index_embeds_everything_again(copy, caplog):
    file = next(copy.rglob("vectors.npy"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    index = build(5, copy)
    assert index.build_report.passages_embedded == len(index)
    assert "vectors.npy was edited or damaged" in caplog.text
    assert index.verify().ok


def test_adding_to_and_removing_from_a_damaged_index_is_refused(copy):
    index = Index.load(copy, embedder=HashingEmbedder())
    file = next(copy.rglob("passages.jsonl"))
    file.write_bytes(file.read_bytes().replace(b"Paragraph 1 of 1", b"Paragraph 7 of 1"))
    with pytest.raises(IndexCorruptError):
        index.add(documents(6), progress=False)
    with pytest.raises(IndexCorruptError):
        index.remove("doc1.md")
    assert index.verify().ok is False


@pytest.mark.parametrize("line", [b"null", b"[" * 90_000, b"\xff", b'{"start": -1}', b'{"id": 3}', b"9" * 5000])
def test_a_line_that_is_damaged_while_the_index_is_open_is_one_error(copy, line):
    """As by an editor that writes in place: the checksums were compared long before."""
    index = Index.load(copy, embedder=HashingEmbedder())
    generation = index._generation
    for lines in (generation.passages, generation.documents):
        size = int(lines.lengths(0, 1)[0])
        data = bytearray(lines._data)
        data[:size] = line[: size - 1].ljust(size - 1) + b"\n"
        lines._data = bytes(data)
    reads = [
        lambda: index.passage(0),
        lambda: index.passages_of("doc0.md"),
        lambda: index.document("doc0.md"),
        lambda: [*index.passages()],
        lambda: index.search("paragraph", 99, mode="dense"),
        lambda: index.search("paragraph", 99, mode="bm25"),
    ]
    for read in reads:
        with pytest.raises(IndexCorruptError, match=r"(passages|documents).jsonl .*build the index again"):
            read()


def test_postings_that_lead_beyond_the_passages_are_an_error_of_the_index(copy):
    index = Index.load(copy, embedder=HashingEmbedder(), mmap=False)
    index._generation.bm25._index.scores["indices"] += 1000
    with pytest.raises(IndexCorruptError, match="bm25 cannot be read"):
        index.search("paragraph", 3, mode="bm25")


def test_a_pipe_or_a_link_in_place_of_a_part_is_an_error_and_not_waited_for(copy):
    (generation,) = (copy / "generations").iterdir()
    (generation / "keys.npy").unlink()
    os.mkfifo(generation / "keys.npy")
    with pytest.raises(IndexCorruptError, match=r"keys.npy is not a file"):
        Index.load(copy)
    generation.rename(copy / "moved")
    generation.symlink_to(copy / "moved", target_is_directory=True)
    with pytest.raises(IndexCorruptError, match="is a link or a file where a folder was written"):
        Index.load(copy)


def test_what_cannot_be_opened_again_is_never_committed(copy, monkeypatch):
    before = Index.load(copy).manifest
    monkeypatch.setattr("rag_ft.indexing.building.writer.save_array", lambda path, array: np.save(path, array[:-1]))
    with pytest.raises(IndexCorruptError, match=r"do not belong together|does not have the length"):
        build(7, copy)
    assert Index.load(copy, verify="full").manifest == before
    assert len([*(copy / "generations").iterdir()]) == 1


def test_nothing_in_an_index_is_a_pickle(copy):
    for file in data_files(copy):
        if file.suffix == ".npy":
            np.load(file, allow_pickle=False)
        else:
            assert file.suffix in {".json", ".jsonl", ".faiss"}


# Killing

WRITER = """
import sys, time
sys.path[:0] = {paths!r}
for name in {plugins!r}: __import__(name)
from pathlib import Path
from fakes import HashingEmbedder
from rag_ft.indexing.building import builder
import test_store as here
builder.BLOCK_PASSAGES = 8
class Slow(HashingEmbedder):
    def encode_passages(self, texts):
        time.sleep(0.004 * len(texts))
        return super().encode_passages(texts)
print("started", flush=True)
documents, path = here.documents(30, 1), Path(sys.argv[1])
here.Index.build(documents, path, embedder=Slow(), chunking=here.CHUNKING, progress=False)
print("done", flush=True)
"""


def start_writer(path: Path) -> subprocess.Popen[str]:
    plugins = ["stubs"] if "stubs" in sys.modules else []
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2]), *(entry for entry in sys.path if entry)]
    code = WRITER.format(paths=paths, plugins=plugins)
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)


def test_a_build_killed_at_any_moment_leaves_an_index_that_opens_and_a_rebuild_finishes_it(tmp_path):
    path = tmp_path / "index"
    build(6, path)
    clean = build(30, tmp_path / "clean", version=1)
    queries = ["paragraph 2 of 17", "word3 version 1"]
    states: set[str] = set()
    chance = random.Random(7)
    for _ in range(12):
        writer = start_writer(path)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "started\n"
        time.sleep(chance.uniform(0.0, 0.9))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        index = Index.load(path, embedder=HashingEmbedder(), verify="full")
        states.add(index.fingerprint)
        assert len([*index.documents()]) in (6, 30)
        if len([*index.documents()]) == 30:
            build(6, path)
    assert states <= {build(6, tmp_path / "former").fingerprint, clean.fingerprint}
    index = build(30, path, version=1)
    assert [*index.passages()] == [*clean.passages()]
    for mode in ("dense", "bm25"):
        found, expected = (made.as_retriever(9, mode).retrieve_batch(queries) for made in (index, clean))
        assert found == expected
    assert index.verify().ok


def test_a_killed_build_is_resumed_without_embedding_again_what_was_done(tmp_path):
    path = tmp_path / "index"
    writer = start_writer(path)
    for _ in range(2000):
        if len([*path.glob(".journal/*/*.npy")]) >= 3:
            break
        time.sleep(0.005)
    writer.kill()
    writer.wait()
    writer.stdout.close()
    with pytest.raises(IndexMissingError):
        Index.load(path)
    kept = 8 * len([*path.glob(".journal/*/*.npy")])
    assert kept >= 24
    embedder = HashingEmbedder()
    index = Index.build(documents(30, 1), path, embedder=embedder, chunking=CHUNKING, progress=False)
    assert embedder.passages_encoded == index.build_report.passages_embedded <= len(index) - kept
    clean = build(30, tmp_path / "clean", version=1)
    assert index.search("word2 of 12", 9, mode="dense") == clean.search("word2 of 12", 9, mode="dense")
    assert not (path / ".journal").exists()
    assert index.verify().ok


def test_what_a_killed_build_left_of_a_removed_document_is_erased_with_it(tmp_path):
    path = tmp_path / "index"
    index = build(6, path)
    writer = start_writer(path)
    for _ in range(2000):
        if [*path.glob(".journal/*/*.npy")]:
            break
        time.sleep(0.005)
    writer.kill()
    writer.wait()
    writer.stdout.close()
    (path / "generations" / "0123456789abcdef").mkdir()
    (path / "generations" / "0123456789abcdef" / "documents.jsonl").write_text('{"id":"doc3.md","text":"x"}\n')
    failed = [check.name for check in index.verify("doc3.md").checks if not check.ok]
    assert failed == ["leftovers", "absent: records", "absent: files"]
    index.remove("doc3.md")
    assert index.verify("doc3.md").ok


def test_kills_before_any_change_of_the_file_system_leave_the_former_index_or_the_new_one():
    assert "first save" in run_attack("index", "--only", "kills", "--kills", "14")


def test_a_full_disk_is_called_that_and_leaves_the_former_index_and_nothing_else():
    assert "each change" in run_attack("index", "--only", "disks", "--step", "200000")


# Readers beside a writer


def test_readers_beside_a_writer_always_see_one_whole_state(tmp_path):
    path = tmp_path / "index"
    wanted = {build(3, path).fingerprint, build(4, path, version=1).fingerprint}
    done = threading.Event()
    seen: set[str] = set()
    problems: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                index = Index.load(path, embedder=HashingEmbedder())
                assert len([*index.passages()]) == len(index)
                assert len(index.search("paragraph", 100, mode="dense")) == len(index)
                seen.add(index.fingerprint)
        except BaseException as error:
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(12):
        build(*((3, path, 0) if turn % 2 else (4, path, 1)))
    done.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert seen == wanted


# Parts


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_generation_is_removed_even_if_no_writer_has_it_when_the_work_is_interrupted(copy, error):
    store = IndexStore(copy)
    with pytest.raises(error), store.writing(1.0):
        folder = store.new_generation()
        (folder / "passages.jsonl").write_text("{}\n")
        raise error
    assert [folder.name for folder in store.generations.iterdir()] == [Index.load(copy).manifest.generation]


def test_a_generation_stays_while_it_cannot_be_told_whether_it_was_committed(copy, monkeypatch):
    store = IndexStore(copy)
    committed = store.read_manifest().generation

    def unreadable(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as broken:
        broken.setattr("rag_ft.indexing.storage.store.regular_size", unreadable)
        store.abandon(store.generations / committed)
    assert Index.load(copy, verify="full").manifest.generation == committed


def test_a_signal_that_comes_when_the_folder_is_made_leaves_the_former_index_alone(copy, monkeypatch):
    begin = IndexStore.new_generation

    def interrupted(store):
        begin(store)
        raise KeyboardInterrupt

    before = Index.load(copy).manifest
    monkeypatch.setattr(IndexStore, "new_generation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(7, copy, version=1)
    assert Index.load(copy, verify="full").manifest == before
    assert len([*(copy / "generations").iterdir()]) == 1


def test_no_other_generation_survives_a_commit(tmp_path):
    path = tmp_path / "index"
    for version in range(3):
        index = build(2, path, version)
        assert [folder.name for folder in IndexStore(path).generations.iterdir()] == [index.manifest.generation]
        names = [".lock", ".rag-ft-index", "generations", "manifest.json"]
        assert sorted(entry.name for entry in path.iterdir()) == names
