from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from rag_ft.benchmarking.comparison import compared
from rag_ft.benchmarking.run import Bench
from rag_ft.cli import app


@pytest.fixture
def asked(monkeypatch):
    """What the command asks to be measured; a bench of one row comes back at once."""
    given = {}

    def measured(**settings):
        given.update(settings)
        rows = (compared("embed 2 passages", "s", [1.0, 1.0], [2.0, 3.0], "SentenceTransformer.encode"),)
        given["on_row"](rows[0])
        return Bench(embedding="openvino on cpu", reading="", rounds=2, rows=rows)

    monkeypatch.setattr("rag_ft.benchmarking.run.run_bench", measured)
    return given


def bench(*arguments: str):
    shown = CliRunner().invoke(app, ["bench", *arguments])
    assert shown.exit_code == 0, shown.output
    return shown


def test_a_row_says_both_figures_their_ratio_with_its_spread_and_what_it_is_compared_with(asked):
    shown = bench("--passages", "2")
    assert shown.stdout.splitlines()[2:] == [
        "| embed 2 passages | 1.00 s | 2.50 s | 2.50 (2.00 to 3.00) | SentenceTransformer.encode |"
    ]
    assert (asked["passages"], asked["reader"]) == (2, "default")


def test_json_has_the_same_and_without_reading_no_reader_is_asked_for(asked):
    row = json.loads(bench("--json", "--no-reading").stdout)["rows"][0]
    assert (row["ours"], row["peer"], row["ratio"]) == (1.0, 2.5, 2.5)
    assert asked["reader"] is None
