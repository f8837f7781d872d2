import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from rag_ft.adapters.average import average_adapters
from rag_ft.answering.reader import Reader
from rag_ft.errors import UsageError, WeightsError
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.run import train_reader
from rag_ft.training.steps.config import TrainConfig

STEPS = TrainConfig(bits=32, max_steps=2, evaluations=1, learning_rate=5e-3)


@pytest.fixture(scope="module")
def members(tmp_path_factory, tiny_llama_dir, world):
    """A start, and two adapters that were trained on from it in different orders."""
    index, questions = world
    folder = tmp_path_factory.mktemp("members")

    def train(name, seed, **more):
        train_reader(
            questions,
            index,
            folder / name,
            reader=str(tiny_llama_dir),
            compare=False,
            training=STEPS.model_copy(update={"seed": seed}),
            **more,
        )
        return folder / name

    start = train("start", 0, lora=AdapterConfig(rank=4))
    return start, train("one", 1, start_from=start), train("two", 2, start_from=start)


def test_the_mean_is_of_every_weight_and_can_be_asked(members, tmp_path, tiny_llama_dir):
    _, *trained = members
    average = average_adapters(trained, tmp_path / "mean")
    first, second, mean = (load_file(folder / "adapter_model.safetensors") for folder in (*trained, average))
    assert first.keys() == mean.keys() and any(not torch.equal(first[name], second[name]) for name in first)
    for name, value in mean.items():
        torch.testing.assert_close(
            value.float(), (first[name].float() + second[name].float()) / 2, rtol=1e-3, atol=1e-6
        )
    assert Reader.from_pretrained(str(tiny_llama_dir), adapter=average).threshold is None


def test_its_record_names_its_members_and_all_they_learned_from(members, tmp_path):
    _, first_adapter, second_adapter = members
    other = shutil.copytree(second_adapter, tmp_path / "other")
    record = json.loads((other / "rag_ft.json").read_text())
    record["data"]["documents"] = ["elsewhere"]
    (other / "rag_ft.json").write_text(json.dumps(record))
    average = average_adapters([first_adapter, other], tmp_path / "mean")
    first = json.loads((first_adapter / "rag_ft.json").read_text())
    record = json.loads((average / "rag_ft.json").read_text())
    assert record["data"]["documents"] == sorted(["elsewhere", *first["data"]["documents"]])
    assert [member["training"]["seed"] for member in record["averaged"]] == [1, 2]
    assert "threshold" not in record and record["started_from"] == first["started_from"]
    card = (average / "README.md").read_text()
    assert "averaged: the mean of 2 adapters." in card and "| learning_rate | 0.005 |" not in card
    assert all(member["fingerprint"][:12] in card for member in record["averaged"])


def _changed(members, folder, change):
    copy = shutil.copytree(members[2], folder)
    for name in ("rag_ft.json", "adapter_config.json"):
        content = json.loads((copy / name).read_text())
        change(name, content)
        (copy / name).write_text(json.dumps(content))
    return copy


def test_the_step_of_the_lowest_loss_of_a_run_can_be_one_of_them(members, tmp_path):
    _, first_adapter, second_adapter = members
    kept = first_adapter / "training" / "best"
    step = json.loads((kept / "best.json").read_text())["step"]
    average = average_adapters([kept, second_adapter], tmp_path / "mean")
    record = json.loads((average / "rag_ft.json").read_text())
    assert record["averaged"][0]["kept_step"] == step and record["averaged"][0]["training"]["seed"] == 1
    folders = (kept, second_adapter, average)
    first, second, mean = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    for name, value in mean.items():
        expected = (first[name].float() + second[name].float()) / 2
        torch.testing.assert_close(value.float(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("message", "file", "key", "value"),
    [
        ("started from another adapter", "rag_ft.json", "started_from", {"fingerprint": "another"}),
        ("has another base model", "rag_ft.json", "base_model", {"bits": 32}),
        ("was trained on another prompt", "rag_ft.json", "prompt_fingerprint", "another"),
        ("reads passages in another way", "rag_ft.json", "examples", {"reading": "joint"}),
        ("has another shape", "adapter_config.json", "lora_alpha", 99),
    ],
)
def test_adapters_that_are_not_alike_are_refused(members, tmp_path, message, file, key, value):
    other = _changed(members, tmp_path / "other", lambda name, content: name == file and content.update({key: value}))
    with pytest.raises(UsageError, match=message):
        average_adapters([members[1], other], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_one_alone_unrelated_ones_and_foreign_ones_are_refused(members, tmp_path):
    start, first, second = members
    with pytest.raises(UsageError, match="give at least two"):
        average_adapters([first], tmp_path / "mean")
    with pytest.raises(UsageError, match="did not start from an adapter"):
        average_adapters([start, first], tmp_path / "mean")
    other = _changed(members, tmp_path / "other", lambda name, content: content.pop("lora", None))
    with pytest.raises(WeightsError, match="does not say how the adapter was tuned"):
        average_adapters([first, other], tmp_path / "mean")
    average = average_adapters([first, second], tmp_path / "mean")
    with pytest.raises(UsageError, match="already exists"):
        average_adapters([first, second], average)
    assert average_adapters([second, first], average, overwrite=True) == average


def test_an_average_replaces_an_average_and_neither_a_run_nor_other_files(members, tmp_path):
    start, first, second = members
    out = average_adapters([first, second], tmp_path / "mean")
    average_adapters([second, first], out, overwrite=True)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes\.txt, which rag_ft did not write"):
        average_adapters([first, second], out, overwrite=True)
    with pytest.raises(UsageError, match="holds training, which"):
        average_adapters([first, second], start, overwrite=True)
    assert (start / "training" / "best").is_dir()
