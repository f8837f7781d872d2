import pytest
import torch

from rag_ft.errors import WeightsError
from rag_ft.models.compute import compute_plan
from rag_ft.models.loading import load_model, load_tokenizer


def test_a_local_folder_loads_ready_for_inference(tiny_llama_dir):
    loaded = load_model(str(tiny_llama_dir))
    assert not loaded.model.training and loaded.adapter is None
    assert loaded.model.config._attn_implementation == "sdpa"
    assert load_tokenizer(str(tiny_llama_dir)).eos_token == "<|im_end|>"


def test_an_adapter_changes_the_output_and_a_wrong_one_is_refused(tiny_llama_dir, tmp_path):
    from peft import LoraConfig, get_peft_model

    plan = compute_plan("cpu")
    base = load_model(str(tiny_llama_dir), plan=plan)
    ids = torch.tensor([[5, 6, 7]])
    before = base.model(ids).logits
    adapted = get_peft_model(base.model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load_model(str(tiny_llama_dir), adapter=tmp_path / "adapter", plan=plan)
    assert loaded.adapter is not None and len(loaded.adapter.fingerprint) == 64
    assert not torch.allclose(loaded.model(ids).logits, before)
    with pytest.raises(WeightsError, match="is not an adapter"):
        load_model(str(tiny_llama_dir), adapter=tmp_path)
    with pytest.raises(WeightsError, match="does not fit"):
        from transformers import LlamaConfig, LlamaForCausalLM

        other = tmp_path / "other"
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=500, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
            )
        ).save_pretrained(other)
        load_tokenizer(str(tiny_llama_dir)).save_pretrained(other)
        load_model(str(other), adapter=tmp_path / "adapter", plan=plan)


@pytest.mark.slow
def test_nf4_shrinks_the_default_reader_and_it_still_answers():
    from rag_ft.answering.reader import Reader
    from rag_ft.schema import Passage

    full = load_model(plan=compute_plan("cpu"))
    small = load_model(plan=compute_plan("cpu", "nf4"))
    assert small.model.get_memory_footprint() < 0.7 * full.model.get_memory_footprint()
    text = "Mount Kenya is 5,199 metres high."
    passage = Passage(id="a#0-33", document_id="a", text=text, start=0, end=len(text))
    assert Reader(small, threshold=0.0).read("How high is it?", [passage]).answer in text
