from __future__ import annotations

import pytest
from tiny_embedder import write_tiny_sentence_embedder

from rag_ft.benchmarking.run import run_bench
from rag_ft.errors import UsageError


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return str(write_tiny_sentence_embedder(tmp_path_factory.mktemp("tiny")))


@pytest.mark.slow
def test_every_figure_stands_beside_what_it_is_compared_with(embedder, tiny_llama_dir):
    seen = []
    bench = run_bench(passages=4, rounds=1, embedder=embedder, reader=str(tiny_llama_dir), on_row=seen.append)
    assert [row.what for row in bench.rows][:1] == ["embed 4 passages"]
    assert [row.unit for row in bench.rows] == ["s", "ms", "ms", "s", "MB", "s", "s"]
    assert all(row.ours > 0 and row.peer > 0 and row.peer_name for row in bench.rows)
    assert {row.peer_name.split()[0] for row in bench.rows} == {"SentenceTransformer.encode", "a", "transformers'"}
    assert seen == list(bench.rows)
    assert "products" in bench.embedding and bench.reading
    assert bench.lines()[0].startswith("|  | rag_ft | instead |") and len(bench.lines()) == 9


@pytest.mark.parametrize("wrong", [{"passages": 0}, {"rounds": 0}])
def test_nothing_to_measure_is_a_wrong_call(wrong):
    with pytest.raises(UsageError, match="is 0 and must be at least 1"):
        run_bench(**wrong)
