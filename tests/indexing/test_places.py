import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.formats.extracted import Extracted, LineAnchor
from rag_ft.indexing.formats.source_lines import line_ends
from rag_ft.indexing.places import BLOCK_CHARS, Places, PlacesError, encode_places


def extracted(boxes, page_starts=(0,), anchors=(), text=None):
    data = np.asarray(boxes, dtype="<u2").tobytes()
    return Extracted(
        "x" * len(boxes) if text is None else text,
        page_starts=page_starts,
        page_sizes=((595.276, 841.89),) * len(page_starts),
        char_boxes=data,
        line_anchors=anchors,
    )


BOXES = st.lists(
    st.tuples(*[st.integers(0, 65_535)] * 4).map(
        lambda box: (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
    ),
    min_size=1,
    max_size=40,
)


@given(BOXES, st.data())
def test_any_boxes_come_back_as_they_were(boxes, data):
    places = Places.decode(encode_places(extracted(boxes)))
    places.check("x" * len(boxes), (0,))
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(boxes))] * 2)))
    assert places.boxes(start, end).tolist() == [list(box) for box in boxes[start:end]]


def test_boxes_of_a_quote_over_two_blocks_and_small_in_storage():
    chance = np.random.default_rng(3)
    widths = chance.integers(250, 700, 60)
    letters = chance.integers(0, 60, BLOCK_CHARS * 2 + 5)
    left = (np.cumsum(widths[letters]) % 50_000).astype(int)
    line = np.arange(len(letters)) // 90 * 900 % 60_000
    boxes = np.stack([left, line, left + widths[letters], line + 700], axis=1)
    data = encode_places(extracted(boxes))
    start = BLOCK_CHARS - 3
    assert Places.decode(data).boxes(start, start + 9).tolist() == boxes[start : start + 9].tolist()
    assert len(data) < 2.5 * len(boxes)  # eight bytes each without compression


def test_pages_and_sizes_are_kept_and_found():
    places = Places.decode(encode_places(extracted([(0, 0, 1, 1)] * 9, page_starts=(0, 4, 4, 8))))
    assert [places.page_of(offset) for offset in (0, 3, 4, 7, 8)] == [1, 1, 3, 3, 4]
    assert places.page_sizes == ((595.276, 841.89),) * 4


def test_a_text_without_a_layout_has_no_boxes():
    assert encode_places(Extracted("Some text.")) == b""
    places = Places.decode(encode_places(Extracted("a\nb", line_anchors=(LineAnchor(0, 1),))))
    assert len(places.boxes(0, 3)) == 0 and places.line_of(2, "a\nb") == 2


def test_boxes_of_another_length_than_the_text_are_left_out():
    assert encode_places(extracted([(0, 0, 1, 1)] * 3, text="four")) == b""


@pytest.mark.parametrize(("text", "ends"), [("", 0), ("a\r\nb\r\n", 2), ("a\rb\nc", 2), ("\n\n", 2)])
def test_line_ends_are_counted_as_editors_do(text, ends):
    assert line_ends(text) == ends


def test_lines_count_from_the_anchor_before():
    text = "One.\n\nTwo three.\n\ncode\ncode"
    anchors = (LineAnchor(0, 4), LineAnchor(6, 9), LineAnchor(18, 20))
    places = Places.decode(encode_places(Extracted(text, line_anchors=anchors)))
    assert [places.line_of(text.index(word), text) for word in ("One", "Two", "three", "code")] == [4, 9, 9, 20]
    assert places.line_of(len(text), text) == 21


@given(st.data())
def test_damaged_bytes_are_one_kind_of_error(data):
    good = encode_places(extracted([(5, 5, 9, 9)] * 20, anchors=(LineAnchor(0, 1),)))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 4)) :]
    try:
        places = Places.decode(bad)
        places.check("x" * 20, (0,))
    except PlacesError:
        return
    assert places.boxes(0, 20).shape == (20, 4)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"chars":1,"page_starts":[0],"page_sizes":[[1,1]],"anchors":[],"lines":[],"blocks":[]}',
        b'{"chars":1,"page_starts":[],"page_sizes":[],"anchors":[0],"lines":[0],"blocks":[]}',
        b'{"chars":1,"page_starts":[],"page_sizes":[],"anchors":[3],"lines":[1],"blocks":[]}',
        b'{"chars":1,"page_starts":[],"page_sizes":[],"anchors":[3,-2],"lines":[1,1],"blocks":[]}',
        b'{"chars":-1,"page_starts":[],"page_sizes":[],"anchors":[],"lines":[],"blocks":[]}',
        b"[" * 100_000,
    ],
)
def test_headers_that_contradict_themselves_are_refused(header):
    packed = zlib.compress(header)
    with pytest.raises(PlacesError):
        Places.decode(struct.pack(">4sI", b"RFP1", len(packed)) + packed)


def test_places_of_another_text_are_refused():
    places = Places.decode(encode_places(extracted([(0, 0, 1, 1)] * 4)))
    for text, pages in (("five!", (0,)), ("four", (0, 2))):
        with pytest.raises(PlacesError, match="another text"):
            places.check(text, pages)


def test_what_a_reader_gets_wrong_costs_only_the_places():
    places = Places.decode(encode_places(extracted([(5, 9, 1, 1)])))
    places.check("x", (0,))
    assert places.boxes(0, 1).tolist() == [[5, 9, 5, 9]]
    for size in ((-1.0, 5.0), (float("nan"), 5.0), (1e9, 5.0)):
        endless = extracted([(0, 0, 1, 1)])
        endless.page_sizes = (size,)
        assert encode_places(endless) == b""
