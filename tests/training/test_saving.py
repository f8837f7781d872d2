import resource

import pytest
from safetensors import SafetensorError

from rag_ft.training.saving import save_adapter


def test_a_full_disk_at_the_adapter_leaves_nothing_half_written(adapter, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
        with pytest.raises((OSError, SafetensorError)):
            save_adapter(adapter, tmp_path / "copy", {}, "", "base")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "copy").iterdir()) == []


def test_peft_loads_the_adapter_as_it_is(adapter, tiny_llama_dir):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_llama_dir), adapter)
    assert any("lora_B" in name and parameter.abs().sum() > 0 for name, parameter in model.named_parameters())
