import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import layer
from tiny_adapters import fresh, make_adapter

from rag_ft.models.inplace_lora import patch_lora_forward

IDS = torch.arange(40).reshape(2, 20) % 90 + 5


def adapted(tiny_llama_dir, dtype=torch.float32, **settings):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny_llama_dir, dtype=dtype)
    given = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "init_lora_weights": False, **settings}
    return get_peft_model(base, LoraConfig(**given), autocast_adapter_dtype=False).eval()


def layers(model):
    return [module for module in model.modules() if type(module) is layer.Linear]


@pytest.fixture
def added(monkeypatch):
    """How often an update was added in place."""
    counts = []
    addmm = torch.Tensor.addmm_
    monkeypatch.setattr(torch.Tensor, "addmm_", lambda *args, **more: counts.append(1) or addmm(*args, **more))
    return counts


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_a_pass_gives_what_pefts_own_code_gives(tiny_llama_dir, added, dtype, near):
    model = adapted(tiny_llama_dir, dtype)
    with torch.inference_mode():
        expected = model(IDS).logits
        with model.disable_adapter():
            base = model(IDS).logits
        assert patch_lora_forward(model) == len(layers(model)) == 14 and not added
        actual = model(IDS).logits
        assert len(added) == 14
        with model.disable_adapter():
            assert torch.equal(model(IDS).logits, base)
    assert (actual - expected).norm() < near * expected.norm() < (expected - base).norm()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 9), st.booleans(), st.floats(-3, 3))
def test_any_shape_scale_and_bias(shape, rank, bias, alpha):
    torch.manual_seed(0)
    base = torch.nn.Linear(6, 7, bias=bias)
    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights=False)
    module = layer.Linear(base, "one", config, r=rank, lora_alpha=alpha, init_lora_weights=False).eval()
    module.requires_grad_(False)
    x = torch.randn(*shape, 6)
    with torch.inference_mode():
        wanted = module(x)
        patch_lora_forward(module)
        torch.testing.assert_close(module(x), wanted, rtol=1e-5, atol=1e-5)


def test_with_gradients_pefts_own_code_runs_and_learns(tiny_llama_dir, added):
    model, other = adapted(tiny_llama_dir), adapted(tiny_llama_dir)
    patch_lora_forward(model)
    for trained in (model, other):
        trained(IDS, labels=IDS).loss.backward()
    assert not added
    pairs = zip(model.named_parameters(), other.named_parameters(), strict=True)
    assert all((a.grad is None) == (b.grad is None) for (_, a), (_, b) in pairs)
    assert all(
        torch.equal(a.lora_A["default"].weight.grad, b.lora_A["default"].weight.grad)
        for a, b in zip(layers(model), layers(other), strict=True)
    )


@pytest.mark.filterwarnings("ignore:`lora_bias=True`")
@pytest.mark.parametrize("settings_", [{"use_dora": True}, {"lora_bias": True}], ids=["dora", "bias"])
def test_another_kind_of_update_is_left_to_peft(tiny_llama_dir, added, settings_):
    model = adapted(tiny_llama_dir, **settings_)
    with torch.inference_mode():
        wanted = model(IDS).logits
        patch_lora_forward(model)
        assert torch.equal(model(IDS).logits, wanted) and not added


def test_several_adapters_at_once_autocast_dropout_and_merged_layers_are_left_to_peft(tiny_llama_dir, added):
    model = adapted(tiny_llama_dir, lora_dropout=0.5)
    model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    patch_lora_forward(model)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            model(IDS)
        model.train()
        model(IDS)
        model.eval()
        model.base_model.set_adapter(["default", "second"])
        model(IDS)
        model.base_model.set_adapter("second")
        only_second = len([module for module in layers(model) if "second" in module.lora_A])
        assert not added
        model(IDS)
        assert len(added) == only_second == 2
        model.base_model.set_adapter("default")
        wanted = model(IDS).logits
        added.clear()
        model.merge_adapter()
        torch.testing.assert_close(model(IDS).logits, wanted, rtol=1e-3, atol=1e-4)
        assert not added


def test_adapters_that_a_reader_loads_are_read_so_each_of_them(tiny_llama_dir, tmp_path, added):
    first = make_adapter(tmp_path / "one", tiny_llama_dir, 1)
    second = make_adapter(tmp_path / "two", tiny_llama_dir, 2, modules=("o_proj", "down_proj"))
    reader = fresh(tiny_llama_dir, first, adapters={"two": second})
    for name in ("one", "two"):
        added.clear()
        with torch.inference_mode(), reader.loaded.shared.activated(reader.loaded.shared.get(name)):
            reader.loaded.shared.model(IDS)
        assert len(added) == 4  # two modules in each of two layers
