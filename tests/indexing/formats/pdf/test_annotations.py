import io

import pytest
from indexing.formats.pdf.drawing import boxes_of, drawn, lines_at, read

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract


def form(canvas):
    lines_at((60, 700, "Street and number:"), (60, 660, "Smoker"), (200, 660, "Pets"), (60, 620, "Berth:"))(canvas)
    canvas.acroForm.textfield(name="street", value="Magnolia Harbour 12b", x=180, y=694, width=200, height=20)
    canvas.acroForm.textfield(name="empty", value="", x=180, y=600, width=200, height=20)
    canvas.acroForm.textfield(
        name="pin", value="5521", fieldFlags="password", x=400, y=694, width=80, height=20, maxlen=10
    )
    canvas.acroForm.checkbox(name="smoker", checked=True, x=40, y=656, size=14)
    canvas.acroForm.checkbox(name="pets", checked=False, x=180, y=656, size=14)
    canvas.acroForm.choice(
        name="berth", value="North quay", options=["North quay", "East quay"], x=180, y=612, width=120, height=20
    )


def test_values_of_a_form_stand_beside_their_labels():
    text = read(form).text
    assert "Street and number: Magnolia Harbour 12b" in text
    assert "[x] Smoker" in text and "[ ] Pets" in text
    assert "Berth: North quay" in text and "East quay" not in text
    assert "5521" not in text


def test_values_of_a_form_have_boxes_within_their_field():
    found = read(form)
    start = found.text.index("Magnolia")
    for x0, y0, x1, y1 in boxes_of(found)[start : start + 8]:
        assert 180 <= x0 < x1 <= 380 and 842 - 715 <= y0 < y1 <= 842 - 693


def test_the_check_of_a_form_finds_nothing_lost():
    data = drawn(form)
    lost = check("a.pdf", data, extract("a.pdf", data))
    assert lost.complete and lost.left_out == {"passwords": 1}


def annotated(*annotations):
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(drawn(lines_at((60, 700, "The contract.")), lambda page: None))))
    for page, annotation in annotations:
        writer.add_annotation(page, annotation)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_free_text_and_comments_follow_the_text_of_their_page():
    from pypdf.annotations import FreeText, Highlight, Text
    from pypdf.generic import ArrayObject, FloatObject, NameObject, TextStringObject

    comment = Text(rect=(50, 550, 80, 580), text="Is this still valid?")
    comment[NameObject("/T")] = TextStringObject("A. Brecht")
    quads = ArrayObject(FloatObject(value) for value in (60, 710, 100, 710, 60, 695, 100, 695))
    marked = Highlight(rect=(60, 695, 100, 710), quad_points=quads)
    marked[NameObject("/Contents")] = TextStringObject("Ask the lawyer.")
    data = annotated(
        (0, FreeText(text="Approved on 3 May.", rect=(50, 600, 200, 620))),
        (0, comment),
        (0, marked),
        (1, Text(rect=(50, 550, 80, 580), text="On page two.")),
    )
    found = extract("a.pdf", data)
    assert found.text.split("\n\n") == [
        "The contract.",
        "Approved on 3 May.",
        "Comment by A. Brecht: Is this still valid?",
        "Comment: Ask the lawyer.",
        "Comment: On page two.",
    ]
    assert found.text[found.page_starts[1] :] == "Comment: On page two."
    assert check("a.pdf", data, found).complete


@pytest.mark.parametrize("flag", [2, 32])
def test_hidden_comments_are_left_out_on_purpose(flag):
    from pypdf.annotations import Text
    from pypdf.generic import NameObject, NumberObject

    comment = Text(rect=(50, 550, 80, 580), text="Draft only.")
    comment[NameObject("/F")] = NumberObject(flag)
    data = annotated((0, comment))
    found = extract("a.pdf", data)
    assert found.text == "The contract."
    assert check("a.pdf", data, found).left_out == {"hidden notes": 2}
