import pytest
import torch

from rag_ft.training.data.collator import Collator, pack
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.fused import fused, head_loss
from rag_ft.training.steps.setup import adapt, load_base
from rag_ft.training.steps.trainer import labelled_loss
from rag_ft.training.steps.tree_attention import trees

CONFIG = TrainConfig(bits=32)


@pytest.fixture
def adapted(tiny_llama_dir):
    """An adapter whose B is not zero, so that every product counts."""

    def make(lora=None, config=CONFIG):
        model = adapt(load_base(str(tiny_llama_dir), config), lora or AdapterConfig(rank=4), config).train()
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.05)
        return model

    return make


def _step(model, encoded, head_dtype=None):
    batch = Collator(2)([row._asdict() for row in pack(encoded, 700, 0)])
    labels = batch.pop("labels")
    model.zero_grad()
    with trees(model.get_base_model()):
        loss, count = labelled_loss(model, batch, labels, head_dtype)
        loss.backward()  # activations that were not kept are computed again here, and need the same attention
    return float(loss.detach()) / count, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_loss_and_gradients_are_those_of_the_models_own_code(adapted, encoded):
    model = adapted()
    wanted, slopes = _step(model, encoded)
    with fused(model, torch.float32) as parts:
        assert parts == (14, 5, True)  # 7 projections and 2 norms a layer, the last norm, the head
        loss, fused_slopes = _step(model, encoded, torch.float32)
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert fused_slopes.keys() == slopes.keys() and len(slopes) == 28
    for name, slope in slopes.items():
        torch.testing.assert_close(fused_slopes[name], slope, rtol=1e-3, atol=1e-4 * float(slope.abs().max()))


def test_checkpointed_activations_change_no_gradient(adapted, encoded):
    wanted, slopes = _step(adapted(), encoded)
    config = CONFIG.model_copy(update={"checkpointing": True})
    model = adapted(config=config)
    assert model.get_base_model().is_gradient_checkpointing
    with fused(model, torch.float32):
        loss, checkpointed = _step(model, encoded, torch.float32)
    assert loss == pytest.approx(wanted, rel=1e-5)
    for name, slope in slopes.items():
        torch.testing.assert_close(checkpointed[name], slope, rtol=1e-3, atol=1e-4 * float(slope.abs().max()))


def test_the_models_own_code_is_back_afterwards(adapted, encoded):
    model = adapted()
    before = _step(model, encoded)[0]
    with fused(model, torch.float32):
        pass
    assert not [module for module in model.modules() if "forward" in vars(module)]
    assert _step(model, encoded)[0] == before


@pytest.mark.parametrize("lora", [AdapterConfig(rank=4, dropout=0.1), AdapterConfig(rank=4, dora=True)])
def test_layers_with_dropout_or_dora_are_left_alone(adapted, lora):
    with fused(adapted(lora), torch.float32) as parts:
        assert parts.lora == 0 and parts.norms == 5


def test_a_norm_with_another_formula_is_left_alone(adapted):
    model = adapted()
    kind = type(model.get_base_model().model.norm)
    before = kind.forward
    kind.forward = lambda self, given: before(self, given) + self.weight  # as (1 + w) x does in some families
    try:
        with fused(model, torch.float32) as parts:
            assert parts.norms == 0
    finally:
        kind.forward = before


def test_capped_logits_keep_the_models_own_loss(adapted):
    model = adapted()
    base = model.get_base_model()
    original = base.forward

    def capped(**given):
        out = original(**given)
        out.logits = torch.tanh(out.logits)
        return out

    base.forward = capped
    with fused(model, torch.float32) as parts:
        assert not parts.head


def test_head_loss_equals_cross_entropy_over_several_blocks():
    torch.manual_seed(0)
    hidden = torch.randn(300, 16, requires_grad=True)
    weight, targets = torch.randn(50, 16), torch.randint(0, 50, (300,))
    wanted = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    wanted.backward()
    slope, hidden.grad = hidden.grad, None
    loss = head_loss(hidden, weight, targets, torch.float32)
    (2 * loss).backward()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    torch.testing.assert_close(hidden.grad, 2 * slope, rtol=1e-4, atol=1e-5)
    assert float(head_loss(hidden[:0], weight, targets[:0], torch.float32).detach()) == 0.0
