import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.training.steps.tree_attention import (
    TREE_ATTENTION,
    sdpa_attention_forward,
    takes_trees,
    tree_attention,
    trees,
)


def _case(sizes, heads, groups, seed):
    torch.manual_seed(seed)
    tokens, head = sum(sizes), sizes[0]
    query = torch.randn(1, heads, tokens, 8, requires_grad=True)
    key, value = (torch.randn(1, groups, tokens, 8, requires_grad=True) for _ in range(2))
    masks = [torch.zeros(1, head, head).masked_fill_(~torch.ones(head, head, dtype=torch.bool).tril(), -torch.inf)]
    whole = torch.full((tokens, tokens), -torch.inf)
    whole[:head, :head] = masks[0][0]
    begin = head
    for size in sizes[1:]:
        allowed = torch.rand(size, size) < 0.5
        allowed |= torch.eye(size, dtype=torch.bool)
        block = torch.zeros(size, head + size)
        block[:, head:].masked_fill_(~allowed.tril(), -torch.inf)
        masks.append(block[None])
        whole[begin : begin + size, :head] = block[:, :head]
        whole[begin : begin + size, begin : begin + size] = block[:, head:]
        begin += size
    return query, key, value, {"sizes": list(sizes), "masks": masks}, whole


@given(
    st.integers(0, 5),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from([(4, 2), (3, 3), (6, 1)]),
    st.integers(0, 9),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_values_and_gradients_are_those_of_attention_under_the_whole_mask(head, sizes, shape, seed, by_kernel):
    query, key, value, tree, whole = _case([head, *sizes], *shape, seed)
    repeats = shape[0] // shape[1]
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1), attn_mask=whole[None, None]
    ).transpose(1, 2)
    weights = torch.randn(wanted.shape)
    slopes = torch.autograd.grad((wanted * weights).sum(), (query, key, value))
    # Dropout of nearly nothing sends a CPU's tensors through the path of other devices.
    output, _ = tree_attention(None, query, key, value, None, dropout=1e-12 if by_kernel else 0.0, tree=tree)
    torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-5)
    for slope, expected_slope in zip(
        torch.autograd.grad((output * weights).sum(), (query, key, value)), slopes, strict=True
    ):
        torch.testing.assert_close(slope, expected_slope, rtol=1e-3, atol=1e-4)


def test_an_ordinary_model_takes_trees_and_is_left_as_it_was(tiny):
    before = tiny.model.config._attn_implementation
    assert takes_trees(tiny.model)
    assert tiny.model.config._attn_implementation == before
    with trees(tiny.model):
        assert tiny.model.config._attn_implementation == TREE_ATTENTION


def test_without_a_tree_the_backend_is_ordinary_attention(tiny):
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        wanted = tiny.model(ids).logits
        with trees(tiny.model):
            torch.testing.assert_close(tiny.model(ids).logits, wanted, rtol=1e-5, atol=1e-5)


def test_a_model_that_adds_to_its_attention_is_found_out(tiny, monkeypatch):
    plain = sdpa_attention_forward
    layer = tiny.model.model.layers[0].self_attn

    def louder(module, query, key, value, *given, **more):
        out, weights = plain(module, query, key, value, *given, **more)
        return out * 1.5, weights

    from transformers import AttentionInterface

    AttentionInterface.register("louder", louder)
    monkeypatch.setattr(tiny.model.config, "_attn_implementation", "louder")
    assert layer.config._attn_implementation == "louder"
    assert not takes_trees(tiny.model)


@pytest.mark.parametrize("window", ["layer_types", "sliding_window"])
def test_a_sliding_window_is_no_tree(tiny, monkeypatch, window):
    value = ["sliding_attention"] * 2 if window == "layer_types" else 64
    monkeypatch.setattr(tiny.model.config, window, value, raising=False)
    assert not takes_trees(tiny.model)
