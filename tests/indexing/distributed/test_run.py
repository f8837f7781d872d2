"""An index built from blocks that were read ahead: equal to one built directly, whatever was interrupted."""

import json
import shutil
from pathlib import Path

import pytest
from fakes import HashingEmbedder
from in_process import ReadsHere

from rag_ft import Index
from rag_ft.errors import CorpusError, EngineError, UsageError
from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.distributed import blocks, reader
from rag_ft.indexing.ocr.engine import OcrSettings


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """Ten files in four blocks: texts, lines, a copy, one that is damaged, one that is skipped, access rules."""
    monkeypatch.setattr(blocks, "BLOCK_FILES", 3)
    folder = tmp_path / "docs"
    (folder / "more").mkdir(parents=True)
    for i in range(6):
        (folder / f"d{i}.md").write_text(f"# Rule {i}\n\nRule {i} says that thing {i} is kept.\n\n- one\n- two {i}\n")
    (folder / "copy.md").write_text((folder / "d1.md").read_text())
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    (folder / "photo.xyz").write_bytes(b"photo")
    lines = [{"id": f"line-{i}", "text": f"Line {i} of the list."} for i in range(7)]
    lines[3]["id"] = "d2.md"  # another document has this id
    (folder / "more" / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    (folder / "access.toml").write_text('[access]\n"d4.md" = ["staff"]\n')
    return folder


def built(source, path, engine=None, **settings):
    return Index.build(source, path, embedder=HashingEmbedder(), progress=False, engine=engine, **settings)


def reported(index):
    """What a build says it did; a passage that is refused for its document's id is embedded ahead for nothing."""
    return {**index.build_report.model_dump(), "seconds": 0, "passages_embedded": 0}


def content(index):
    """Every file of the index, by its checksum."""
    return {name: entry.sha256 for name, entry in index.manifest.files.items()}


def left(index_path: Path):
    return list((index_path / ".journal").rglob("*.*"))


def test_the_index_is_byte_for_byte_the_one_built_directly(docs, tmp_path):
    engine = ReadsHere()
    direct, ahead = built(docs, tmp_path / "direct"), built(docs, tmp_path / "ahead", engine)
    assert content(ahead) == content(direct) and ahead.fingerprint == direct.fingerprint
    assert reported(ahead) == reported(direct) and len(direct.build_report.failures) == 3
    assert ahead.document("d4.md").metadata["access"] == ["staff"]
    assert len(engine.read) == 4 and left(tmp_path / "ahead") == []


def test_a_part_ends_where_it_is_full_and_the_index_is_the_same(docs, tmp_path, monkeypatch):
    direct = built(docs, tmp_path / "direct")
    monkeypatch.setattr(reader, "PART_PASSAGES", 2)
    assert content(built(docs, tmp_path / "ahead", ReadsHere())) == content(direct)


@pytest.mark.parametrize("parts", (0, 2, 4))
def test_a_build_that_was_interrupted_reads_no_finished_block_again(docs, tmp_path, monkeypatch, parts):
    direct = built(docs, tmp_path / "direct")
    monkeypatch.setattr(reader, "PART_PASSAGES", 4)
    first, second = ReadsHere(most=parts), ReadsHere()
    with pytest.raises(KeyboardInterrupt):
        built(docs, tmp_path / "ahead", first)
    assert not (tmp_path / "ahead" / "manifest.json").exists()
    resumed = built(docs, tmp_path / "ahead", second)
    assert content(resumed) == content(direct)
    assert not {*first.read[:-1]} & {*second.read}, "a finished block was read again"
    assert left(tmp_path / "ahead") == []


def test_a_changed_file_or_setting_is_read_again_after_an_interruption(docs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        built(docs, tmp_path / "ahead", ReadsHere(most=2))
    (docs / "more" / "lines.jsonl").write_text('{"id": "line-9", "text": "Only this line."}\n')
    again = ReadsHere()
    ahead = built(docs, tmp_path / "ahead", again)
    assert content(ahead) == content(built(docs, tmp_path / "direct"))
    assert again.read[0] == ("more/lines.jsonl",) and len(again.read) == 3
    with pytest.raises(KeyboardInterrupt):
        built(docs, tmp_path / "other", ReadsHere(most=2))
    settings = ReadsHere()
    built(docs, tmp_path / "other", settings, chunking=ChunkingConfig(max_tokens=100))
    assert len(settings.read) == 4


def test_a_damaged_finished_block_is_read_again(docs, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        built(docs, tmp_path / "ahead", ReadsHere(most=2))
    for path in left(tmp_path / "ahead"):
        if path.name.startswith("read-"):
            path.write_bytes(path.read_bytes().replace(b"Line 1", b"Lime 1").replace(b"kept", b"sold"))
    again = ReadsHere()
    assert content(built(docs, tmp_path / "ahead", again)) == content(built(docs, tmp_path / "direct"))
    assert len(again.read) == 4


def test_what_could_not_be_opened_is_tried_again_after_an_interruption(docs, tmp_path, monkeypatch):
    shutil.copy(docs / "d5.md", tmp_path / "kept.md")
    listed = blocks.file_blocks

    def vanishing(files, *settings):
        found = [*listed(files, *settings)]
        (docs / "d5.md").unlink()
        return found

    monkeypatch.setattr("rag_ft.indexing.distributed.run.file_blocks", vanishing)
    with pytest.raises(KeyboardInterrupt):
        built(docs, tmp_path / "ahead", ReadsHere(most=2))
    monkeypatch.setattr("rag_ft.indexing.distributed.run.file_blocks", listed)
    shutil.copy2(tmp_path / "kept.md", docs / "d5.md")
    ahead = built(docs, tmp_path / "ahead", ReadsHere())
    assert "d5.md" in ahead.build_report.added


def test_only_what_is_new_is_embedded_and_unchanged_documents_are_copied(docs, tmp_path):
    built(docs, tmp_path / "ahead", ReadsHere())
    (docs / "d3.md").write_text("# Rule 3\n\nAnother text.\n")
    (docs / "d0.md").unlink()
    report = built(docs, tmp_path / "ahead", ReadsHere()).build_report
    assert (report.changed, report.removed, report.added) == (("d3.md",), ("d0.md",), ())
    assert report.passages_embedded == 2, "the new text, and the one that is refused again"
    assert report.unchanged == 11


def test_originals_are_kept_and_documents_without_valid_unicode_refused(docs, tmp_path):
    (docs / "half.jsonl").write_text('{"id": "half", "text": "half \\ud800 a pair"}\n')
    direct = built(docs, tmp_path / "direct", keep_originals=True)
    ahead = built(docs, tmp_path / "ahead", ReadsHere(), keep_originals=True)
    assert content(ahead) == content(direct) and reported(ahead) == reported(direct)
    assert any("surrogate" in failure.reason for failure in ahead.build_report.failures)
    assert ahead.original("d1.md").path.read_text() == (docs / "d1.md").read_text()


def test_a_source_that_vanishes_half_way_ends_the_build_and_nothing_looks_whole(docs, tmp_path, monkeypatch):
    engine = ReadsHere()
    taken = BlockVanishes(engine, docs)
    with pytest.raises(CorpusError, match=r"docs has vanished while it was read on .*: give a path that all machines"):
        built(docs, tmp_path / "ahead", taken)
    assert not (tmp_path / "ahead" / "manifest.json").exists()
    shutil.move(tmp_path / "gone", docs)
    again = ReadsHere()
    built(docs, tmp_path / "ahead", again)
    assert len(again.read) == 3


class BlockVanishes:
    """The folder goes while the second block is read."""

    def __init__(self, engine, docs):
        self.engine, self.docs = engine, docs

    def parts(self, work, given):
        with reader.BlockReader(work) as reading:
            yield from reading.parts(given[0])
            check = reading._check_root

            def vanish(what):
                if what.startswith("has"):
                    shutil.move(self.docs, self.docs.parent / "gone")
                check(what)

            reading._check_root = vanish
            yield from reading.parts(given[1])


def test_a_file_that_changes_between_two_attempts_at_a_block_is_noticed(docs, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "PART_PASSAGES", 1)

    class Retries(ReadsHere):
        def parts(self, work, given):
            with reader.BlockReader(work) as reading:
                first, *_ = reading.parts(given[0])
                (docs / "copy.md").write_text("Something else.\n\nAnd more.\n")
                _, *rest = reading.parts(given[0])
                yield from [first, *rest]

    with pytest.raises(EngineError, match=r"changed while it was read: run the same command again"):
        built(docs, tmp_path / "ahead", Retries())
    assert content(built(docs, tmp_path / "ahead", ReadsHere())) == content(built(docs, tmp_path / "direct"))


def test_an_engine_that_ends_early_is_an_error(docs, tmp_path):
    class Lazy(ReadsHere):
        def parts(self, work, given):
            yield from super().parts(work, given[1:])

    with pytest.raises(EngineError, match="ended before all files were read"):
        built(docs, tmp_path / "ahead", Lazy())


def test_what_an_engine_does_not_do_is_said(docs, tmp_path):
    with pytest.raises(UsageError, match="the documents given: give a path"):
        built([], tmp_path / "ahead", ReadsHere())
    with pytest.raises(UsageError, match="does not recognise the text of scanned pages"):
        built(docs, tmp_path / "ahead", ReadsHere(), ocr=OcrSettings())
    with pytest.raises(UsageError, match="builds an index in a folder, not in a database"):
        built(docs, "lancedb:///tmp/none", ReadsHere())


def test_a_worker_with_another_embedder_or_version_is_refused(docs, tmp_path, monkeypatch):
    class Other(HashingEmbedder):
        def __reduce__(self):
            return HashingEmbedder, (64, 256, "other")

    class Elsewhere(ReadsHere):
        def __init__(self, **changed):
            super().__init__()
            self.changed = changed

        def parts(self, work, given):
            from dataclasses import replace

            yield from super().parts(replace(work, **self.changed), given)

    with pytest.raises(EngineError, match=r"has another embedder 'hashingother' than this process"):
        built(docs, tmp_path / "ahead", Elsewhere(embedder=HashingEmbedder(salt="other")))
    with pytest.raises(EngineError, match=r"has rag_ft .* and this process 0\.0: install the same version"):
        built(docs, tmp_path / "ahead", Elsewhere(version="0.0"))
