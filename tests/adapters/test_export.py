import json
import shutil

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_adapters import REQUESTS, fresh, make_adapter, seen

from rag_ft.adapters import gguf_file
from rag_ft.adapters.export import export_adapter, export_gguf, export_peft, vllm_problems
from rag_ft.adapters.merge import merge_adapter
from rag_ft.answering.confidence import KindCalibration, PlattScale
from rag_ft.errors import AdapterError, UsageError, WeightsError
from rag_ft.models.adapter_record import base_record


@pytest.fixture(scope="module")
def adapter(tiny_llama_dir, tmp_path_factory):
    return make_adapter(tmp_path_factory.mktemp("a") / "one", tiny_llama_dir, 5, threshold=1e-6)


@pytest.fixture(scope="module")
def merged(adapter, tiny_llama_dir, tmp_path_factory):
    output = tmp_path_factory.mktemp("m") / "merged"
    return merge_adapter(adapter, output, base=str(tiny_llama_dir), probes=REQUESTS).path


def test_a_gguf_loads_again_and_reads_the_same(merged, tmp_path):
    """Through transformers' own reading of GGUF files; the threshold and the prompt come along."""
    exported = export_gguf(merged, tmp_path / "reader.gguf")
    assert "opened again and equal" in exported.notes[0]
    source, copy = fresh(merged, None), fresh(exported.path, None)
    assert (copy.threshold, copy.prompts.shots) == (1e-6, False)
    assert copy.prompts.fingerprint == source.prompts.fingerprint
    assert [completion for completion, *_ in seen(source)] == [completion for completion, *_ in seen(copy)]
    torch.testing.assert_close(
        source.logits(*REQUESTS[0][:2], "fox"), copy.logits(*REQUESTS[0][:2], "fox"), rtol=0, atol=0.2
    )
    for name, tensor in load_file(merged / "model.safetensors").items():
        loaded = copy.loaded.model.state_dict()[name]
        torch.testing.assert_close(loaded, tensor, rtol=2**-11, atol=2**-24)


def test_a_gguf_still_tells_which_documents_it_was_trained_on_and_not_their_names(adapter, tiny_llama_dir, tmp_path):
    tuned = shutil.copytree(adapter, tmp_path / "tuned")
    record = json.loads((tuned / "rag_ft.json").read_text())
    record["data"] = {"documents": ["secret-plan.txt"], "document_fingerprints": ["0123456789abcdef"]}
    (tuned / "rag_ft.json").write_text(json.dumps(record))
    exported = export_gguf(tuned, tmp_path / "r.gguf", base=str(tiny_llama_dir), probes=REQUESTS)
    assert base_record(fresh(exported.path, None).loaded.weights)["data"] == {
        "document_fingerprints": ["0123456789abcdef"]
    }
    assert b"secret-plan" not in exported.path.read_bytes()


def test_a_gguf_knows_which_kinds_of_answers_it_gives_and_their_thresholds(adapter, tiny_llama_dir, tmp_path):
    tuned = shutil.copytree(adapter, tmp_path / "tuned")
    record = json.loads((tuned / "rag_ft.json").read_text())
    record |= {"kinds": ["part", "span"], "whole_sentences": True}
    record["threshold"]["kinds"] = {"part": {"value": 0.5, "platt": {"slope": 0.5, "intercept": -1.0}}}
    (tuned / "rag_ft.json").write_text(json.dumps(record))
    exported = export_gguf(tuned, tmp_path / "r.gguf", base=str(tiny_llama_dir), probes=REQUESTS)
    copy = fresh(exported.path, None)
    carried = base_record(copy.loaded.weights)
    assert carried["kinds"] == ["part", "span"] and carried["whole_sentences"] is True
    assert copy.kinds == {"part": KindCalibration(value=0.5, platt=PlattScale(slope=0.5, intercept=-1.0))}


def test_an_adapter_is_merged_on_the_way_and_nothing_but_the_file_is_left(adapter, tiny_llama_dir, tmp_path, caplog):
    caplog.set_level("INFO", "rag_ft.adapters")
    exported = export_gguf(adapter, tmp_path / "r.gguf", kind="q8_0", base=str(tiny_llama_dir), probes=REQUESTS)
    assert [path.name for path in tmp_path.iterdir()] == ["r.gguf"] and "completions identical" in caplog.messages[0]
    types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(exported.path).tensors if len(tensor.shape) > 1}
    assert types == {"Q8_0"}


def test_a_tensor_that_came_out_wrong_is_found(merged, tmp_path, monkeypatch):
    stored = gguf_file._stored
    monkeypatch.setattr(gguf_file, "_stored", lambda array, kind: stored(array * 1.01, kind))
    for kind in ("f16", "q8_0"):
        with pytest.raises(AdapterError, match="differs from its source by more than"):
            export_gguf(merged, tmp_path / "r.gguf", kind=kind)
    assert list(tmp_path.iterdir()) == []


def test_what_a_gguf_cannot_hold_is_refused(merged, tmp_path):
    with pytest.raises(UsageError, match="'q4_0' is not known: use f16 or q8_0"):
        export_gguf(merged, tmp_path / "r.gguf", kind="q4_0")
    with pytest.raises(UsageError, match=r"must end in \.gguf"):
        export_gguf(merged, tmp_path / "r.bin")
    other = tmp_path / "other"
    shutil.copytree(merged, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "qwen2"}))
    with pytest.raises(AdapterError, match="'qwen2': GGUF is written for Llama"):
        export_gguf(other, tmp_path / "r.gguf")
    (other / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(AdapterError, match=r"no known name in llama\.cpp"):
        export_gguf(other, tmp_path / "r.gguf")
    (other / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"no config\.json"):
        export_gguf(other, tmp_path / "r.gguf")
    (tmp_path / "r.gguf").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        export_gguf(merged, tmp_path / "r.gguf")
    assert (tmp_path / "r.gguf").read_text() == "mine"


def test_a_gguf_replaces_a_gguf_and_no_other_file(merged, tmp_path):
    output = tmp_path / "out.gguf"
    output.write_text("my notes")
    with pytest.raises(UsageError, match="is a file that rag_ft did not write"):
        export_gguf(merged, output, overwrite=True)
    assert output.read_text() == "my notes"
    output.write_bytes(b"GGUF of before")
    export_gguf(merged, output, overwrite=True)
    assert output.stat().st_size > 1000 and list(tmp_path.iterdir()) == [output]
    link = tmp_path / "link.gguf"
    link.symlink_to(output)
    with pytest.raises(UsageError, match="is a link"):
        export_gguf(merged, link, overwrite=True)


def test_a_format_decides_what_is_written(adapter, merged, tiny_llama_dir, tmp_path):
    settings = {"base": str(tiny_llama_dir), "probes": REQUESTS}
    export_adapter(adapter, tmp_path / "r.gguf", **settings)
    assert (tmp_path / "r.gguf").read_bytes()[:4] == b"GGUF"
    export_adapter(adapter, tmp_path / "peft", format="peft")
    assert (tmp_path / "peft" / "adapter_config.json").is_file()
    export_adapter(adapter, tmp_path / "whole", format="safetensors", **settings)
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (merged / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="'onnx' is not known: use safetensors, gguf-f16, gguf-q8_0 or peft"):
        export_adapter(adapter, tmp_path / "o", format="onnx")


def test_a_disk_without_room_for_the_gguf_is_reported_before_it_is_written(merged, tmp_path, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(AdapterError, match=r"needs .* MB of free space, and its disk has 1 MB"):
        export_gguf(merged, tmp_path / "out.gguf")
    assert not list(tmp_path.iterdir())


def test_an_exported_adapter_is_replaced_by_another_export_and_one_of_other_programs_is_not(adapter, tmp_path):
    theirs = shutil.copytree(adapter, tmp_path / "theirs")
    (theirs / "rag_ft.json").unlink()
    with pytest.raises(UsageError, match="is a folder that rag_ft did not write"):
        export_peft(adapter, theirs, overwrite=True)
    assert not (theirs / "rag_ft.json").exists()
    for _ in range(2):
        export_peft(theirs, tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes\.txt, which rag_ft did not write"):
        export_peft(adapter, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_an_adapter_for_peft_and_vllm_names_no_path_of_this_machine(adapter, tiny_llama_dir, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"].startswith("/")
    exported = export_peft(adapter, tmp_path / "out")
    config = json.loads((exported.path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_llama_dir.name
    assert "--max-lora-rank 8" in exported.notes[0]  # the rank is 4
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama_dir), exported.path)
    assert seen(fresh(tiny_llama_dir, exported.path)) == seen(fresh(tiny_llama_dir, adapter))
    with pytest.raises(UsageError, match="already exists"):
        export_peft(adapter, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"use_dora": True}, "DoRA"),
        ({"r": 1024}, "rank is above 512"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "IA3"}, "must be LORA"),
    ],
)
def test_what_vllm_does_not_take_is_named(adapter, tmp_path, change, reason):
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, **change}))
    assert vllm_problems(adapter) == [] and reason in vllm_problems(copy)[0]
    # What no reader loads either is refused when it is looked up.
    with pytest.raises((AdapterError, WeightsError), match=f"{reason}|give a LoRA adapter"):
        export_peft(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_on_the_embedding_is_not_for_vllm(adapter, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    tensors = load_file(copy / "adapter_model.safetensors")
    tensors["base_model.model.model.embed_tokens.lora_A.weight"] = torch.ones(4, 4)
    save_file(tensors, copy / "adapter_model.safetensors")
    assert "embed_tokens is not a linear layer" in vllm_problems(copy)[0]


def test_the_packaged_adapter_is_for_vllm():
    from rag_ft.models.weights import packaged_adapter

    assert vllm_problems(packaged_adapter()) == []
