import pytest
from indexing.formats.pdf.drawing import column, drawn, lines_at, read

from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import extract

LEFT = [
    "The harbour office keeps this book",
    "for skippers, for crews and for all",
    "people who look after the cranes. It",
    "is revised every year in the winter,",
    "when the harbour is quiet.",
]
RIGHT = [
    "The crane on the east quay lifts up",
    "to forty tonnes, and its brake holds",
    "at six bar. Heavier loads need the",
    "consent of the harbour master and a",
    "second signaller.",
]
LEFT_TEXT, RIGHT_TEXT = " ".join(LEFT), " ".join(RIGHT)


def blocks(found, kind):
    return [found.text[block.start : block.end] for block in found.blocks if block.kind == kind]


def headings(found):
    return [(heading.level, heading.text) for heading in found.headings]


def lossless(data):
    lost = check("a.pdf", data, extract("a.pdf", data))
    return lost.complete and not lost.glued


@pytest.mark.parametrize("shift", [0, 3, 7])
@pytest.mark.parametrize("by_row", [True, False])
def test_columns_are_read_one_after_another(shift, by_row):
    left, right = column(60, 700, LEFT), column(320, 700 - shift, RIGHT)
    order = [line for pair in zip(left, right, strict=True) for line in pair] if by_row else [*left, *right]
    assert read(lines_at(*order)).text == f"{LEFT_TEXT}\n\n{RIGHT_TEXT}"


def test_a_title_across_columns_is_read_first_and_what_is_below_them_last():
    found = read(
        lines_at(
            (60, 740, "Harbour handbook of the east coast and of its islands", "Helvetica-Bold", 18),
            *column(60, 700, LEFT),
            *column(320, 700, RIGHT),
            (60, 600, "Whoever breaks these rules is warned once, and leaves the harbour within a day after that."),
        )
    )
    assert found.text.split("\n\n") == [
        "Harbour handbook of the east coast and of its islands",
        LEFT_TEXT,
        RIGHT_TEXT,
        "Whoever breaks these rules is warned once, and leaves the harbour within a day after that.",
    ]


def test_three_columns_of_different_length():
    found = read(
        lines_at(*column(40, 700, LEFT[:3], 13), *column(230, 700, RIGHT, 13), *column(420, 700, LEFT[:4], 13), size=9)
    )
    assert found.text.index("people who look") < found.text.index("The crane") < found.text.rindex("The harbour office")


ROWS = [("Berth", "Season", "Price"), ("North quay", "winter", "18 EUR"), ("East quay", "summer", "27 EUR")]
BERTHS = "Berth: North quay | Season: winter | Price: 18 EUR\nBerth: East quay | Season: summer | Price: 27 EUR"


def row_lines(rows, xs=(60, 200, 300), top=700, pitch=16, font="Helvetica"):
    return [(x, top - pitch * i, cell, font) for i, row in enumerate(rows) for x, cell in zip(xs, row, strict=True)]


def test_rows_of_a_table_repeat_the_names_of_their_columns():
    data = drawn(lines_at(*row_lines(ROWS), (60, 640, "Prices are for boats of up to twelve metres.")))
    found = extract("a.pdf", data)
    assert found.text == f"{BERTHS}\n\nPrices are for boats of up to twelve metres."
    assert blocks(found, "table") == [BERTHS] and lossless(data)


def test_a_table_without_names_has_its_cells_alone():
    rows = [("Opening time", "nine in the morning"), ("Closing time", "half past six"), ("Closed", "on holidays")]
    found = read(lines_at(*row_lines(rows, (60, 200))))
    assert found.text == "Opening time | nine in the morning\nClosing time | half past six\nClosed | on holidays"


def test_numbers_aligned_to_the_right_are_one_column():
    def draw(canvas):
        lines_at(*[(x, y, text, "Helvetica-Bold") for x, y, text in ((60, 700, "Berth"), (268, 700, "Price"))])(canvas)
        for i, (name, price) in enumerate((("North quay", "1,018 EUR"), ("East", "27 EUR"), ("Pier", "9 EUR"))):
            canvas.setFont("Helvetica", 11)
            canvas.drawString(60, 684 - 16 * i, name)
            canvas.drawRightString(296, 684 - 16 * i, price)

    assert read(draw).text.split("\n") == [
        "Berth: North quay | Price: 1,018 EUR",
        "Berth: East | Price: 27 EUR",
        "Berth: Pier | Price: 9 EUR",
    ]


def test_a_cell_of_several_lines_is_one_row():
    names = [(60, 700, "Part", "Helvetica-Bold"), (160, 700, "What it does", "Helvetica-Bold")]
    found = read(
        lines_at(
            *names,
            *[(60, 684, "Filter"), (160, 684, "Keeps sand and leaves out of"), (160, 671, "the pump and the pipes.")],
            *[(60, 650, "Seal"), (160, 650, "Holds the oil.")],
            *[(60, 629, "Belt"), (160, 629, "Drives the small pump that"), (160, 616, "cools the gearbox.")],
        )
    )
    assert found.text.split("\n") == [
        "Part: Filter | What it does: Keeps sand and leaves out of the pump and the pipes.",
        "Part: Seal | What it does: Holds the oil.",
        "Part: Belt | What it does: Drives the small pump that cools the gearbox.",
    ]


def test_a_ruled_table_has_its_spans_repeated():
    def draw(canvas):
        canvas.grid([60, 160, 260, 360], [600, 630, 660, 690])
        canvas.setStrokeColorRGB(1, 1, 1)
        lines_at(
            *[(65, 670, "Quay", "Helvetica-Bold"), (165, 670, "Summer", "Helvetica-Bold")],
            (265, 670, "Winter", "Helvetica-Bold"),
            *[(65, 640, "North"), (165, 648, "thirty-one"), (165, 634, "euro"), (265, 640, "18")],
            *[(65, 610, "East"), (165, 610, "27"), (265, 610, "15")],
        )(canvas)

    assert read(draw).text.split("\n") == [
        "Quay: North | Summer: thirty-one euro | Winter: 18",
        "Quay: East | Summer: 27 | Winter: 15",
    ]


def test_cells_between_rules_may_go_over_columns_and_rows():
    def draw(canvas):
        for x0, y0, width, height in (
            *((60, 660, 100, 30), (160, 660, 100, 30), (260, 660, 100, 30)),
            *((60, 600, 100, 60), (160, 630, 200, 30), (160, 600, 100, 30), (260, 600, 100, 30)),
        ):
            canvas.rect(x0, y0, width, height)
        lines_at(
            *[(65, 670, "Quay", "Helvetica-Bold"), (165, 670, "Summer", "Helvetica-Bold")],
            *[(265, 670, "Winter", "Helvetica-Bold"), (65, 628, "North"), (200, 640, "closed all year")],
            *[(165, 610, "27"), (265, 610, "15")],
        )(canvas)

    assert read(draw).text.split("\n") == [
        "Quay: North | Summer: closed all year | Winter: closed all year",
        "Quay: North | Summer: 27 | Winter: 15",
    ]


def test_a_table_that_goes_on_after_a_pages_end_keeps_its_names():
    more = [("Pier four", "winter", "9 EUR"), ("Pier five", "summer", "12 EUR")]
    found = read(lines_at(*row_lines(ROWS)), lines_at(*row_lines(more)))
    assert found.text.endswith(
        "Berth: Pier four | Season: winter | Price: 9 EUR\nBerth: Pier five | Season: summer | Price: 12 EUR"
    )


def test_items_are_lines_of_a_list():
    found = read(
        lines_at(
            (60, 700, "What you need to bring with you to the office of the harbour when you arrive:"),
            *[(72, 680, "•"), (84, 680, "the papers of the boat, with the certificate of insurance that was")],
            (84, 666, "issued this year,"),
            *[(72, 650, "•"), (84, 650, "your passport.")],
            *[(72, 634, "\uf0b7", "Symbol"), (84, 634, "A third one.")],
            (60, 600, "1. Call the office on channel 12 before you pass the outer mole, and wait for"),
            (74, 586, "an answer."),
            (60, 570, "2. Moor at the pontoon."),
        )
    )
    first, second = blocks(found, "list")[0].split("\n")[:2]
    assert first.endswith("with the certificate of insurance that was issued this year,") and first.startswith("• the")
    assert second == "• your passport."
    assert (
        "1. Call the office on channel 12 before you pass the outer mole, and wait for an answer.\n2. Moor"
        in found.text
    )


def test_bullets_that_are_drawn_as_shapes_are_marks():
    def draw(canvas):
        lines_at((84, 680, "the papers of the boat,"), (84, 664, "your passport."))(canvas)
        for y in (684, 668):
            canvas.circle(76, y, 2, fill=1)

    assert blocks(read(draw), "list") == ["- the papers of the boat,\n- your passport."]


def test_a_number_that_begins_a_line_by_chance_is_no_item():
    found = read(
        lines_at(
            *column(60, 700, ["This works since the release of version", "2. The next one will be better than this."])
        )
    )
    assert found.text == "This works since the release of version 2. The next one will be better than this."


BODY = column(
    60, 640, ["The crane on the east quay lifts forty tonnes, and its brake", "holds at six bar all day long."]
)


def test_headings_by_the_size_and_weight_of_their_letters():
    found = read(
        lines_at(
            (60, 720, "Harbour handbook", "Helvetica", 20),
            (60, 690, "The crane", "Helvetica-Bold", 14),
            (60, 660, "Its brake", "Helvetica-Bold"),
            *BODY,
            (60, 600, "Note: this is bold and ends in a stop.", "Helvetica-Bold"),
            *column(60, 580, ["Another paragraph of the usual kind, which is long enough", "for two lines."]),
        )
    )
    assert headings(found) == [(1, "Harbour handbook"), (2, "The crane"), (3, "Its brake")]
    assert found.title == "Harbour handbook"


def test_bookmarks_name_headings_and_their_levels():
    def draw(canvas):
        lines_at((60, 700, "1 The crane"), *BODY, (60, 600, "1.1 Its brake"), (60, 570, "It holds."))(canvas)
        for key, title, level in (("a", "The crane", 0), ("b", "Its brake", 1)):
            canvas.bookmarkPage(key)
            canvas.addOutlineEntry(title, key, level)

    assert headings(read(draw)) == [(1, "1 The crane"), (2, "1.1 Its brake")]


def test_code_keeps_its_lines_and_indents():
    code = [
        (60, 600, "def lift(load):"),
        (84, 588, "if load > 40:"),
        (108, 576, "raise Overload"),
        (60, 552, "go"),
    ]
    found = read(lines_at(*BODY, *[(*line, "Courier", 10) for line in code], (60, 500, "After the code.")))
    assert blocks(found, "code") == ["def lift(load):\n    if load > 40:\n        raise Overload\n\ngo"]


def test_lines_of_an_address_stay_lines():
    found = read(lines_at(*BODY, *column(60, 590, ["Harbour Office", "12 Quay Street", "Newport"])))
    assert found.text.endswith("Harbour Office\n12 Quay Street\nNewport")


def test_superscripts_do_not_join_the_number_before_them():
    def draw(canvas):
        canvas.setFont("Helvetica", 11)
        for y, before, raised, rise, after in (
            (700, "It holds 10", "6", 4, " litres of water."),
            (680, "In the year 1998", "4", 4, " it was built."),
            (660, "The air has too much CO", "2", -2, " in it."),
        ):
            canvas.setFont("Helvetica", 11)
            canvas.drawString(60, y, before)
            x = 60 + canvas.stringWidth(before, "Helvetica", 11)
            canvas.drawString(x + canvas.stringWidth(raised, "Helvetica", 7), y, after)
            canvas.setFont("Helvetica", 7)
            canvas.drawString(x, y + rise, raised)

    text = read(draw).text
    assert "10^6 litres" in text and "1998 [4] it" in text and "CO₂ in" in text
    assert lossless(drawn(draw))


def test_words_by_gaps_without_drawn_spaces():
    def draw(canvas):
        canvas.setFont("Times-Roman", 11)
        x = 60.0
        for word in "Words that no space parts, VA AV To and so on.".split():
            for letter in word:  # each alone, closer together than the font says
                canvas.drawString(x, 700, letter)
                x += canvas.stringWidth(letter, "Times-Roman", 11) - 0.2
            x += 2.6

    assert read(draw).text == "Words that no space parts, VA AV To and so on."


def test_letters_set_apart_are_words():
    def draw(canvas):
        canvas.setFont("Helvetica", 11)
        canvas.drawString(60, 700, "SAFETY FIRST", charSpace=5)

    assert read(draw).text == "SAFETY FIRST"


def test_text_drawn_twice_for_a_shadow_is_kept_once():
    assert read(lines_at((60, 700, "Safety first"), (60.6, 699.5, "Safety first"))).text == "Safety first"


def test_a_paragraph_goes_on_in_the_next_column_and_on_the_next_page():
    first = [*LEFT[:4], "when the harbour is quiet and the"]
    found = read(lines_at(*column(60, 700, first), *column(320, 700, ["skippers are at home. The", *RIGHT[1:]])))
    assert "quiet and the skippers are at home." in found.text
    found = read(
        lines_at(*column(60, 700, first)), lines_at(*column(60, 700, ["skippers are at home.", "All of them."]))
    )
    assert "quiet and the skippers are at home." in found.text
    assert found.text[found.page_starts[1] :].startswith("skippers")


def test_pages_whose_letters_mean_nothing_count_as_without_text():
    def draw(canvas):
        lines_at((60, 700, "Readable."))(canvas)

    assert extract("a.pdf", drawn(draw, lambda canvas: None)).page_starts == (0, len("Readable."))


def test_headers_that_name_the_chapter_are_left_out():
    def page(number, chapter):
        return lines_at(
            (60, 800, f"Chapter {chapter}: Working the cranes of the {chapter}nd quay"),
            (500, 800, str(number)),
            *column(60, 700, [f"Sentence {'abcdefghij'[number]} stands here for page {number * number}."]),
        )

    data = drawn(*[page(number, 1 + number // 3) for number in range(9)])
    text = extract("a.pdf", data).text
    assert "Chapter" not in text and text.count("Sentence") == 9
    lost = check("a.pdf", data, extract("a.pdf", data))
    assert lost.complete and lost.left_out.keys() == {"running headers and footers"}


def test_page_numbers_of_two_pages_are_left_out():
    data = drawn(*[lines_at(*column(60, 700, lines), (300, 40, str(n))) for n, lines in ((1, LEFT), (2, RIGHT))])
    assert extract("a.pdf", data).text == f"{LEFT_TEXT}\n\n{RIGHT_TEXT}"
