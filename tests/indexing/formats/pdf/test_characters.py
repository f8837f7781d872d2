import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indexing.formats.pdf.drawing import ReadBack, boxes_of, column, drawn, lines_at, read

from rag_ft.indexing.formats import extract

PARAGRAPH = ["The pump is switched off by the guard and the", "valve is closed within five minutes of the alarm."]


def turned(data, degrees, crop=None):
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import RectangleObject

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    for page in writer.pages:
        page.rotate(degrees)
        if crop:
            page.cropbox = RectangleObject(crop)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (20, 100, 560, 800)])
def test_each_character_is_read_back_from_its_box(degrees, crop):
    data = turned(
        drawn(lines_at(*column(72, 700, PARAGRAPH), (72, 600, "Fee: 18 EUR", "Helvetica-Bold", 18))), degrees, crop
    )
    found = extract("a.pdf", data)
    assert "valve is closed within five minutes" in found.text
    assert len(found.char_boxes) == 8 * len(found.text)
    back = ReadBack(data, found)
    assert [wrong for offset in range(len(found.text)) if (wrong := back.differs(offset))] == []
    width, height = (540, 700) if crop else (595, 842)
    assert found.page_sizes == ((height, width) if degrees % 180 else (width, height),)


def test_boxes_are_exact_to_a_point():
    found = read(lines_at((72, 700, "Pump", "Courier", 10)))
    boxes = boxes_of(found)
    for position, box in enumerate(boxes):
        assert box == pytest.approx((72 + 6 * position, 842 - 708, 78 + 6 * position, 842 - 698), abs=0.05)


def test_gaps_between_words_and_lines_that_are_not_drawn_have_no_box():
    found = read(lines_at((72, 700, "Pump"), (110, 700, "off"), (72, 650, "Valve")))
    boxes = boxes_of(found)
    assert found.text == "Pump off\n\nValve"
    assert [offset for offset, box in enumerate(boxes) if box is None] == [4, 8, 9]


def test_text_outside_the_crop_box_is_not_shown():
    data = drawn(lines_at((72, 700, "Shown."), (72, 20, "Printer's marks")))
    assert extract("a.pdf", turned(data, 0, (0, 100, 595, 842))).text == "Shown."


def test_invisible_text_over_a_scan_is_read():
    def draw(canvas):
        text = canvas.beginText(72, 700)
        text.setTextRenderMode(3)
        text.textLine("Recognised in the scan.")
        canvas.drawText(text)

    assert read(draw).text == "Recognised in the scan."


def test_text_turned_by_any_angle_is_read_in_order():
    def draw(canvas):
        lines_at(*column(72, 400, PARAGRAPH))(canvas)
        for degrees, x, y in ((90, 560, 100), (270, 40, 500), (45, 200, 600), (30, 100, 500)):
            canvas.saveState()
            canvas.translate(x, y)
            canvas.rotate(degrees)
            canvas.drawString(0, 14, f"Turned by {degrees} degrees,")
            canvas.drawString(0, 0, f"the second line of {degrees}.")
            canvas.restoreState()

    text = read(draw).text
    for degrees in (90, 270, 45, 30):
        assert f"Turned by {degrees} degrees, the second line of {degrees}." in text


WORDS = st.lists(st.text(alphabet="abcdefgh.,;", min_size=1, max_size=9), min_size=1, max_size=60)


@settings(max_examples=30, deadline=None)
@given(WORDS, st.integers(6, 24), st.sampled_from(["Helvetica", "Courier-Bold", "Times-Italic"]), st.integers(1, 3))
def test_any_stretch_of_text_is_inside_its_boxes(words, size, font, columns):
    def draw(canvas):
        canvas.setFont(font, size)
        x, y = 60, 2_950
        for word in words:
            width = canvas.stringWidth(word, font, size)
            if x + width > 60 + 480 / columns:
                x, y = 60, y - 1.4 * size
            canvas.drawString(x, y, word)
            x += width + size / 3

    data = drawn(draw, size=(595, 3_000))
    found = extract("a.pdf", data)
    assert len(found.char_boxes) == 8 * len(found.text)
    assert "".join(found.text.split()).replace("-", "") == "".join(words)
    back = ReadBack(data, found)
    assert [wrong for offset in range(len(found.text)) if (wrong := back.differs(offset))] == []
