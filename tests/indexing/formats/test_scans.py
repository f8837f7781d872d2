"""Pages drawn for recognition, and what is refused instead."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scanned import BERTH, CRANE, drawn, image_file, pdf

from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.scans import MAX_PIXELS, PAGES_AT_ONCE, draw_scans


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def bomb_png(side: int) -> bytes:
    """A PNG of some hundred bytes that says it is a square of this side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_only_pages_that_show_something_and_have_no_text_are_drawn():
    data = pdf("A text layer.", CRANE, None, BERTH)
    scans = list(draw_scans("a.pdf", data, 1))
    assert [(scan.page, scan.pages) for scan in scans] == [(2, 4), (4, 4)]
    for scan in scans:
        assert len(scan.pixels) == scan.width * scan.height and (scan.width, scan.height) == (2480, 3509)
    assert [scan.page for scan in draw_scans("a.pdf", data, 3)] == [4]


def test_many_pages_are_drawn_some_at_a_time():
    data = pdf(*[BERTH] * (PAGES_AT_ONCE + 2))
    first = [scan.page for scan in draw_scans("a.pdf", data, 1)]
    rest = [scan.page for scan in draw_scans("a.pdf", data, first[-1] + 1)]
    assert first + rest == list(range(1, PAGES_AT_ONCE + 3)) and len(first) == PAGES_AT_ONCE


def test_a_poster_is_drawn_within_the_bound():
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas

    buffer = io.BytesIO()
    sheet = canvas.Canvas(buffer, pagesize=(9000, 5000))
    sheet.drawImage(ImageReader(drawn(BERTH).convert("RGB")), 0, 0, 9000, 5000)
    sheet.save()
    (scan,) = draw_scans("a.pdf", buffer.getvalue(), 1)
    assert scan.width * scan.height <= MAX_PIXELS * 1.001


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.tif", "a.tiff", "a.webp"])
def test_image_files_of_each_kind_are_drawn(tmp_path, name):
    (scan,) = draw_scans(name, image_file(tmp_path / name, BERTH).read_bytes(), 1)
    assert (scan.page, scan.pages, scan.width, scan.height) == (1, 1, 1240, 1754)
    assert len(scan.pixels) == scan.width * scan.height and min(scan.pixels) < 50


def test_every_page_of_a_tiff_is_drawn(tmp_path):
    data = image_file(tmp_path / "a.tiff", CRANE, BERTH).read_bytes()
    assert [(scan.page, scan.pages) for scan in draw_scans("a.tiff", data, 1)] == [(1, 2), (2, 2)]


def test_a_photograph_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    (scan,) = draw_scans("a.jpg", encoded(drawn(BERTH).rotate(90, expand=True), "JPEG", exif=exif), 1)
    assert (scan.width, scan.height) == (1240, 1754)


def test_a_small_image_is_drawn_larger_and_what_is_transparent_is_white():
    image = Image.new("RGBA", (300, 100), (0, 0, 0, 0))
    (scan,) = draw_scans("a.png", encoded(image, "PNG"), 1)
    assert (scan.width, scan.height) == (600, 200) and set(scan.pixels) == {255}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.png", b"not an image", "is damaged"),
        ("a.png", encoded(drawn(BERTH), "PNG")[:2000], "is damaged"),
        ("a.png", bomb_png(60_000), "pixels"),
        ("a.png", encoded(drawn(BERTH), "GIF"), "is damaged"),
        ("a.pdf", b"%PDF-1.4 not one", "is damaged"),
    ],
    ids=["no image", "cut off", "bomb", "another kind", "no PDF"],
)
def test_what_cannot_be_drawn_is_refused_with_the_reason(name, data, reason):
    with pytest.raises(Unreadable, match=reason):
        list(draw_scans(name, data, 1))


GOOD = {f"a.{kind.lower()}": encoded(drawn(BERTH).resize((60, 80)), kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP")}


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_damaged_image_is_drawn_or_refused(name, data):
    content = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        for scan in draw_scans(name, bytes(content), 1):
            assert len(scan.pixels) == scan.width * scan.height <= MAX_PIXELS * 1.001
    except (Unreadable, MemoryError):
        pass
