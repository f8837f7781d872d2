import io
import struct
import zlib

import numpy as np
import pypdfium2
import pytest
from reportlab.pdfgen import canvas

from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.pdf.rendering import MAX_PIXELS, MAX_SIDE, check_png, png, render_page
from rag_ft.indexing.parsing.wire import Request
from rag_ft.indexing.parsing.worker import Worker


def a_pdf(size=(200, 100), rotation=0) -> bytes:
    content = io.BytesIO()
    page = canvas.Canvas(content, pagesize=size)
    page.setFillColorRGB(1, 0, 0)
    page.rect(0, 0, size[0] / 2, size[1] / 2, stroke=0, fill=1)  # red, at the bottom left
    page.showPage()
    page.save()
    document = pypdfium2.PdfDocument(content.getvalue())
    document[0].set_rotation(rotation)
    turned = io.BytesIO()
    document.save(turned)
    return turned.getvalue()


def pixels_of(image: bytes):
    """The pixels of one of our images, by rows."""
    width, height = struct.unpack_from(">II", image, 16)
    start = image.index(b"IDAT") + 4
    (length,) = struct.unpack_from(">I", image, start - 8)
    rows = np.frombuffer(zlib.decompress(image[start : start + length]), dtype=np.uint8)
    return rows.reshape(height, 1 + 3 * width)[:, 1:].reshape(height, width, 3)


@pytest.mark.parametrize(("rotation", "corner"), [(0, (-5, 5)), (90, (5, 5)), (180, (5, -5)), (270, (-5, -5))])
def test_a_page_is_drawn_as_it_is_displayed(rotation, corner):
    image = render_page(a_pdf(rotation=rotation), 1, 400)
    check_png(image)
    pixels = pixels_of(image)
    wide = rotation in (0, 180)
    assert pixels.shape[1] == pytest.approx(400, abs=1)
    assert pixels.shape[0] == pytest.approx(200 if wide else 800, abs=2)
    for row in (5, -5):
        for column in (5, -5):
            expected = [255, 0, 0] if (row, column) == corner else [255, 255, 255]
            assert pixels[row, column].tolist() == expected


@pytest.mark.parametrize("size", [(14_400, 14_400), (14_400, 3), (3, 14_400), (0.5, 0.5)])
def test_no_page_gives_an_image_without_bound(size):
    image = render_page(a_pdf(size=size), 1, 2_000)
    check_png(image)
    width, height = struct.unpack_from(">II", image, 16)
    assert width <= MAX_SIDE and height <= MAX_SIDE and width * height <= MAX_PIXELS


@pytest.mark.parametrize(
    ("data", "page"),
    [(b"no pdf", 1), (a_pdf(), 0), (a_pdf(), 2), (a_pdf()[:300], 1)],
    ids=["no PDF", "page 0", "a page too many", "cut off"],  # its own would hold the time
)
def test_what_cannot_be_drawn_is_unreadable(data, page):
    with pytest.raises(Unreadable):
        render_page(data, page, 300)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_other_forms_of_pixels_become_colours(channels):
    image = png(bytes(range(2 * 8)), 2, 2, 8, channels)
    check_png(image)
    second_row = pixels_of(image)[1].ravel().tolist()
    assert second_row == {1: [8, 8, 8, 9, 9, 9], 3: [8, 9, 10, 11, 12, 13], 4: [8, 9, 10, 12, 13, 14]}[channels]


@pytest.mark.parametrize(
    "image", [b"", b"<svg/>", png(b"abc", 1, 1, 3, 3)[:-1], png(b"abc", 1, 1, 3, 3) + b"x", png(b"", 5_000, 0, 0, 3)]
)
def test_an_image_of_another_form_is_refused(image):
    with pytest.raises(ValueError, match="image"):
        check_png(image)


def test_pages_are_drawn_in_the_process_that_reads():
    data = a_pdf()
    with Worker() as worker:
        for page, kind in ((1, "image"), (7, "failure"), (1, "image")):
            (read,) = worker.read(Request(kind="page", name="a.pdf", numbers=(page, 90)), lambda: [data], len(data))
            assert read.reply.kind == kind and bool(read.image) == (kind == "image")
