import io

import pytest

from rag_ft.indexing.formats import extract


def pdf(pages, title=None):
    """A document of these lines a page; without a title its program writes "untitled"."""
    from reportlab.pdfgen import canvas

    file = io.BytesIO()
    made = canvas.Canvas(file)
    if title is not None:
        made.setTitle(title)
    for lines in pages:
        for number, line in enumerate(lines):
            made.drawString(72, 750 - 14 * number, line)
        made.showPage()
    made.save()
    return extract("a.pdf", file.getvalue())


BODIES = [
    ["The pump is switched off by the guard and"],
    ["then the valve is closed within five min-"],
    ["utes of the alarm. The tank is emptied."],
    ["Nothing else is done before the morning."],
]


def test_running_headers_and_footers_do_not_cut_sentences():
    pages = [["Pump manual, revision 7", *body, f"Page {n} of 4", "Confidential"] for n, body in enumerate(BODIES, 1)]
    found = pdf(pages)
    assert found.text == (
        "The pump is switched off by the guard and then the valve is closed within five minutes of the alarm."
        " The tank is emptied.\n\nNothing else is done before the morning."
    )
    assert [found.text[start:][:8] for start in found.page_starts] == ["The pump", "then the", "utes of ", "Nothing "]


@pytest.mark.parametrize(
    ("given", "found"),
    [(None, ""), ("Untitled Document ", ""), ("Pump manual", "Pump manual"), ("Untitled works", "Untitled works")],
)
def test_what_programs_write_for_no_title_is_none(given, found):
    assert pdf([["The pump is switched off."]], given).title == found


def test_headers_of_left_and_right_pages_are_known():
    titles = ["Manual", "Chapter on pumps"]
    found = pdf([[titles[n % 2], f"Sentence {'abcdefgh'[n]} stands here.", str(n + 11)] for n in range(8)])
    assert found.text == "\n\n".join(f"Sentence {one} stands here." for one in "abcdefgh")


def test_first_lines_that_differ_by_more_than_the_page_number_stay():
    found = pdf(
        [[f"Device {n}", f"It weighs {n * n} kg and is {name}."] for n, name in ((1, "red"), (4, "blue"), (9, "new"))]
    )
    assert [f"Device {n}" in found.text for n in (1, 4, 9)] == [True] * 3
    steps = pdf([[f"Step {n}", f"Turn the {name} key."] for n, name in ((1, "red"), (2, "blue"), (3, "new"))])
    assert [f"Step {n}" in steps.text for n in (1, 2, 3)] == [True] * 3


@pytest.mark.parametrize("pages", [[["Title", "Text a."], ["Title", "Text b."]], [["Form", "Name", "Date"]] * 4])
def test_pages_too_few_or_all_alike_are_kept_whole(pages):
    assert pdf(pages).text.count(pages[0][0]) == len(pages)


def test_a_page_without_text_begins_where_the_next_does():
    found = pdf([["The first page ends here and"], [], ["goes on."]])
    assert found.text == "The first page ends here and\n\ngoes on."
    assert [found.text[start:] for start in found.page_starts] == [found.text, "goes on.", "goes on."]


def test_a_number_that_is_longer_than_any_page_number_is_text():
    from reportlab.pdfgen import canvas

    file = io.BytesIO()
    made = canvas.Canvas(file)
    for _ in range(3):
        made.setFont("Helvetica", 0.1)
        made.drawString(72, 750, "9" * 5_000 + " words")
        made.showPage()
    made.save()
    assert extract("a.pdf", file.getvalue()).text.count("9") >= 5_000
