"""What the check finds, from the process that reads to the build's report, the index and the command line."""

import json

import pytest
from commands import invoke
from fakes import HashingEmbedder

from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.index import Index
from rag_ft.indexing.parsing.wire import Request
from rag_ft.indexing.parsing.worker import Worker
from rag_ft.indexing.storage.folder import content_checksum


@pytest.fixture
def folder(tmp_path):
    """Two documents; `lossy` says that one lost words."""
    documents = tmp_path / "docs"
    documents.mkdir()
    (documents / "whole.txt").write_text("The valve is shut.")
    (documents / "cut.txt").write_text("The pump is on.")
    return documents


@pytest.fixture
def lossy(monkeypatch):
    """Let reading report losses, as a broken reader would cause them; the process that reads cannot be patched."""
    losses = {"cut.txt": Conservation(words=40, lost=2, sample=("4 May",))}
    monkeypatch.setattr("rag_ft.indexing.sources.file.ReadDocument", _with(losses))
    return losses


def _with(losses):
    from rag_ft.indexing.sources.events import ReadDocument

    return lambda document, name, path, found, *rest: ReadDocument(document, name, path, losses.get(name, found), *rest)


def build(folder, path):
    return Index.build(folder, path, embedder=HashingEmbedder(), progress=False)


def test_the_process_that_reads_also_checks():
    data = b"The pump is on."
    with Worker() as worker:
        (read,) = worker.read(Request(kind="file", name="a.txt"), lambda: [data], len(data))
    assert read.reply.conservation == Conservation(words=4)


def test_what_was_lost_is_in_the_report_and_in_the_index(folder, tmp_path, lossy):
    built = build(folder, tmp_path / "index")
    assert built.build_report.losses == lossy
    again = Index.load(tmp_path / "index")
    assert {entry.id: entry.conservation for entry in again.entries()} == lossy | {"whole.txt": Conservation(words=4)}
    generation = built.manifest.generation
    report = build(folder, tmp_path / "index").build_report
    assert report.losses == lossy and report.unchanged == 2  # also of what did not change
    assert Index.load(tmp_path / "index").manifest.generation == generation


def test_an_index_made_before_opens_and_is_brought_up_to_date_without_embedding(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("rag_ft.indexing.sources.file.ReadDocument", lambda *given: _unchecked(*given))
        build(folder, tmp_path / "index")
    manifest = tmp_path / "index" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["format"] = 2
    content["checksum"] = content_checksum(content)
    manifest.write_text(json.dumps(content))
    assert [entry.conservation for entry in Index.load(tmp_path / "index").entries()] == [None, None]
    report = build(folder, tmp_path / "index").build_report
    assert report.unchanged == 2 and report.passages_embedded == 0
    entries = Index.load(tmp_path / "index").entries()
    assert [entry.conservation for entry in entries] == [Conservation(words=4)] * 2


def _unchecked(document, name, path, *checked):
    from rag_ft.indexing.sources.events import ReadDocument

    return ReadDocument(document, name, path)


def command(folder, path, *options, monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.index.load_embedder", lambda name: HashingEmbedder())
    return invoke("index", "build", folder, path, *options)


def test_the_command_names_the_words_and_fails_only_for_parts_or_when_strict(folder, tmp_path, lossy, monkeypatch):
    done = command(folder, tmp_path / "a", monkeypatch=monkeypatch)
    assert "cut.txt: 2 of 40 words were left out, such as '4 May'\n" in done.output and done.return_value == 0
    assert command(folder, tmp_path / "a", "--strict", monkeypatch=monkeypatch).return_value == 1
    lossy["cut.txt"] = Conservation(words=4000, lost=2, sample=("4 May",))
    done = command(folder, tmp_path / "a", monkeypatch=monkeypatch)
    assert "cut.txt:" not in done.output and done.return_value == 0
    done = command(folder, tmp_path / "a", "--strict", monkeypatch=monkeypatch)
    assert "cut.txt: 2 of 4,000 words" in done.output and done.return_value == 1
    lossy["cut.txt"] = Conservation(words=4, pages_without_text=(2, 3))
    done = command(folder, tmp_path / "a", monkeypatch=monkeypatch)
    assert "cut.txt: pages 2 and 3 have no text: they are scanned images\n" in done.output and done.return_value == 1
    report = json.loads(command(folder, tmp_path / "a", "--json", monkeypatch=monkeypatch).output)
    assert report["losses"]["cut.txt"]["pages_without_text"] == [2, 3]
    shown = invoke("index", "info", "--documents", tmp_path / "a").output
    assert "cut.txt: pages 2 and 3 have no text" in shown and "whole.txt: 4 words, none lost\n" in shown
    content = json.loads(invoke("index", "info", "--documents", "--json", tmp_path / "a").output)
    assert content["conservation"]["whole.txt"]["words"] == 4 and content["documents"] == ["cut.txt", "whole.txt"]


def test_at_most_ten_documents_are_named(folder, tmp_path, lossy, monkeypatch):
    for number in range(13):
        (folder / f"{number}.txt").write_text("The pump is on.")
        lossy[f"{number}.txt"] = Conservation(words=9, lost=1, sample=("pump",))
    output = command(folder, tmp_path / "a", monkeypatch=monkeypatch).output
    assert output.count("left out") == 10 and "4 more documents lack words of their source" in output
