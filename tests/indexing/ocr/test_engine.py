"""The process that recognises: its limits, and what is said where it cannot run."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil
import pytest
from scanned import CRANE, drawn, needs_tesseract, program

from rag_ft.errors import MissingExtraError, UsageError
from rag_ft.indexing.formats.limits import ReadLimits
from rag_ft.indexing.formats.scans import Scan
from rag_ft.indexing.ocr.engine import OcrSettings, PageNotRecognised, Recogniser

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the programs of these tests are scripts of a shell")


def scan(turn: int = 0) -> Scan:
    image = drawn(CRANE, turn)
    return Scan(1, 1, image.width, image.height, image.tobytes())


def running(word: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if word in (process.info["cmdline"] or [])]


@needs_tesseract
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_page_is_recognised_however_it_was_laid_on_the_scanner(turn):
    with Recogniser(OcrSettings().checked(), ReadLimits()) as recogniser:
        page = recogniser.recognise(scan(turn))
    assert page.text == " ".join(CRANE)
    assert 0.8 < page.confidence <= 1


@needs_tesseract
def test_a_process_with_too_little_memory_is_a_page_that_is_named_and_no_more():
    with Recogniser(OcrSettings().checked(), ReadLimits(memory_bytes=150_000_000)) as recogniser:
        for _ in range(2):
            with pytest.raises(PageNotRecognised):
                recogniser.recognise(scan())


def test_a_recognition_that_hangs_is_ended_with_a_script_that_sleeps_in_place_of_tesseract(tmp_path):
    ocr = OcrSettings(program=program(tmp_path, "sleep 98765")).checked()
    with Recogniser(ocr, ReadLimits(seconds=1.5)) as recogniser:
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(PageNotRecognised, match=r"was not recognised within 1.5 s and was given up"):
                recogniser.recognise(scan())
            assert time.monotonic() - started < 60
            assert not running("98765")


def test_no_file_is_left_of_a_page_that_was_given_up(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    ocr = OcrSettings(program=program(tmp_path, "sleep 98764")).checked()
    with Recogniser(ocr, ReadLimits(seconds=1.0)) as recogniser:
        with pytest.raises(PageNotRecognised):
            recogniser.recognise(scan())
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_the_program_complains_of_is_the_reason(tmp_path):
    ocr = OcrSettings(program=program(tmp_path, "echo 'no ink left' >&2; exit 1")).checked()
    with Recogniser(ocr, ReadLimits()) as recogniser:
        with pytest.raises(PageNotRecognised, match=r"was not recognised \(.*no ink left"):
            recogniser.recognise(scan())


def test_without_the_program_its_command_of_installation_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    sentence = "needs the program tesseract, which is not installed: apt install tesseract-ocr"
    with pytest.raises(UsageError, match=sentence):
        OcrSettings().checked()


def test_without_the_extra_its_command_of_installation_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytesseract", None)
    with pytest.raises(MissingExtraError, match=r"recognising text needs the extra 'ocr': pip install 'rag-ft\[ocr\]'"):
        OcrSettings().checked()


def test_a_language_that_is_not_installed_is_said_with_its_package(tmp_path):
    settings = OcrSettings("eng+chi_sim", program=program(tmp_path, "exit 1"))
    with pytest.raises(UsageError, match="does not have the language 'chi_sim': apt install tesseract-ocr-chi-sim"):
        settings.checked()


@pytest.mark.parametrize("languages", ["", "eng deu", "--help", "eng+", "../eng", "eng,deu"])
def test_a_language_that_is_none_is_refused_before_the_program_is_called(languages, tmp_path):
    with pytest.raises(UsageError, match="the OCR languages are"):
        OcrSettings(languages, program=str(tmp_path / "never")).checked()


def test_a_program_that_cannot_be_run_is_said(tmp_path):
    path = Path(tmp_path / "tesseract")
    path.write_text("not a program")
    with pytest.raises(UsageError, match="cannot be run"):
        OcrSettings(program=str(path)).checked()
