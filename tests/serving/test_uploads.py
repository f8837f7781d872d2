import io
import time
import zipfile

import pytest
from fakes import bomb_pdf

from rag_ft.errors import DocumentError
from rag_ft.serving.uploads import check_name, parse_upload

LIMITS = {"seconds": 20.0, "memory_bytes": 1_000_000_000, "max_chars": 100_000}


@pytest.mark.parametrize(
    "name",
    [
        *("../../etc/passwd", "..\\x.txt", "/etc/passwd.txt", "a/b.txt", ".hidden.txt", "", "x\0.txt", "c:x.txt"),
        *("x" * 200, "..", "x.exe", "no-suffix", "line\nbreak.txt", "x\u202etxt.md", "x\u2028.txt", "x\ud800.txt"),
    ],
)
def test_what_is_no_plain_file_name_of_a_known_kind_is_refused(name):
    with pytest.raises(DocumentError):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["👩\u200d💻.txt", "3.15\u202fPM.md", "メモ\u3000一.txt", "نمی\u200cشود.txt", "a\u00a0b.md"]
)
def test_names_of_all_languages_are_taken(name):
    assert check_name(name) == name


def test_a_name_of_blanks_alone_is_still_a_title():
    assert parse_upload("\u3000.txt", b"Some text.", **LIMITS).document.title == "\u3000.txt"


def test_a_file_becomes_a_document_named_as_it_was_sent():
    document = parse_upload("Büro plan.md", b"# Plan\n\nThe office opens at nine.\n", **LIMITS).document
    assert (document.id, document.title) == ("Büro plan.md", "Plan")
    assert "The office opens at nine." in document.text and document.metadata["uploaded"] is True


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"  \n", "is empty"),
        ("a.txt", b"\0\1\2" * 50, "binary"),
        ("a.pdf", b"%PDF-1.4 nothing of a pdf", "cut off"),
        ("a.docx", b"PK\x03\x04 half a zip", "cut off"),
        ("a.md", b"x " * 60_000, "more than the 100,000"),
        ("a.md", b'---\ntitle: "\\ud800"\n---\n\nSome text.\n', "gives no document"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(name, data, message):
    with pytest.raises(DocumentError, match=message):
        parse_upload(name, data, **LIMITS)


def test_a_pdf_bomb_is_refused_within_its_limits():
    data = bomb_pdf(300)
    assert len(data) < 2_000_000
    begin = time.monotonic()
    with pytest.raises(DocumentError, match=r"refused|more than the"):
        parse_upload("bomb.pdf", data, seconds=8, memory_bytes=700_000_000, max_chars=100_000)
    assert time.monotonic() - begin < 120


def test_a_zip_bomb_in_a_docx_is_refused():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("word/document.xml", b"<a>" * 100_000_000)
    with pytest.raises(DocumentError):
        parse_upload("bomb.docx", packed.getvalue(), **LIMITS)


def test_a_parser_that_takes_too_long_is_ended():
    begin = time.monotonic()
    with pytest.raises(DocumentError, match="could not be read within"):
        parse_upload("a.txt", b"some text", seconds=0.05, memory_bytes=1_000_000_000, max_chars=1000)
    assert time.monotonic() - begin < 60


def test_no_upload_is_read_by_the_process_of_another(monkeypatch):
    from rag_ft.indexing.parsing import worker

    ids = []
    popen = worker.subprocess.Popen

    def noted(*args, **options):
        process = popen(*args, **options)
        ids.append(process.pid)
        return process

    monkeypatch.setattr(worker.subprocess, "Popen", noted)
    for name in ("a.txt", "b.txt"):
        assert parse_upload(name, b"Some text.", **LIMITS).document.text == "Some text."
    with pytest.raises(DocumentError, match="cut off"):
        parse_upload("c.pdf", b"%PDF-1.4 nothing of a pdf", **LIMITS)
    assert len(ids) == 3
