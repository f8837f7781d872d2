import pytest
from tiny_adapters import PLAN, REQUESTS, make_adapter

from rag_ft.adapters.bench import AdapterBench, BenchRow, bench_adapter
from rag_ft.errors import UsageError


def test_both_sides_are_measured_and_nothing_is_left(tiny_llama_dir, tmp_path, monkeypatch):
    import tempfile

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    adapter = make_adapter(tmp_path / "a", tiny_llama_dir, 1)
    bench = bench_adapter(adapter, base=str(tiny_llama_dir), probes=REQUESTS, rounds=1, plan=PLAN)
    rows = {row.what: row for row in bench.rows}
    assert list(rows)[:2] == ["4 questions together", "one question"]
    assert all(row.separate > 0 and row.merged > 0 for row in bench.rows) and bench.swap_seconds > 0
    memory = rows["weights in memory"]
    # Two layers, q: 4 x (64 + 64), v: 4 x (64 + 32), four bytes each.
    assert memory.separate - memory.merged == pytest.approx(2 * (4 * 128 + 4 * 96) * 4 / 1e6)
    size = sum(path.stat().st_size for path in adapter.iterdir()) / 1e6
    single, ten = rows["on disk for one reader"], rows["on disk for ten readers of one base"]
    assert ten.separate - single.separate == pytest.approx(9 * size) and ten.merged == pytest.approx(10 * single.merged)
    assert any(line.startswith("| weights in memory | ") for line in bench.lines())
    assert list(scratch.iterdir()) == []
    with pytest.raises(UsageError, match="rounds is 0"):
        bench_adapter(adapter, rounds=0)


def test_a_ratio_is_merged_to_separate():
    assert BenchRow(what="x", unit="s", separate=2.0, merged=1.0).ratio == 0.5


def test_the_table_has_no_exponents():
    rows = (
        BenchRow(what="disk", unit="MB", separate=642.4, merged=5423.7),
        BenchRow(what="time", unit="s", separate=0.026712, merged=1.5),
    )
    lines = AdapterBench(plan="cpu", questions=1, rounds=1, rows=rows, swap_seconds=0.02).lines()
    assert lines[2:4] == ["| disk | 642 MB | 5,424 MB | 8.44 |", "| time | 0.0267 s | 1.5 s | 56.15 |"]
