import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from rag_ft.errors import PromptMismatchError, UsageError, WeightsError
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.run import train_reader
from rag_ft.training.steps.config import TrainConfig

SMALL = {"lora": AdapterConfig(rank=4), "training": TrainConfig(bits=32, max_steps=2, evaluations=1)}


def test_a_run_goes_on_from_an_adapter_and_keeps_its_shape(adapter, tmp_path, tiny_llama_dir, world, caplog):
    index, questions = world
    caplog.set_level("INFO", "rag_ft.training")
    trained = train_reader(
        questions,
        index,
        tmp_path / "more",
        reader=str(tiny_llama_dir),
        start_from=adapter,
        training=SMALL["training"].model_copy(update={"max_steps": 1, "learning_rate": 1e-6}),
    )
    first, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, trained.path))
    assert first.keys() == after.keys()
    for name, value in first.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-3)
    record = json.loads((trained.path / "rag_ft.json").read_text())
    assert record["lora"]["rank"] == SMALL["lora"].rank and record["started_from"]["name"] == "made"
    assert [line.split()[0] for line in caplog.messages if "held-out questions with" in line] == [
        "untuned",
        "start",
        "tuned",
    ]
    assert set(record["results"]) == {"untuned", "start", "tuned"}


def test_documents_learned_before_the_start_stay_in_the_record(adapter, tmp_path, tiny_llama_dir, world):
    index, questions = world
    start = shutil.copytree(adapter, tmp_path / "start")
    record = json.loads((start / "rag_ft.json").read_text())
    assert record["data"]["document_fingerprints"]
    record["data"]["document_fingerprints"] = ["0123456789abcdef"]
    (start / "rag_ft.json").write_text(json.dumps(record))
    trained = train_reader(
        questions,
        index,
        tmp_path / "more",
        reader=str(tiny_llama_dir),
        start_from=start,
        training=SMALL["training"].model_copy(update={"max_steps": 1}),
        compare=False,
    )
    data = json.loads((trained.path / "rag_ft.json").read_text())["data"]
    fingerprints = {index.document_fingerprint(name)[:16] for name in data["documents"]}
    assert set(data["document_fingerprints"]) == fingerprints | {"0123456789abcdef"}


def test_another_shape_or_other_bits_than_the_adapters_are_refused(adapter, tmp_path, tiny_llama_dir, world):
    index, questions = world
    given = {"reader": str(tiny_llama_dir), "start_from": adapter}
    with pytest.raises(UsageError, match="a run that starts from it keeps them"):
        train_reader(
            questions, index, tmp_path / "out", lora=AdapterConfig(rank=9), training=SMALL["training"], **given
        )
    with pytest.raises(UsageError, match=r"held in 32 bits .* give bits=32"):
        train_reader(questions, index, tmp_path / "out", training=TrainConfig(bits=4), **given)
    config = json.loads((adapter / "adapter_config.json").read_text())
    for odd, message in (
        ({"target_modules": ".*q_proj"}, "must be a list of module names"),
        ({"target_modules": None}, "must be a list of module names"),
        ({"peft_type": "IA3"}, "of the kind IA3"),
    ):
        (adapter / "adapter_config.json").write_text(json.dumps({**config, **odd}))
        with pytest.raises((UsageError, WeightsError), match=message):
            train_reader(questions, index, tmp_path / "out", training=SMALL["training"], **given)


def test_an_adapter_of_another_base_is_refused_before_a_finished_run_is_touched(
    adapter, tmp_path, tiny_llama_dir, world
):
    index, questions = world
    train_reader(questions, index, tmp_path / "out", reader=str(tiny_llama_dir), compare=False, **SMALL)
    before = sorted(path.name for path in (tmp_path / "out" / "training").iterdir())
    other = tmp_path / "other"
    shutil.copytree(tiny_llama_dir, other)
    weights = load_file(other / "model.safetensors")
    save_file({name: value + 1e-3 for name, value in weights.items()}, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="and the base model here is other"):
        train_reader(
            questions,
            index,
            tmp_path / "out",
            reader=str(other),
            start_from=adapter,
            training=SMALL["training"].model_copy(update={"learning_rate": 1e-4}),
        )
    assert sorted(path.name for path in (tmp_path / "out" / "training").iterdir()) == before


def test_an_adapter_of_another_prompt_is_not_gone_on_from(adapter, tmp_path, tiny_llama_dir, world, monkeypatch):
    from rag_ft.answering import prompt

    index, questions = world
    monkeypatch.setattr(prompt, "PROMPT_VERSION", 999)
    with pytest.raises(PromptMismatchError, match=r"trained under prompt .* start from another adapter"):
        train_reader(
            questions,
            index,
            tmp_path / "out",
            reader=str(tiny_llama_dir),
            start_from=adapter,
            training=SMALL["training"],
        )
    assert not (tmp_path / "out").exists()
