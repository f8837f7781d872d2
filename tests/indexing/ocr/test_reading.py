"""Files with scanned pages, from the folder to the index."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from fakes import HashingEmbedder
from scanned import BERTH, CRANE, image_file, needs_tesseract, pdf, program

from rag_ft.errors import UsageError
from rag_ft.indexing.formats.limits import ReadLimits
from rag_ft.indexing.index import Index
from rag_ft.indexing.ocr.engine import OcrSettings, Recogniser
from rag_ft.indexing.ocr.reading import ocr_before
from rag_ft.indexing.sources.events import CorpusFailure
from rag_ft.indexing.sources.file import SourceFile
from rag_ft.indexing.sources.known import KnownFiles
from rag_ft.indexing.sources.reader import FileReader

EMBEDDER = HashingEmbedder()
ENGLISH = OcrSettings()
FIRST = "The first page has a text layer."
LAST = "The last page has one too."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mixed.pdf").write_bytes(pdf(FIRST, CRANE, LAST))
    (tmp_path / "docs" / "scan.pdf").write_bytes(pdf(CRANE, BERTH))
    image_file(tmp_path / "docs" / "shot.png", BERTH)
    (tmp_path / "docs" / "a.md").write_text("# Title\n\nA text.\n")
    return tmp_path / "docs"


@pytest.fixture
def recognised(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pages that were given to the recogniser since the list was last cleared."""
    pages: list[int] = []
    recognise = Recogniser.recognise

    def recorded(recogniser, scan):
        pages.append(scan.page)
        return recognise(recogniser, scan)

    monkeypatch.setattr(Recogniser, "recognise", recorded)
    return pages


def build(folder: Path, ocr: OcrSettings | None = ENGLISH, **options) -> Index:
    return Index.build(folder, folder.parent / "index", embedder=EMBEDDER, progress=False, ocr=ocr, **options)


def failures(index: Index) -> dict[str, str]:
    return {Path(failure.source).name: failure.reason for failure in index.build_report.failures}


@needs_tesseract
def test_scanned_pages_and_images_are_searched_and_marked_as_recognised(folder):
    index = build(folder)
    assert not index.build_report.failures and not index.build_report.losses
    mixed = index.document("mixed.pdf")
    assert mixed.text == f"{FIRST}\n\n{' '.join(CRANE)}\n\n{LAST}"
    (hit,) = index.search("crane of the north quay built in Riga", 1, where={"document_id": "mixed.pdf"})
    page = next(passage for passage in index.passages_of("mixed.pdf") if "Riga" in passage.text)
    assert hit.passage.text == mixed.text[hit.passage.start : hit.passage.end] and page.page in (1, 2)
    record = mixed.metadata["ocr"]
    assert record["languages"] == "eng" and record["engine"].startswith("tesseract ")
    assert record["pages"].keys() == {"2"} and 0.8 < record["confidence"] == record["pages"]["2"] <= 1
    scan = index.document("scan.pdf")
    assert scan.text == f"{' '.join(CRANE)}\n\n{BERTH[0]}" and len(scan.page_starts) == 2
    assert index.document("shot.png").text == BERTH[0]
    assert "ocr" not in index.document("a.md").metadata


@needs_tesseract
@pytest.mark.parametrize(("name", "page"), [("mixed.pdf", 2), ("scan.pdf", 1)])
def test_recognised_words_have_their_boxes_on_the_page(folder, name, page):
    build(folder)
    index = build(folder)  # from the index itself this time
    document, places = index.document(name), index.places(name)
    places.check(document.text, document.page_starts)
    start = document.text.index("Riga")
    assert places.page_of(start) == page and places.page_sizes[page - 1] == (595, 842)
    left, top = places.boxes(start, start + 1)[0][:2] / 65535
    right, bottom = places.boxes(start + 3, start + 4)[0][2:] / 65535
    # "Riga." ends the second line, which is drawn at 160 of 1754 pixels with letters of about 30.
    assert 155 < top * 1754 < 180 and 180 < bottom * 1754 < 210
    assert 600 < left * 1240 < right * 1240 < 800
    if name == "mixed.pdf":
        assert places.boxes(0, 3).any(axis=1).all()  # those of the text layer stay


@needs_tesseract
def test_no_page_is_recognised_twice(folder, recognised):
    first = build(folder)
    assert sorted(recognised) == [1, 1, 2, 2]
    recognised.clear()
    again = build(folder)
    assert recognised == [] and again.manifest.generation == first.manifest.generation
    (folder / "scan.pdf").write_bytes(pdf(BERTH))
    assert build(folder).build_report.changed == ("scan.pdf",) and recognised == [1]


@needs_tesseract
def test_an_index_built_without_it_reads_those_files_again_when_it_is_switched_on(folder, recognised):
    without = build(folder, None)
    assert without.build_report.losses["mixed.pdf"].pages_without_text == (2,)
    assert failures(without).keys() == {"scan.pdf"}
    with_it = build(folder)
    assert set(with_it.build_report.added) == {"scan.pdf", "shot.png"}
    assert with_it.build_report.changed == ("mixed.pdf",) and len(recognised) == 4


@needs_tesseract
def test_a_build_without_it_says_what_it_drops(folder, caplog):
    build(folder)
    assert ocr_before(Index.load(folder.parent / "index", embedder=EMBEDDER).entries()) == ENGLISH
    build(folder, None)
    assert "has recognised text of scanned pages" in caplog.text and "add --ocr to keep it" in caplog.text


@needs_tesseract
def test_rules_of_access_hold_for_recognised_documents_and_are_followed_when_they_change(folder, recognised):
    (folder / "access.toml").write_text('[access]\n"scan.pdf" = ["board"]\n"shot.png" = ["board"]\n')
    index = build(folder)
    assert [*index.visible_to(["staff"]).documents()] == ["a.md", "mixed.pdf"]
    recognised.clear()
    (folder / "access.toml").write_text('[access]\n"scan.pdf" = ["board"]\n')
    index = build(folder)
    assert [*index.visible_to(["staff"]).documents()] == ["a.md", "mixed.pdf", "shot.png"]
    assert recognised == []


@needs_tesseract
def test_a_watch_recognises_only_what_changed(folder, recognised):
    known = KnownFiles()
    build(folder, known_files=known)
    recognised.clear()
    image_file(folder / "new.png", CRANE)
    assert build(folder, known_files=known).build_report.added == ("new.png",) and recognised == [1]


@needs_tesseract
def test_pages_and_images_without_text_are_named_or_left(folder):
    (folder / "mixed.pdf").write_bytes(pdf(FIRST, CRANE, ()))
    image_file(folder / "shot.png", ())
    index = build(folder)
    assert index.build_report.losses["mixed.pdf"].pages_without_text == (3,)
    assert "shot.png" in {Path(skipped.source).name for skipped in index.build_report.skipped}
    with pytest.raises(Exception, match="shows no text that is recognised"):
        Index.build(folder / "shot.png", folder.parent / "one", embedder=EMBEDDER, progress=False, ocr=ENGLISH)


def test_pages_of_a_recognition_that_hangs_are_named_and_the_rest_goes_in_with_a_script_that_sleeps(folder):
    slow = OcrSettings(program=program(folder.parent, "sleep 98763"))
    index = build(folder, slow, limits=ReadLimits(seconds=3))
    assert [*index.documents()] == ["a.md", "mixed.pdf"]
    assert index.document("mixed.pdf").text == f"{FIRST}\n\n{LAST}"
    named = failures(index)
    for name in ("mixed.pdf, page 2", "scan.pdf, page 1", "scan.pdf, page 2", "shot.png, page 1"):
        assert named[name] == "was not recognised within 3 s and was given up"
    assert index.build_report.losses["mixed.pdf"].pages_without_text == (2,)


@needs_tesseract
def test_what_was_recognised_before_stays_when_a_recognition_hangs(folder):
    build(folder)
    (folder / "scan.pdf").write_bytes(pdf(BERTH, CRANE))
    slow = OcrSettings(program=program(folder.parent, "sleep 98762"))
    index = build(folder, slow, limits=ReadLimits(seconds=3))
    assert "scan.pdf" in index.build_report.kept and index.document("scan.pdf").text.startswith(CRANE[0])


def test_damaged_and_encrypted_files_are_named_as_without_it(folder):
    sleeping = OcrSettings(program=program(folder.parent, "sleep 98761"))
    for name in ("mixed.pdf", "scan.pdf"):
        (folder / name).write_bytes(b"%PDF-1.4\nnothing more")
    (folder / "shot.png").write_bytes(b"\x89PNG nothing more")
    named = failures(build(folder, sleeping))
    assert named["mixed.pdf"] == failures(build(folder, None))["mixed.pdf"]
    assert named["shot.png"].startswith("is damaged")


def test_without_the_program_nothing_is_built(folder, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="needs the program tesseract"):
        build(folder)


@needs_tesseract
def test_a_reader_that_is_stopped_gives_up_the_pages_that_are_left(folder, recognised):
    (folder / "long.pdf").write_bytes(pdf(*[CRANE] * 40))
    file = SourceFile(folder / "long.pdf", "long.pdf", required=True)
    events = []
    with FileReader(ReadLimits(), ENGLISH.checked()) as reader:
        reading = threading.Thread(target=lambda: events.extend(reader.events(file)))
        reading.start()
        while not recognised:
            time.sleep(0.01)
        reader.stop()
        reading.join(timeout=20)
        assert not reading.is_alive()
    assert len(recognised) < 10
    assert [event for event in events if isinstance(event, CorpusFailure)]
