from types import SimpleNamespace

import pytest
import torch

from rag_ft.models.attention import close_enough, plain_attention, refuse_additions


def model(replaceable=True, **config):
    config = SimpleNamespace(**config)
    return SimpleNamespace(
        _supports_attention_backend=replaceable,
        config=SimpleNamespace(get_text_config=lambda decoder: config),
    )


@pytest.mark.parametrize(
    ("asked", "plain"),
    [
        (model(), True),
        (model(replaceable=False), False),
        (model(layer_types=["full_attention", "full_attention"]), True),
        (model(layer_types=["full_attention", "sliding_attention"]), False),
        (model(sliding_window=128), False),
        (model(sliding_window=128, layer_types=["full_attention"]), True),
    ],
)
def test_only_ordinary_attention_in_every_layer_can_be_replaced(asked, plain):
    assert plain_attention(asked) is plain


def test_additions_are_refused():
    refuse_additions({"scaling": 0.5, "softcap": None})
    with pytest.raises(ValueError, match="does not support softcap"):
        refuse_additions({"softcap": 30.0})


@pytest.mark.parametrize(("dtype", "rounding", "wrong"), [(torch.float32, 1e-4, 1e-2), (torch.bfloat16, 2e-2, 0.5)])
def test_logits_may_differ_by_rounding_alone(dtype, rounding, wrong):
    logits = torch.linspace(-3, 3, 50).to(dtype)
    assert close_enough(logits * (1 + rounding), logits)
    assert not close_enough(logits * (1 + wrong), logits)
