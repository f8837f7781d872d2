import pytest
import torch

from rag_ft.errors import TrainingError
from rag_ft.models.loading import unpack_nf4
from rag_ft.training.lora import AdapterConfig, model_plan
from rag_ft.training.prepare import plan_lines
from rag_ft.training.steps import setup
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.kbit import check_gradients, check_prepared
from rag_ft.training.steps.setup import adapt, load_base


def test_unpacked_weights_compute_what_packed_nf4_layers_compute(tiny_llama_dir):
    from bitsandbytes.nn import Linear4bit

    loaded = load_base(str(tiny_llama_dir), TrainConfig(bits=32))
    layer = loaded.model.model.layers[0].mlp.gate_proj
    packed = Linear4bit(
        layer.in_features, layer.out_features, bias=False, compute_dtype=torch.float32, quant_type="nf4"
    )
    packed.load_state_dict({"weight": layer.weight.data.clone()})
    packed = packed.to("cpu")
    before = layer.weight.data.clone()
    given = torch.randn(3, layer.in_features)
    assert unpack_nf4(loaded.model) == 14  # seven projections in two layers; the head stays
    assert not torch.equal(layer.weight.data, before)
    torch.testing.assert_close(layer(given), packed(given), rtol=1e-3, atol=1e-3)


def test_a_pass_without_gradients_leaves_packed_weights_those_of_the_next_pass(tiny_llama_dir):
    packed = load_base(str(tiny_llama_dir), TrainConfig(bits=4, keep_packed=True)).model
    layer = packed.model.layers[0].mlp.gate_proj
    given = torch.randn(3, layer.in_features)
    with torch.no_grad():
        layer.eval()(given)
    learned = given.clone().requires_grad_()
    layer.train()(learned).sum().backward()
    assert learned.grad is not None and learned.grad.abs().sum() > 0


def test_four_bits_on_a_cpu_are_held_unpacked_and_keep_packed_packs_them(tiny_llama_dir):
    unpacked = load_base(str(tiny_llama_dir), TrainConfig(bits=4)).model
    packed = load_base(str(tiny_llama_dir), TrainConfig(bits=4, keep_packed=True)).model
    assert unpacked.model.layers[0].mlp.gate_proj.weight.dtype == torch.float32
    assert packed.model.layers[0].mlp.gate_proj.weight.dtype == torch.uint8
    tokens = torch.arange(3, 40)[None]
    with torch.no_grad():
        expected, actual = unpacked(tokens).logits, packed(tokens).logits
    # Where a CPU computes bfloat16, bitsandbytes does so in inference: equal but for that rounding.
    assert float((expected - actual).norm() / expected.norm()) < 0.05


def test_four_bits_stay_packed_where_memory_is_scarce_and_it_is_said(tiny_llama_dir, monkeypatch):
    training, lora = TrainConfig(bits=4), AdapterConfig(rank=4)
    monkeypatch.setattr(setup, "_free_bytes", lambda device: 100_000.0)
    scarce = load_base(str(tiny_llama_dir), training)
    assert scarce.model.model.layers[0].mlp.gate_proj.weight.dtype == torch.uint8
    assert any("kept packed" in line for line in plan_lines(model_plan(scarce.model, lora), training, scarce))
    monkeypatch.setattr(setup, "_free_bytes", lambda device: 1e12)
    plenty = load_base(str(tiny_llama_dir), training)
    assert plenty.model.model.layers[0].mlp.gate_proj.weight.dtype == torch.float32
    assert not any("packed" in line for line in plan_lines(model_plan(plenty.model, lora), training, plenty))


def test_a_base_that_is_not_frozen_is_refused(tiny):
    model = adapt(tiny, AdapterConfig(rank=4), TrainConfig(bits=32))
    check_prepared(model, checkpointing=False)
    model.get_input_embeddings().weight.requires_grad_(True)
    with pytest.raises(TrainingError, match=r"embed_tokens.* would be trained"):
        check_prepared(model, checkpointing=False)


def test_half_precision_norms_are_refused(tiny):
    model = adapt(tiny, AdapterConfig(rank=4), TrainConfig(bits=32))
    model.get_base_model().model.norm.to(torch.bfloat16)
    with pytest.raises(TrainingError, match=r"norm.* must be float32"):
        check_prepared(model, checkpointing=False)


def test_checkpointing_without_gradients_at_the_input_is_refused(tiny):
    model = adapt(tiny, AdapterConfig(rank=4), TrainConfig(bits=32))
    with pytest.raises(TrainingError, match="enable_input_require_grads"):
        check_prepared(model, checkpointing=True)
    model.enable_input_require_grads()
    check_prepared(model, checkpointing=True)


def test_a_gradient_that_is_not_finite_is_named(tiny):
    model = adapt(tiny, AdapterConfig(rank=4), TrainConfig(bits=32))
    name, parameter = next((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(TrainingError, match=name.replace(".", r"\.")):
        check_gradients(model, 1)


def test_gradient_checkpointing_is_on_where_activations_would_fill_the_memory(tiny_llama_dir, monkeypatch):

    for free, wanted in ((10e9, False), (1e5, True)):
        monkeypatch.setattr(setup, "_free_bytes", lambda device, free=free: free)
        config = TrainConfig(bits=32)
        model = setup.adapt(load_base(str(tiny_llama_dir), config), AdapterConfig(rank=4), config)
        assert model.get_base_model().is_gradient_checkpointing is wanted
