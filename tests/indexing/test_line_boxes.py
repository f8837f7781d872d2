"""Lines of simulated pages: their boxes cover the characters of a quote, and none of another line."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.line_boxes import page_sizes, quote_boxes
from rag_ft.indexing.places import STEPS, Places, encode_places

WIDTH, HEIGHT = 600.0, 800.0


def places_of(text, boxes, page_starts=(0,), sizes=None):
    """Places of a text whose boxes are in points."""
    scaled = [
        (
            math.floor(x0 / WIDTH * STEPS),
            math.floor(y0 / HEIGHT * STEPS),
            math.ceil(x1 / WIDTH * STEPS),
            math.ceil(y1 / HEIGHT * STEPS),
        )
        for x0, y0, x1, y1 in boxes
    ]
    data = np.array(scaled, dtype="<u2").tobytes()
    sizes = sizes or ((WIDTH, HEIGHT),) * len(page_starts)
    return Places.decode(encode_places(Extracted(text, page_starts=page_starts, page_sizes=sizes, char_boxes=data)))


def laid_out(lines, x=50.0, y=50.0, size=10.0, leading=1.2, tight=False):
    """Text and boxes of lines below each other; a space without a box stands between lines."""
    text, boxes, numbers = "", [], []
    for number, line in enumerate(lines):
        left, top = x, y + number * size * leading
        for character in line:
            width = size * (0.25 if character in " .,'il" else 0.55)
            rise, fall = _tight(character) if tight else (0.9, 0.2)
            boxes.append((left, top + size * (0.9 - rise), left + width, top + size * (0.9 + fall)))
            left += width
            numbers.append(number)
        text += line
        if number + 1 < len(lines):
            text += " "
            boxes.append((0, 0, 0, 0))
            numbers.append(-1)
    return text, boxes, numbers


def _tight(character):
    if character in "gpqy":
        return 0.5, 0.2
    if character in "'\"":
        return 0.7, -0.45
    return (
        (0.1, 0.05) if character in ".," else (0.7, 0.0) if character in "bdfhklt" or character.isupper() else (0.5, 0)
    )


def turned(boxes, quarter):
    """Boxes after quarter turns to the right, on the page."""
    for _ in range(quarter):
        boxes = [(0, 0, 0, 0) if box == (0, 0, 0, 0) else (580 - box[3], box[0], 580 - box[1], box[2]) for box in boxes]
    return boxes


WORDS = st.lists(st.text("abghilopquyHMT.,'", min_size=1, max_size=8), min_size=2, max_size=7).map(" ".join)
LINES = st.lists(WORDS.filter(lambda line: len(line) > 4), min_size=1, max_size=6)


@given(LINES, st.booleans(), st.integers(0, 3), st.floats(1.0, 2.0), st.data())
def test_boxes_cover_the_quote_and_no_character_of_another_line(lines, tight, quarter, leading, data):
    text, boxes, numbers = laid_out(lines, leading=leading if not tight else max(leading, 1.1), tight=tight)
    boxes = turned(boxes, quarter)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    found = quote_boxes(places_of(text, boxes), start, end, text[start:end])
    quoted = [i for i in range(start, end) if not text[i].isspace()]
    edge = 0.05
    for i in quoted:
        assert any(
            box.x0 - edge <= boxes[i][0] and boxes[i][2] <= box.x1 + edge
            and box.y0 - edge <= boxes[i][1] and boxes[i][3] <= box.y1 + edge
            for box in found
        )  # fmt: skip
    for box in found:
        inside = [
            i for i in range(len(text)) if numbers[i] >= 0 and not text[i].isspace() and _center_in(boxes[i], box)
        ]
        assert {numbers[i] for i in inside} <= {numbers[i] for i in quoted}
        assert len({numbers[i] for i in inside}) == 1  # one line each
        assert set(inside) <= set(quoted)
        for edge_of_box, edges in (
            (box.x0, [boxes[i][0] for i in inside]),
            (box.y0, [boxes[i][1] for i in inside]),
            (box.x1, [boxes[i][2] for i in inside]),
            (box.y1, [boxes[i][3] for i in inside]),
        ):
            assert min(abs(edge_of_box - side) for side in edges) < edge
    if not tight:
        assert len(found) == len({numbers[i] for i in quoted})


def _center_in(rectangle, box):
    x, y = (rectangle[0] + rectangle[2]) / 2, (rectangle[1] + rectangle[3]) / 2
    return box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1


def test_a_quote_over_a_page_break_has_boxes_on_both_pages():
    first, above, _ = laid_out(["The crane lifts"], y=700)
    second, below, _ = laid_out(["forty-two tonnes."], y=40)
    text = f"{first} {second}"
    start = len(first) + 1
    places = places_of(text, [*above, (0, 0, 0, 0), *below], (0, start), ((600.0, 800.0), (420.0, 595.0)))
    boxes = quote_boxes(places, 4, len(text), text[4:])
    assert [box.page for box in boxes] == [1, 2]
    assert boxes[0].y0 > 690 and boxes[1].y0 < 40
    sizes = page_sizes(places, boxes)
    assert [(size.page, size.width, size.height) for size in sizes] == [(1, 600.0, 800.0), (2, 420.0, 595.0)]


def test_cells_of_a_row_have_boxes_of_their_own():
    left, boxes, _ = laid_out(["North quay"], x=50)
    right, more, _ = laid_out(["18 EUR"], x=300)
    text = f"{left} | {right}"
    places = places_of(text, [*boxes, *[(0, 0, 0, 0)] * 3, *more])
    assert len(quote_boxes(places, 0, len(text), text)) == 2


def test_a_line_of_the_next_column_that_stands_a_little_lower_has_a_box_of_its_own():
    left, boxes, _ = laid_out(["North quay"], x=50)
    right, more, _ = laid_out(["South quay"], x=130, y=54)
    text = f"{left} {right}"
    places = places_of(text, [*boxes, (0, 0, 0, 0), *more])
    assert len(quote_boxes(places, 0, len(text), text)) == 2


def test_a_raised_figure_stays_on_its_line():
    text, boxes, _ = laid_out(["about 106 litres"], tight=True)
    i = text.index("6")
    x0, y0, x1, y1 = boxes[i]
    boxes[i] = (x0, y0 - 3, x1 - 2, y1 - 3.5)
    assert len(quote_boxes(places_of(text, boxes), 0, len(text), text)) == 1


def test_an_initial_of_three_lines_does_not_take_them_in():
    text, boxes, _ = laid_out(["The crane", "lifts more", "than that."])
    boxes = [(x0 + 25, y0, x1 + 25, y1) if (x0, y1) != (0, 0) else (0, 0, 0, 0) for x0, y0, x1, y1 in boxes]
    boxes[0] = (45.0, 50.0, 73.0, 83.0)
    found = quote_boxes(places_of(text, boxes), 0, 9, text[:9])
    assert [round(box.y1 - box.y0) for box in found] == [33, 11]


def test_slanted_text_is_boxed_in_pieces():
    boxes = [(50 + 6 * i, 50 + 6 * i, 57 + 6 * i, 57 + 6 * i) for i in range(20)]
    found = quote_boxes(places_of("x" * 20, boxes), 0, 20, "x" * 20)
    assert all(box.y1 - box.y0 < 20 for box in found) and len(found) > 5


def test_nothing_drawn_gives_no_box():
    assert quote_boxes(places_of("ab c", [(0, 0, 0, 0)] * 4), 0, 4, "ab c") == ()
