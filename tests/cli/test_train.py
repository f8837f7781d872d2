import json
import os
import subprocess
import sys

import pytest
from commands import invoke
from data import write_little_world

from rag_ft.questions.records import read_questions, write_questions


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Index, question file and folder of a little world, with the real embedder left out."""
    return write_little_world(tmp_path_factory.mktemp("cli-train"))


@pytest.fixture(scope="module")
def index(files):
    from rag_ft.indexing.index import Index

    Index.build(files / "docs", files / "index", progress=False)
    return files / "index"


@pytest.mark.slow
def test_plan_prints_the_arithmetic_and_json(tiny_llama_dir):
    shown = invoke("plan", tiny_llama_dir, "--rank", 4, "--alpha", 4)
    assert shown.exit_code == 0
    assert "adapter 4 x (64 + 128) = 768" in shown.output
    assert "0.5 times the usual scale" in shown.output
    result = json.loads(invoke("plan", tiny_llama_dir, "--json", "--rank", 4).output)
    assert result["trainable"] == 8192 and result["scale"] == 2


@pytest.mark.slow
def test_check_prints_the_certificate_and_trains_nothing(files, index, tiny_llama_dir):
    shown = invoke("train", files / "qa.jsonl", "--index", index, "--reader", tiny_llama_dir, "--check", "--rank", 4)
    assert shown.exit_code == 0, shown.output
    assert "end of turn labelled in all, prompt tokens in none" in shown.output
    assert not (files / "adapters").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--negatives", 0), "33% of the examples"),
        (("--negatives", 0, "--unanswerable-share", 0), "0% of the examples"),
        (("--reading", "joint", "--unanswerable-share", 0, "--gold-probability", 1), "0% of the examples"),
    ],
)
def test_the_share_of_null_is_chosen(files, index, tiny_llama_dir, arguments, message):
    shown = invoke(
        "train", files / "qa.jsonl", "--index", index, "--reader", tiny_llama_dir, "--check", "--rank", 4, *arguments
    )
    assert f"null targets    {message}" in shown.output


@pytest.mark.slow
def test_show_masks_prints_every_token_of_an_example(files, index, tiny_llama_dir):
    shown = invoke(
        "train", files / "qa.jsonl", "--index", index, "--reader", tiny_llama_dir, "--show-masks", 9, "--rank", 4
    )
    assert shown.output.count("tokens are learned") == 9
    plain = shown.output.replace("·", "").replace("\n", "")
    assert '{"answer":' in plain and "<|im_end|>" in plain
    # Without colours brackets say what is learned: the completion and the end of the turn.
    learned = [part.split("⟧")[0] for part in plain.split("⟦")[1:]]
    assert len(learned) == 9 and plain.count("⟧") == 9
    assert all(part.startswith('{"answer":') and part.endswith("<|im_end|>") for part in learned)


@pytest.mark.slow
def test_check_ends_with_1_where_the_run_would_not_start(files, index, tiny_llama_dir):
    never = [record for record in read_questions(files / "qa.jsonl") if not record.answerable]
    write_questions(never, files / "never.jsonl")
    shown = invoke("train", files / "never.jsonl", "--index", index, "--reader", tiny_llama_dir, "--check", "--rank", 4)
    assert shown.return_value == 1 and "STOP            every target is null" in shown.output


@pytest.fixture(scope="module")
def adapter(files, index, tiny_llama_dir):
    """A folder that `train` has written."""
    out = files / "adapter"
    result = invoke(
        "train", files / "qa.jsonl", "--index", index, "--reader", tiny_llama_dir, "-o", out, "--epochs", 1, "--rank", 4
    )
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.slow
def test_train_makes_an_adapter_that_ask_takes(adapter, index, tiny_llama_dir):
    out = adapter
    for name in ("adapter_config.json", "adapter_model.safetensors", "rag_ft.json", "README.md", "training/curves.png"):
        assert (out / name).is_file()
    config = json.loads((out / "adapter_config.json").read_text())
    assert str(tiny_llama_dir) not in json.dumps(config)
    record = json.loads((out / "rag_ft.json").read_text())
    assert record["data"]["held_out"] and not set(record["data"]["held_out"]) & set(record["data"]["documents"])
    assert not (out / "training" / "checkpoints").exists()
    asked = invoke(
        "ask", "How high is the tower of Lima?", "--index", index, "--reader", tiny_llama_dir, "--adapter", out
    )
    assert asked.exit_code == 0, asked.output


@pytest.mark.slow
def test_processes_of_a_launcher_train_together_and_speak_with_one_voice(files, index, tiny_llama_dir, tmp_path):
    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "rag_ft")
    train = ("train", files / "qa.jsonl", "--index", index, "--reader", tiny_llama_dir, "-o", tmp_path / "made")
    done = subprocess.run(
        [*launch, *map(str, train), "--epochs", "1", "--rank", "4", "--no-compare"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split()[0] for line in done.stdout.splitlines() if line.strip()]
    assert lines.count("processes") == lines.count("tuned") == lines.count("adapter:") == 1
    assert "2; each computes a part of every step, the largest" in done.stdout
    assert (tmp_path / "made" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "made" / "training" / "checkpoints").exists()


@pytest.mark.slow
def test_a_curve_leaves_an_adapter_for_every_size(files, index, tiny_llama_dir, tmp_path):
    result = invoke(
        *("train", files / "qa.jsonl", "--index", index, "--reader", tiny_llama_dir, "-o", tmp_path, "--epochs", 1),
        *("--rank", 4, "--curve", 1, "--no-compare"),
    )
    assert result.exit_code == 0, result.output
    sizes = sorted(int(folder.name) for folder in (tmp_path / "curve").iterdir() if folder.is_dir())
    assert sizes[0] == round(sizes[1] / 2) and f"{sizes[1]} records: F1" in result.output
    assert (tmp_path / "adapter_model.safetensors").is_file() and f"adapter: {tmp_path}" in result.output


@pytest.mark.slow
def test_a_cross_encoder_is_tuned_alone_and_ask_takes_it(files, index, tiny_llama_dir, tmp_path):
    from rag_ft.models.weights import weights_in

    train = ("train", files / "qa.jsonl", "--index", index, "-o", tmp_path, "--tune", "cross-encoder", "--epochs", 1)
    checked = invoke(*train, "--check")
    assert checked.exit_code == 0 and "questions       " in checked.output and not list(tmp_path.iterdir())
    done = invoke(*train)
    assert done.exit_code == 0, done.output
    made = tmp_path / "cross_encoder"
    assert f"cross-encoder: {made}" in done.output and f"--cross-encoder {made}" in " ".join(done.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["cross_encoder"]
    ask = ("ask", "Why is the tower of Lima high?", "--index", index, "--reader", tiny_llama_dir, "--json")
    asked = invoke(*ask, "--cross-encoder", made)
    assert asked.exit_code == 0, asked.output
    fingerprint = weights_in(made, "cross-encoder").fingerprint
    assert json.loads(asked.output)["provenance"]["cross_encoder"] == fingerprint
    assert json.loads(invoke(*ask, "--cross-encoder", "none").output)["provenance"]["cross_encoder"] is None
    refused = invoke(*ask, "--cross-encoder", tmp_path)
    assert "is not a cross-encoder (cross_encoder.json is missing)" in str(refused.exception)


@pytest.mark.slow
def test_both_are_tuned_and_used_together(files, index, tiny_llama_dir, tmp_path):
    done = invoke(
        *("train", files / "qa.jsonl", "--index", index, "--reader", tiny_llama_dir, "-o", tmp_path, "--epochs", 1),
        *("--rank", 4, "--no-compare", "--tune", "both"),
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "adapter_model.safetensors").is_file()
    assert (tmp_path / "cross_encoder" / "cross_encoder.json").is_file() and f"adapter: {tmp_path}" in done.output
    asked = invoke(
        *("ask", "Why is the tower of Lima high?", "--index", index, "--reader", tiny_llama_dir, "--adapter", tmp_path),
        "--json",
    )
    assert json.loads(asked.output)["provenance"]["cross_encoder"]


@pytest.mark.slow
def test_an_adapter_on_another_base_is_refused(adapter):
    from rag_ft.errors import WeightsError
    from rag_ft.models.loading import load_model

    with pytest.raises(WeightsError, match=r"was trained on .* use the base model"):
        load_model(adapter=adapter)


@pytest.mark.slow
def test_data_check_reports_what_would_spoil_a_run(files, index):
    sound = invoke("data", "check", files / "qa.jsonl", "--index", index)
    assert sound.return_value == 0, sound.output
    assert "24 about 8 documents; 8 unanswerable (33%)" in sound.output
    records = read_questions(files / "qa.jsonl")
    copy = records[0].model_copy(update={"id": "copy"})
    lost = records[1].evidence[0].model_copy(update={"quote": "never said"})
    write_questions(
        [*records, copy, records[1].model_copy(update={"id": "lost", "evidence": (lost,)})], files / "odd.jsonl"
    )
    odd = invoke("data", "check", files / "odd.jsonl", "--index", index, "--json")
    assert odd.return_value == 1
    report = json.loads(odd.output)
    assert report["duplicates"] == ["copy", "lost"]
    assert len(report["evidence_missing"]) == 2 and "lost" in report["evidence_missing"][0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rank", 0), "--rank is 0"),
        (("--rank", 10_000), "--rank is 10000"),
        (("--dropout", 1.5), "--dropout is 1.5"),
        (("--epochs", 0), "--epochs is 0"),
        (("--held-out", 0.9), "--held-out is 0.9"),
        (("--seed", -1), "--seed is -1"),
        (("--unanswerable-share", 1), "--unanswerable-share is 1"),
        (("--reading", "joint", "--gold-probability", 2), "--gold-probability is 2"),
        (("--gold-probability", 0.5), "give it with --reading joint"),
        (("--alpha", "inf"), "--alpha is inf"),
        (("--cross-encoder", "none"), "give it with --tune cross-encoder or --tune both"),
        (("--tune", "cross-encoder", "--start-from", "packaged"), "--start-from is for the reader"),
        (("--tune", "cross-encoder", "--curve", 2), "--curve is for the reader"),
        (("--tune", "cross-encoder", "--show-masks", 2), "--show-masks is for the reader"),
    ],
)
def test_settings_out_of_range_are_usage_errors_that_name_the_option(tmp_path, arguments, words):
    from rag_ft.errors import UsageError

    done = invoke("train", tmp_path / "qa.jsonl", "--index", tmp_path, *arguments)
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)


def test_data_check_names_every_wrong_record(files, index, tmp_path):
    (tmp_path / "qa.jsonl").write_text("{\n" * 102 + (files / "qa.jsonl").read_text())
    done = invoke("data", "check", tmp_path / "qa.jsonl", "--index", index)
    lines = " ".join(done.output.split())
    assert all(f"qa.jsonl, line {i}:" in lines for i in range(1, 101)) and "line 101:" not in lines
    assert "holds 102 wrong records (2 of them not shown): correct them" in str(done.exception)


def test_data_check_takes_the_share_that_train_takes(tmp_path):
    from rag_ft.errors import UsageError

    done = invoke("data", "check", tmp_path / "qa.jsonl", "--index", tmp_path, "--held-out", 5)
    assert isinstance(done.exception, UsageError) and "--held-out is 5.0" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--report-to", "nosuch"), "not an experiment tracker"),
        (("--output", "pyproject.toml"), "pyproject.toml is a file"),
    ],
)
def test_check_refuses_what_the_run_would_refuse(files, index, tiny_llama_dir, arguments, message):
    done = invoke(
        "train", files / "qa.jsonl", "--index", index, "--reader", tiny_llama_dir, "--rank", 4, "--bits", 32, "--check",
        *arguments,
    )  # fmt: skip
    assert message in str(done.exception)
