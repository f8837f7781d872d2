"""Documents at addresses: a real S3 server in this process, memory, and `file://`."""

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from cut_network import relay
from fakes import HashingEmbedder
from in_process import ReadsHere
from s3_server import s3  # noqa: F401  a fixture

from rag_ft import Index
from rag_ft.errors import CorpusError, MissingExtraError, UsageError
from rag_ft.indexing.distributed import blocks
from rag_ft.indexing.formats import ReadLimits
from rag_ft.indexing.parsing.worker import Worker
from rag_ft.indexing.sources.remote import RemoteFolder, is_address, local_path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    (folder / "more" / "deep").mkdir(parents=True)
    for i in range(4):
        (folder / f"d{i}.md").write_text(f"# Rule {i}\n\nRule {i} says that thing {i} is kept.\n")
    (folder / "more" / "b.txt").write_text("The second letter.")
    (folder / "more" / "deep" / "page.html").write_text("<h1>Page</h1><p>A page of the web.</p>")
    lines = [{"id": f"line-{i}", "text": f"Line {i} of the list."} for i in range(3)]
    (folder / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "photo.xyz").write_bytes(b"photo")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.md").write_text("hidden")
    (folder / "~$d1.docx").write_text("lock")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    (folder / "access.toml").write_text('[access]\n"d2.md" = ["staff"]\n"none.md" = ["staff"]\n')
    return folder


def built(source, path, **settings):
    return Index.build(source, path, embedder=HashingEmbedder(), progress=False, **settings)


def table(index, address=""):
    """Each document without where it came from, and its passages."""
    return {
        entry.id: (
            index.document(entry.id).text,
            entry.title,
            entry.metadata,
            entry.source.removeprefix(address).lstrip("/"),
            [passage.id for passage in index.passages_of(entry.id)],
        )
        for entry in index.entries()
    }


def names(failures, address):
    return [(failure.source.removeprefix(str(address)).lstrip("/"), failure.reason) for failure in failures]


@pytest.mark.parametrize("engine", [None, ReadsHere()])
def test_a_bucket_gives_the_documents_of_the_folder_it_was_filled_from(s3, folder, tmp_path, caplog, engine):  # noqa: F811
    address = s3.put(folder, f"same-{engine is None}")
    direct = built(folder, tmp_path / "direct", keep_originals=True)
    caplog.clear()
    remote = built(f"{address}/", tmp_path / "remote", keep_originals=True, engine=engine)
    assert table(remote, address) == table(direct, str(folder)) and len(table(remote)) == 9
    assert remote.document("d2.md").metadata["access"] == ["staff"]
    assert remote.document("more/b.txt").source == f"{address}/more/b.txt"
    ours, theirs = remote.build_report, direct.build_report
    assert names(ours.failures, address) == names(theirs.failures, folder) and len(ours.failures) == 1
    assert sorted(names(ours.skipped, address)) == sorted(names(theirs.skipped, folder))
    assert f"{address}/access.toml: 'none.md' matches no document" in caplog.text
    assert remote.original("d1.md").path.read_text() == (folder / "d1.md").read_text()


def test_only_what_changed_in_the_bucket_is_embedded_again(s3, folder, tmp_path):  # noqa: F811
    address = s3.put(folder, "changing")
    built(address, tmp_path / "remote")
    (folder / "d3.md").write_text("# Rule 3\n\nAnother text.\n")
    s3.put(folder, "changing")
    s3.remove(f"{address}/d0.md")
    report = built(address, tmp_path / "remote").build_report
    assert (report.changed, report.removed, report.passages_embedded) == (("d3.md",), ("d0.md",), 1)


def test_an_interrupted_build_fetches_no_finished_block_again(s3, folder, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(blocks, "BLOCK_FILES", 2)
    address = s3.put(folder, "resumed")
    with pytest.raises(KeyboardInterrupt):
        built(address, tmp_path / "remote", engine=ReadsHere(most=3))
    again = ReadsHere()
    built(address, tmp_path / "remote", engine=again)
    assert len(again.read) == 2


def test_a_single_object_is_a_document(s3, folder, tmp_path):  # noqa: F811
    address = s3.put(folder, "single")
    assert [*built(f"{address}/d1.md", tmp_path / "one").documents()] == ["d1.md"]


def test_a_bucket_that_vanishes_half_way_ends_the_build_and_nothing_looks_whole(s3, folder, tmp_path):  # noqa: F811
    address = s3.put(folder, "vanishing")
    listed = RemoteFolder(address, known=frozenset(), source_code=False)
    s3.remove(f"{address}/d1.md")
    files = {file.name: file for file in listed if hasattr(file, "events")}
    with Worker(ReadLimits()) as worker:
        (gone,) = files["d1.md"].events(worker)
        assert gone.reason == "cannot be opened (it is gone)" and gone.source == f"{address}/d1.md"
        s3.remove(address)
        with pytest.raises(CorpusError, match=r"^s3://docs/vanishing has vanished while it was read: bring it back"):
            list(files["d2.md"].events(worker))
    with pytest.raises(CorpusError, match=r"^there is nothing at s3://docs/vanishing: give the address"):
        built(address, tmp_path / "remote")
    assert not (tmp_path / "remote" / "manifest.json").exists()


def test_wrong_credentials_are_one_sentence(s3, folder, tmp_path):  # noqa: F811
    address = s3.put(folder, "locked")
    requests.post(f"{s3.address}/moto-api/reset-auth", data=b"0", timeout=5)  # from now on keys are compared
    try:
        from s3fs import S3FileSystem

        S3FileSystem.clear_instance_cache()
        with pytest.raises(CorpusError, match=r"^s3://docs/locked cannot be read \(PermissionError: .*check the"):
            built(address, tmp_path / "remote")
    finally:
        requests.post(f"{s3.address}/moto-api/reset-auth", data=b"inf", timeout=5)
    assert not (tmp_path / "remote" / "manifest.json").exists()


def test_a_server_that_is_not_there_is_one_sentence(s3, tmp_path, monkeypatch):  # noqa: F811
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    S3FileSystem.clear_instance_cache()
    with pytest.raises(CorpusError, match=r"^s3://docs/none cannot be read \(EndpointConnectionError: .*the network"):
        built("s3://docs/none", tmp_path / "remote")
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("engine", [None, ReadsHere()])
def test_a_network_cut_in_the_middle_of_a_file_ends_the_build_and_nothing_looks_whole(
    s3,  # noqa: F811
    tmp_path,
    monkeypatch,
    engine,
):
    from s3fs import S3FileSystem

    docs = tmp_path / "docs"
    docs.mkdir()
    for name in "abc":
        (docs / f"{name}.txt").write_text("".join(f"Rule {i} of {name} is kept.\n" for i in range(2_000)))
    address = s3.put(docs, f"cut{engine is None}")
    server = urlsplit(s3.address)
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with relay((server.hostname, server.port)) as network:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{network.port}")
        S3FileSystem.clear_instance_cache()
        network.cut_after("down", 75_000)  # in the second of three files
        with pytest.raises(CorpusError, match=rf"^{address} cannot be read \(.*and the network, then run the same"):
            built(address, tmp_path / "remote", engine=engine)
        assert network.is_down and not (tmp_path / "remote" / "manifest.json").exists()
        network.mend()
        S3FileSystem.clear_instance_cache()
        index = built(address, tmp_path / "remote", engine=engine)
    S3FileSystem.clear_instance_cache()
    assert index.verify().ok and table(index, address) == table(built(docs, tmp_path / "local"), str(docs))


def test_memory_is_read_here_and_refused_where_workers_read(tmp_path):
    import fsspec

    with fsspec.open("memory://kept/a.md", "w") as file:
        file.write("# Kept\n\nIn memory.\n")
    assert [*built("memory://kept", tmp_path / "index").documents()] == ["a.md"]
    with pytest.raises(UsageError, match="memory://kept is in the memory of this process"):
        built("memory://kept", tmp_path / "other", engine=ReadsHere())


def test_an_index_in_the_bucket_is_left_out(tmp_path):
    import fsspec

    for name in ("a.md", "old/.rag-ft-index", "old/generations/b.md"):
        with fsspec.open(f"memory://with-index/{name}", "w") as file:
            file.write("# A\n\nText.\n")
    index = built("memory://with-index", tmp_path / "index")
    assert [*index.documents()] == ["a.md"]
    assert names(index.build_report.skipped, "memory://with-index") == [("old", "is an index")]


def test_rules_that_cannot_be_understood_are_named_by_their_address(tmp_path):
    import fsspec

    for name, text in {"a.md": "Text.", "access.toml": "nonsense"}.items():
        with fsspec.open(f"memory://bad-rules/{name}", "w") as file:
            file.write(text)
    with pytest.raises(CorpusError, match=r"^memory://bad-rules/access\.toml is not TOML"):
        built("memory://bad-rules", tmp_path / "index")


def test_file_addresses_are_paths(folder, tmp_path):
    assert local_path(f"file://{folder}") == folder and local_path("s3://docs") is None
    assert table(built(f"file://{folder}", tmp_path / "one")) == table(built(folder, tmp_path / "two"))
    with pytest.raises(UsageError, match="names no absolute path"):
        local_path("file://docs/a.md")
    assert not is_address("docs/a.md") and not is_address("C:/docs") and not is_address(Path("docs"))


def test_what_cannot_be_opened_is_said_in_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"files at nowhere:// cannot be read here \(Protocol not known: nowhere"):
        built("nowhere://docs", tmp_path / "index")
    with pytest.raises(UsageError, match=r"files at gs:// cannot be read here .*gcsfs"):
        built("gs://docs/a", tmp_path / "index")
    with pytest.raises(UsageError, match="holds a password, which would be kept") as caught:
        built("ftp://me:secret@host/docs", tmp_path / "index")
    assert "secret" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match=r"reading from s3:// needs the extra 'remote'"):
        built("s3://docs/a", tmp_path / "index")
