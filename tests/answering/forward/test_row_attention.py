"""The attention of flat rows against scaled dot-product attention of each row alone."""

import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from rag_ft.answering.forward.row_attention import ROW_ATTENTION, attending_rows, row_attention
from rag_ft.answering.forward.row_cache import RowCache, RowPiece
from rag_ft.models.attention import close_enough

LAYERS, WIDTH = 2, 8


def alone(query, key, value, sees):
    """One row by torch's own attention: query (H, L, D), key and value (K, S, D), sees (L, S)."""
    share = query.shape[0] // key.shape[0]
    return scaled_dot_product_attention(
        query, key.repeat_interleave(share, 0), value.repeat_interleave(share, 0), attn_mask=sees
    )


def masks(sees):
    return torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)


@settings(max_examples=40, deadline=None)
@given(
    old=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    new=st.lists(st.integers(1, 7), min_size=4, max_size=4),
    heads=st.sampled_from([(4, 4), (4, 2), (6, 1)]),
    room=st.integers(0, 5),
    seed=st.integers(0, 10**6),
)
def test_each_row_attends_as_it_would_alone(old, new, heads, room, seed):
    """Rows of any lengths, with keys held before, under causal masks or any others, in every grouping of heads."""
    torch.manual_seed(seed)
    many, few = heads
    new = new[: len(old)]
    tokens = sum(new)
    query = torch.randn(1, many, tokens, WIDTH)
    key, value = torch.randn(2, 1, few, tokens, WIDTH)
    before = [torch.randn(2, few, length, WIDTH) for length in old]
    rows, seen = [], []
    for held, count in zip(before, new, strict=True):
        known = [torch.stack([held] * LAYERS)] if held.shape[2] else []
        cache = RowCache(LAYERS, held.shape[2] + room, known)
        cache.make_room(count)
        own = torch.tril(torch.ones(count, count, dtype=torch.bool)) & (torch.rand(count, count) < 0.7)
        own |= torch.eye(count, dtype=torch.bool)
        rows.append(RowPiece(cache, count, masks(own)))
        seen.append(torch.cat([torch.ones(count, held.shape[2], dtype=torch.bool), own], 1))
    found = row_attention(types.SimpleNamespace(layer_idx=1), query, key, value, None, rows=rows)[0][0]
    begin = 0
    for held, count, sees in zip(before, new, seen, strict=True):
        part = slice(begin, begin + count)
        keys, values = torch.cat([held[0], key[0, :, part]], 1), torch.cat([held[1], value[0, :, part]], 1)
        expected = alone(query[0, :, part], keys, values, sees)
        torch.testing.assert_close(found[part].transpose(0, 1), expected, rtol=1e-4, atol=1e-5)
        begin += count


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(1, 4))
def test_a_cache_that_grows_keeps_what_it_held(sizes, room):
    cache, everything = RowCache(1, room), []
    for number, size in enumerate(sizes):
        piece = torch.full((2, size, WIDTH), float(number))
        cache.make_room(size)
        keys, values = cache.put(0, piece, -piece)
        cache.length += size
        everything.append(piece)
        torch.testing.assert_close(keys, torch.cat(everything, 1), rtol=0, atol=0)
        torch.testing.assert_close(values, -torch.cat(everything, 1), rtol=0, atol=0)
    begin = sizes[0]
    kept = cache.part(0, begin)
    torch.testing.assert_close(kept[0, 0], everything[0], rtol=0, atol=0)
    cache.put(0, torch.zeros(2, 1, WIDTH), torch.zeros(2, 1, WIDTH)) if cache.length < cache._room else None
    torch.testing.assert_close(
        RowCache(1, 0, [kept, cache.part(begin, cache.length)]).part(0, cache.length)[0, 0], keys
    )


@given(st.integers(0, 6), st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_what_is_shared_is_rounded_as_its_part_is_and_nothing_else_is(head, sizes, data):
    """In whatever pieces the tokens come."""
    total = head + sum(sizes)
    stop = data.draw(st.integers(head, total))
    cache = RowCache(1, total, shared=(head, stop))
    pieces = [torch.randn(2, 2, size, WIDTH) for size in (head, *sizes) if size]
    for keys, values in pieces:
        seen = cache.put(0, keys, values)
        cache.length += keys.shape[1]
    written = torch.cat(pieces, 2)
    expected = written.clone()
    expected[:, :, head:stop] = written[:, :, head:stop].half().float()
    torch.testing.assert_close(torch.stack(seen), expected, rtol=0, atol=0)
    if head < stop:
        part = cache.part(head, stop)
        assert part.dtype == torch.float16
        torch.testing.assert_close(part[0].float(), expected[:, :, head:stop], rtol=0, atol=0)
        known = [cache.part(0, head), part] if head else [torch.zeros(1, 2, 2, 0, WIDTH), part]
        again = RowCache(1, total, known, (head, stop))
        keys, values = written[:, :, stop:]
        torch.testing.assert_close(torch.stack(again.put(0, keys, values)), expected, rtol=0, atol=0)


def test_values_beyond_16_bits_are_the_largest_there_are():
    cache = RowCache(1, 2, shared=(0, 1))
    keys, _ = cache.put(0, torch.full((1, 2, WIDTH), 1e6), torch.full((1, 2, WIDTH), -1e6))
    assert keys[0, :, 0].tolist() == [65504.0, 1e6]


def test_16_bit_models_keep_what_they_have():
    cache = RowCache(1, 1, shared=(0, 1))
    written = torch.randn(2, 1, 1, WIDTH).bfloat16()
    cache.put(0, *written)
    assert cache.part(0, 1).dtype == torch.bfloat16
    torch.testing.assert_close(cache.part(0, 1)[0], written, rtol=0, atol=0)


def test_the_attention_that_was_there_is_put_back_by_the_last_thread():
    config = types.SimpleNamespace(_attn_implementation="sdpa")
    config.get_text_config = lambda decoder: config
    model = types.SimpleNamespace(config=config)
    first, second = attending_rows(model), attending_rows(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert config._attn_implementation == ROW_ATTENTION
    second.__exit__(None, None, None)
    assert config._attn_implementation == "sdpa"
    with attending_rows(model):
        assert config._attn_implementation == ROW_ATTENTION
    assert config._attn_implementation == "sdpa"


def test_a_part_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing was read"):
        RowCache(1, 4).part(0, 1)


@pytest.mark.parametrize("more", [{"sliding_window": 8}, {"softcap": 30.0}, {"s_aux": torch.zeros(4)}])
def test_what_a_model_adds_to_its_attention_is_refused(more):
    piece = RowPiece(RowCache(1, 1), 1, None)
    query = torch.randn(1, 4, 1, WIDTH)
    with pytest.raises(ValueError, match=next(iter(more))):
        row_attention(types.SimpleNamespace(layer_idx=0), query, query, query, None, rows=[piece], **more)


def test_so_is_a_mask_of_its_own():
    piece = RowPiece(RowCache(1, 1), 1, None)
    query = torch.randn(1, 4, 1, WIDTH)
    with pytest.raises(ValueError, match="adds another"):
        row_attention(types.SimpleNamespace(layer_idx=0), query, query, query, torch.zeros(1, 1, 1, 1), rows=[piece])


def test_rounding_is_told_from_another_result():
    wanted = torch.randn(100)
    assert close_enough(wanted + 1e-5, wanted) and not close_enough(wanted + 1e-2, wanted)
    assert close_enough((wanted + 1e-2).bfloat16(), wanted.bfloat16())
    assert not close_enough((wanted + 0.3).bfloat16(), wanted.bfloat16())
