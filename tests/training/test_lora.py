import importlib.util
import json

import pytest
from pydantic import ValidationError
from transformers import GPT2Config, LlamaConfig

from rag_ft.errors import UsageError, WeightsError
from rag_ft.training.lora import AdapterConfig, lora_plan, model_plan, read_config

CONFIG = LlamaConfig(
    vocab_size=1000,
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=2,
    num_attention_heads=32,
    num_key_value_heads=32,
)


def test_a_square_projection_at_rank_16_gains_131072_parameters():
    plan = lora_plan(CONFIG, AdapterConfig(target_modules=("q_proj",)))
    (layer,) = plan.projections
    assert (layer.weights, layer.adapter, layer.count) == (16_777_216, 131_072, 2)
    assert layer.weights / layer.adapter == 128
    assert plan.trainable == 2 * 131_072
    assert plan.adapter_bytes(16) == 2 * plan.trainable


def test_the_plan_equals_what_peft_makes(tiny):
    from peft import LoraConfig, get_peft_model

    for dora in (False, True):
        plan = lora_plan(tiny.model.config, AdapterConfig(rank=4, dora=dora))
        adapted = get_peft_model(
            tiny.model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", use_dora=dora)
        )
        trainable, everything = adapted.get_nb_trainable_parameters()
        assert plan.trainable == trainable
        assert plan.base_parameters == everything - trainable
        adapted.unload()


@pytest.mark.skipif(not importlib.util.find_spec("bitsandbytes"), reason="needs bitsandbytes")
def test_weights_that_are_packed_two_to_a_byte_are_counted_as_what_they_hold(tiny_llama_dir):
    from dataclasses import replace

    from rag_ft.models.compute import compute_plan
    from rag_ft.models.loading import load_model

    packed = load_model(str(tiny_llama_dir), plan=replace(compute_plan(quantisation="nf4"), dtype="float32"))
    plain = lora_plan(packed.model.config, AdapterConfig(rank=4))
    assert model_plan(packed.model, AdapterConfig(rank=4)).base_parameters == plain.base_parameters


def test_a_model_without_linear_layers_is_told_so():
    config = GPT2Config(vocab_size=100, n_embd=16, n_layer=1, n_head=2)
    with pytest.raises(UsageError, match="no linear layers"):
        lora_plan(config, AdapterConfig(rank=4))


def test_alpha_is_twice_the_rank_and_a_rank_changed_alone_is_told():
    assert AdapterConfig(rank=8).effective_alpha == 16
    assert AdapterConfig(rank=8).scale_note() == "scale alpha/r = 16/8 = 2"
    note = AdapterConfig(rank=64, alpha=32).scale_note()
    assert "= 0.5" in note and "0.25 times" in note
    assert AdapterConfig(rank=64, rslora=True).scale == 16


@pytest.mark.parametrize("rank", [0, 10_000])
def test_ranks_out_of_range_are_refused(rank):
    with pytest.raises(ValidationError):
        AdapterConfig(rank=rank)


def test_a_rank_wider_than_a_layer_and_an_unknown_module_are_told(tiny):
    with pytest.raises(UsageError, match="rank 200 is larger than the narrowest adapted layer"):
        lora_plan(tiny.model.config, AdapterConfig(rank=200))
    with pytest.raises(UsageError, match=r"no linear layer named 'query'.*q_proj"):
        lora_plan(tiny.model.config, AdapterConfig(target_modules=("query",)))


def test_all_linear_layers_are_quantised_whichever_of_them_are_adapted(tiny):
    every, some = (
        model_plan(tiny.model, AdapterConfig(rank=4, target_modules=names)) for names in ((), ("q_proj", "v_proj"))
    )
    assert some.trainable < every.trainable
    assert [some.weight_bytes(bits) for bits in (4, 8)] == [every.weight_bytes(bits) for bits in (4, 8)]


@pytest.mark.parametrize(
    "values", [{"model_type": "t5"}, {"model_type": "llama", "num_attention_heads": 0}, {"hidden_act": "nonsense"}]
)
def test_a_config_that_makes_no_language_model_is_one_sentence(tmp_path, values):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **values}))
    with pytest.raises(WeightsError, match=r"(no model config can be read|no causal language model can be made)"):
        lora_plan(read_config(str(tmp_path)), AdapterConfig())


def test_memory_falls_with_the_bits():
    plan = lora_plan(CONFIG, AdapterConfig())
    sizes = [plan.weight_bytes(bits) for bits in (4, 8, 16, 32)]
    assert sizes == sorted(sizes)
    assert plan.activation_bytes(1000, 100, checkpointing=True) < plan.activation_bytes(1000, 100, checkpointing=False)
