import json

import pytest

from rag_ft.errors import WeightsError
from rag_ft.models.adapter_record import (
    adapter_record,
    adapters_trained_on,
    base_record,
    lora_config,
    reading_record,
    trained_documents,
)
from rag_ft.models.weights import Weights

PRINTS = ("0123456789abcdef", "fedcba9876543210")


def weights(folder):
    return Weights("w", "adapter", folder, str(folder), "MIT", "0" * 64, 1)


def write(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_the_adapters_record_counts_before_that_of_a_merged_base(tmp_path):
    base = weights(write(tmp_path / "base", "tuning.json", {"threshold": {"value": 0.1}}))
    adapter = weights(write(tmp_path / "adapter", "rag_ft.json", {"threshold": {"value": 0.2}, "data": None}))
    assert reading_record(base, adapter) == adapter_record(adapter) == {"threshold": {"value": 0.2}}
    assert reading_record(base, None) == base_record(base) == {"threshold": {"value": 0.1}}
    assert adapter_record(None) == adapter_record(base) == base_record(adapter) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "but list in JSON"),
        ('{"threshold": 1}', "threshold is not a JSON object"),
    ],
)
def test_a_damaged_record_is_one_sentence(tmp_path, content, message):
    adapter = weights(write(tmp_path / "adapter", "rag_ft.json", content))
    with pytest.raises(WeightsError, match=message) as caught:
        adapter_record(adapter)
    assert "\n" not in str(caught.value) and "restore the file" in str(caught.value)


def test_another_kind_of_adapter_is_refused(tmp_path):
    adapter = weights(write(tmp_path / "adapter", "adapter_config.json", {"peft_type": "IA3"}))
    with pytest.raises(WeightsError, match="of the kind IA3: give a LoRA adapter"):
        lora_config(adapter)


def test_adapters_and_merged_models_that_were_trained_on_a_document_are_found(tmp_path):
    write(tmp_path / "a", "rag_ft.json", {"data": {"document_fingerprints": PRINTS[:1]}})
    write(tmp_path / "b", "tuning.json", {"data": {"document_fingerprints": PRINTS}})
    write(tmp_path / "c", "rag_ft.json", {"data": {"document_fingerprints": PRINTS[1:]}})
    write(tmp_path / "d", "rag_ft.json", "{")
    assert adapters_trained_on(tmp_path, [PRINTS[0] + "0" * 48]) == (tmp_path / "a", tmp_path / "b")


def test_documents_are_known_by_fingerprint_and_without_any_by_name():
    index = {"renamed.md": PRINTS[0] + "0" * 48, "handbook.md": "1" * 64}
    record = {"data": {"documents": ["handbook.md"], "document_fingerprints": [PRINTS[0]]}}
    assert trained_documents(record, index) == {"renamed.md"}
    assert trained_documents({"data": {"documents": ["handbook.md"]}}, index) == {"handbook.md"}
    assert trained_documents({}, index) == set()
