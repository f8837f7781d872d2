"""docs/scale.md against the script that computes it."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def sizing():
    spec = importlib.util.spec_from_file_location("sizing", ROOT / "benchmarks" / "sizing.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["sizing"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["sizing"]


def test_the_tables_are_those_that_follow_from_the_constants(sizing):
    page = (ROOT / "docs" / "scale.md").read_text()
    assert sizing.tables(sizing.MEASURED, sizing.Machine()) in page
    assert sizing.constants_table(sizing.MEASURED) in page


def test_a_plan_is_the_arithmetic_by_hand(sizing):
    small, large = sizing.plan(10**6, sizing.MEASURED), sizing.plan(10**8, sizing.MEASURED)
    assert (small.kind, small.shards) == ("hnsw", 1) and (large.kind, large.shards) == ("ivf-pq", 10)
    assert small.text_gb == pytest.approx(sizing.MEASURED.text_bytes / 1000)
    assert large.exact_gb == pytest.approx(153.6)
    assert large.embed_hours == pytest.approx(100 * small.embed_hours)
    machine = sizing.Machine(cores=10, memory_gb=10, disk_gb=100, price=2.0)
    assert large.machines(machine) == max(-(-large.hot_gb // 7.5), -(-large.disk_gb // 100))
    assert large.search_ms(machine) == pytest.approx((large.dense_ms + large.word_ms) / 10)


def test_twice_the_price_is_twice_the_price(sizing):
    cheap, dear = (sizing.tables(sizing.MEASURED, sizing.Machine(price=price)) for price in (1.0, 2.0))
    month = [next(line for line in table.splitlines() if "a month" in line) for table in (cheap, dear)]
    assert "| 730 |" in month[0] and "| 1,500 |" in month[1]
