import json

import pytest
from data import little_world
from fakes import HashingEmbedder
from tiny_adapters import fresh, make_adapter
from typer.testing import CliRunner

from rag_ft.answering.confidence import PlattScale
from rag_ft.cli import app
from rag_ft.errors import AdapterError, UsageError


@pytest.fixture(scope="module")
def adapter(tiny_llama_dir, tmp_path_factory):
    scale = PlattScale(slope=0.5, intercept=-1)
    return make_adapter(tmp_path_factory.mktemp("a") / "one", tiny_llama_dir, 1, threshold=0.0, scale=scale)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """An index folder and a file of questions; the index's own embedder is a fake one."""
    from rag_ft.indexing.index import Index

    documents, questions = little_world(3)
    Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    (tmp_path / "qa.jsonl").write_text("".join(question.model_dump_json() + "\n" for question in questions))
    load = Index.load
    monkeypatch.setattr(Index, "load", lambda path: load(path, embedder=HashingEmbedder()))
    return tmp_path / "qa.jsonl", tmp_path / "index"


def run(*arguments):
    done = CliRunner().invoke(app, ["adapter", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_info_draws_a_bar_for_each_layer_and_prints_json(adapter):
    (adapter / "README.md").write_text("---\nlicense: mit\n---\n# The card\n")
    text = run("info", adapter).stdout
    assert "rank 4, alpha 8, scale alpha / rank = 2" in text and "The card" in text and "license:" not in text
    bars = [line for line in text.splitlines() if "█" in line]
    assert len(bars) == 2 and max(line.count("█") for line in bars) == 40
    assert "confidence scaled to the share of right answers: 0.50 x log-odds -1.00" in text
    assert "The card" not in run("info", adapter, "--no-card").stdout
    assert json.loads(run("info", adapter, "--json").stdout)["parameters"] == 1792


def test_info_shows_the_threshold_and_the_scale_of_each_kind(adapter):
    record = json.loads((adapter / "rag_ft.json").read_text())
    record["threshold"]["kinds"] = {
        "part": {"value": 0.4, "platt": {"slope": 0.3, "intercept": -0.5}},
        "yes/no": {"value": 0.6},
    }
    (adapter / "rag_ft.json").write_text(json.dumps(record))
    lines = run("info", adapter).stdout.splitlines()
    assert "  part     threshold 0.4, scaled to the share of right answers: 0.30 x log-odds -0.50" in lines
    assert "  yes/no   threshold 0.6, as the reader computes it" in lines
    assert json.loads(run("info", adapter, "--json").stdout)["kinds"]["part"]["value"] == 0.4


def test_merge_prints_the_difference_and_the_result_is_a_base(adapter, tiny_llama_dir, world, tmp_path):
    questions, index = world
    probes = ("--questions", questions, "--index", index)
    done = run("merge", adapter, tmp_path / "m", "--reader", tiny_llama_dir, *probes)
    assert "completions identical" in done.stdout and f"--reader {tmp_path / 'm'}" in done.stdout
    assert fresh(tmp_path / "m", None).threshold == 0.0
    result = json.loads(
        run("merge", adapter, tmp_path / "m", "--reader", tiny_llama_dir, *probes, "--overwrite", "--json").stdout
    )
    assert result["base"] == "original" and result["candidates"][0]["difference"]["probes"] == 9
    with pytest.raises(UsageError, match="grid far coarser"):
        run("merge", adapter, tmp_path / "n", "--reader", tiny_llama_dir, "--dtype", "nf4")
    with pytest.raises(UsageError, match="go together"):
        run("merge", adapter, tmp_path / "n", "--questions", questions)
    with pytest.raises(AdapterError, match="above the bound"):
        run("merge", adapter, tmp_path / "n", "--reader", tiny_llama_dir, *probes, "--bound", "0")


def test_export_writes_each_format(adapter, tiny_llama_dir, world, tmp_path):
    questions, index = world
    probes = ("--reader", tiny_llama_dir, "--questions", questions, "--index", index)
    assert "--max-lora-rank 8" in run("export", adapter, tmp_path / "p", "--to", "peft").stdout
    done = run("export", adapter, tmp_path / "s", "--to", "safetensors", *probes)
    assert done.stdout.count("written:") == 1
    assert (tmp_path / "s" / "model.safetensors").is_file()
    done = run("export", tmp_path / "s", tmp_path / "s.gguf", "--to", "gguf-q8_0")
    assert "opened again and equal" in done.stdout and (tmp_path / "s.gguf").is_file()


def test_compare_shows_where_two_adapters_part(adapter, tiny_llama_dir, world):
    questions, index = world
    given = ("compare", adapter, "none", questions, "--index", index, "--reader", tiny_llama_dir)
    text = run(*given).stdout
    assert "of 9 questions answered the same" in text and "? How high is the tower of Oslo?" in text
    result = json.loads(run(*given, "--json").stdout)
    assert result["summary"]["questions"] == len(result["questions"]) == 9


def test_bench_prints_a_table(adapter, tiny_llama_dir, tmp_path, monkeypatch):
    from tiny_adapters import REQUESTS

    monkeypatch.setattr("rag_ft.adapters.bench.handbook_probes", lambda count: REQUESTS)
    given = ("bench", adapter, "--reader", tiny_llama_dir, "--rounds", "1")
    assert "| | separate | merged | merged / separate |" in run(*given).stdout
    assert json.loads(run(*given, "--json").stdout)["rounds"] == 1
