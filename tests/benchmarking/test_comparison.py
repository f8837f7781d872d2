from __future__ import annotations

import pytest

from rag_ft.benchmarking.comparison import HEADINGS, Comparison, compared, in_turns, percentile


def test_both_sides_run_once_a_round_and_the_order_is_swapped():
    ran = []
    seconds = in_turns(lambda: ran.append("ours"), lambda: ran.append("peer"), 3)
    assert ran == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert len(seconds.ours) == len(seconds.peer) == 3


def test_a_ratio_says_how_much_less_this_program_takes_and_its_spread_is_taken_pair_by_pair():
    row = compared("embed", "s", [1.0, 2.0, 4.0], [3.0, 4.0, 20.0], "plain")
    assert (row.ours, row.peer, row.ratio) == (2.0, 4.0, 2.0)
    assert (row.ratio_low, row.ratio_high) == (2.0, 5.0)
    assert row.cells == ("embed", "2.00 s", "4.00 s", "2.00 (2.00 to 5.00)", "plain")
    assert len(row.cells) == len(HEADINGS)


def test_the_ratio_is_in_the_json():
    row = compared("memory", "MB", [500.0], [1000.0], "plain")
    assert row.model_dump()["ratio"] == 2.0
    assert Comparison.model_validate(row.model_dump(exclude={"ratio"})) == row


@pytest.mark.parametrize(("percent", "wanted"), [(50, 3), (95, 5), (0, 1)])
def test_a_percentile_is_one_of_the_values(percent, wanted):
    assert percentile([5, 1, 4, 2, 3], percent) == wanted
