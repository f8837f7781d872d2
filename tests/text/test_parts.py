import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.text.parts import LEAD_WORDS, MOST_UNITS, passage_units, unit_leads, unit_runs, units_within

GUIDE = """\
Enabling HTTP/2

By default the client speaks HTTP/1.1. To enable HTTP/2, install the extra:

pip install client[http2]

- Then pass http2=True.
- Then pass a list of hosts, if you want it for some only.
"""


def units_of(text, headings=()):
    return [text[unit.start : unit.end] for unit in passage_units(text, headings)]


def test_units_are_sentences_items_and_blocks_without_headings():
    assert units_of(GUIDE, ["Guide", "Enabling HTTP/2"]) == [
        "By default the client speaks HTTP/1.1.",
        "To enable HTTP/2, install the extra:",
        "pip install client[http2]",
        "- Then pass http2=True.",
        "- Then pass a list of hosts, if you want it for some only.",
    ]
    assert units_of("## Install\n\nRun it.\n\n---\n\nUsage\n=====\n\nStop it.") == ["Run it.", "Stop it."]


def test_a_unit_is_named_by_four_words_and_by_more_where_another_begins_with_them():
    units = passage_units(GUIDE, ["Enabling HTTP/2"])
    assert unit_leads(GUIDE, units) == [
        "By default the client",
        "To enable HTTP/2, install",
        "pip install client[http2]",
        "- Then pass http2=True.",
        "- Then pass a",
    ]
    alike = "Open the north gate by hand. Open the north gate by motor. Open the north gate by hand."
    assert unit_leads(alike, passage_units(alike)) == [
        "Open the north gate by hand.",
        "Open the north gate by motor.",
        "Open the north gate by hand.",
    ]


@given(st.text(alphabet="ab. \n-#:", max_size=80))
@settings(max_examples=150, deadline=None)
def test_leads_begin_their_units_and_tell_unlike_units_apart(text):
    units = passage_units(text)
    leads = unit_leads(text, units)
    wholes = [text[unit.start : unit.end] for unit in units]
    assert all(whole.startswith(lead) and lead for whole, lead in zip(wholes, leads, strict=True))
    for whole, lead in zip(wholes, leads, strict=True):
        assert lead == whole or (
            len(lead.split()) >= LEAD_WORDS and not any(other.startswith(lead) for other in wholes if other != whole)
        )


def test_runs_of_units_are_no_longer_than_a_part_may_be():
    text = " ".join(f"Sentence {number} ends." for number in range(9))
    units = passage_units(text)
    runs = unit_runs(text, units)
    assert (
        len(units) == 9 and (0, MOST_UNITS - 1) in runs and max(last - first for first, last in runs) == MOST_UNITS - 1
    )
    assert len(set(runs)) == len(runs) == sum(min(MOST_UNITS, 9 - first) for first in range(9))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [("By default", "extra:", [0, 1, 2]), ("install the extra", "client[http2]", [1, 2]), ("Enabling", "HTTP/2\n", [])],
)
def test_evidence_covers_the_units_that_lie_half_within_it(start, end, expected):
    units = passage_units(GUIDE, ["Enabling HTTP/2"])
    begin = GUIDE.index(start)
    assert list(units_within(GUIDE, units, begin, GUIDE.index(end, begin) + len(end))) == expected


def test_questions_and_headings_without_a_blank_are_no_units():
    assert units_of("####Q13: Must it be open?\n\n- Q7: Is it “free?”\n\n**Why?**\n\nIt is. #1 of two.") == [
        "It is.",
        "#1 of two.",
    ]


def test_a_run_does_not_end_before_what_its_last_unit_introduces():
    units = passage_units(GUIDE, ["Enabling HTTP/2"])
    assert [last for first, last in unit_runs(GUIDE, units) if first == 1] == [2, 3, 4]
    alone = "It is simple. Run this:"
    assert unit_runs(alone, passage_units(alone)) == [(0, 0), (0, 1), (1, 1)]


@given(
    st.lists(st.sampled_from(["It ends.", "It follows:", "Is it?"]), max_size=9), st.integers(0, 90), st.integers(0, 90)
)
def test_the_units_of_evidence_are_a_run_unless_introductions_fill_it(sentences, start, end):
    text = " ".join(sentences)
    units = passage_units(text)
    covered = units_within(text, units, min(start, end), max(start, end))
    if covered:
        whole = text[units[covered[0]].start : units[covered[-1]].end]
        assert (covered[0], covered[-1]) in unit_runs(text, units) or whole.count(":") == len(covered) == 1
