import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.indexing.locations import Located, column_letters, location_of
from rag_ft.schema import Location, Passage
from rag_ft.text.spans import Span


def passage(start, end, *locations):
    return Passage(
        id="a#0-1",
        document_id="a",
        text="x" * (end - start),
        start=start,
        end=end,
        locations=Located(locations).within(start, end),
    )


PRICES = Location(start=10, label="sheet Prices", cells=(9, 2, 1, 8, 0, 2, 10, 1, 1, 7, 0, 2))
"""Cells A2 at 19, B2 at 27, A3 at 37 and B3 at 44."""
SLIDES = tuple(Location(start=start, label=f"slide {i}") for i, start in enumerate((0, 50, 90), start=1))


@pytest.mark.parametrize(
    ("span", "where"),
    [
        ((19, 22), "sheet Prices, cell A2"),
        ((28, 36), "sheet Prices, cell B2"),
        ((20, 30), "sheet Prices, row 2"),
        ((30, 45), "sheet Prices, rows 2 to 3"),
        ((44, 60), "sheet Prices, cell B3"),
        ((10, 15), "sheet Prices"),
    ],
)
def test_a_span_of_a_sheet_is_located_in_its_cell_row_or_rows(span, where):
    assert location_of(passage(0, 60, PRICES), Span(*span)) == where
    start = max(span[0] - 3, 0)
    assert location_of(passage(start, 60, PRICES), Span(span[0] - start, span[1] - start)) == where


def test_a_span_of_slides_is_located_on_them():
    assert location_of(passage(40, 60, *SLIDES), Span(0, 5)) == "slide 1"
    assert location_of(passage(40, 60, *SLIDES), Span(12, 15)) == "slide 2"
    assert location_of(passage(40, 95, *SLIDES)) == "slide 1 to slide 3"
    assert location_of(passage(40, 60)) is None


def test_a_passage_keeps_only_the_cells_that_it_holds():
    (cut,) = Located([PRICES]).within(28, 40)
    assert cut == Location(start=27, label="sheet Prices", cells=(0, 2, 2, 10, 1, 1))


def test_columns_have_letters():
    assert [column_letters(column) for column in (1, 26, 27, 52, 703, 16384)] == ["A", "Z", "AA", "AZ", "AAA", "XFD"]


CELLS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=12)


@settings(deadline=None)
@given(
    st.lists(CELLS, min_size=1, max_size=3),
    st.integers(0, 80),
    st.integers(1, 40),
    st.integers(0, 60),
    st.integers(1, 9),
)
def test_a_passage_locates_a_span_as_its_document_does(sheets, start, length, within, chars):
    locations, at = [], 0
    for i, cells in enumerate(sheets):
        numbers = [number for cell in cells for number in cell]
        numbers[1] += 1
        locations.append(Location(start=at, label=f"sheet {i}", cells=tuple(numbers)))
        at += sum(numbers[::3]) + 5
    whole = passage(0, 200, *locations)
    first = min(within, length - 1)
    last = min(first + chars, length)
    cut = passage(start, start + length, *locations)
    assert location_of(cut, Span(first, last)) == location_of(whole, Span(start + first, start + last))
