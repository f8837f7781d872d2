"""Attention of flat rows: prompts of any lengths in one sequence, each over its own keys, old and new.

A pass holds the new tokens of several prompts one after another. Each prompt's queries meet the keys that its cache
holds already and those of its own new tokens, which are written after them in place: nothing is padded, no cache is
copied to grow, and query heads that share a key head go in one product. Registered with transformers as `rag_ft_rows`
where a model of transformers reads rows; `PlainLlama` calls `attend_rows` itself, and needs no transformers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from rag_ft.answering.forward.row_cache import RowPiece
from rag_ft.models.attention import refuse_additions

if TYPE_CHECKING:
    from torch import Tensor

ROW_ATTENTION = "rag_ft_rows"
"""Name of the attention function in transformers."""


def row_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    rows: Sequence[RowPiece] | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it; without rows it is scaled dot-product attention.

    query (1, H, T, D), key and value (1, K, T, D), H a multiple of K; gives (1, T, H, D). Scores are rounded to the
    query's type, as in eager attention. Raises ValueError where the model adds something to its attention.
    """
    if rows is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    refuse_additions(more)
    if attention_mask is not None:
        raise ValueError("this attention has its masks in its rows, and the model adds another")
    return attend_rows(rows, module.layer_idx, query, key, value, scaling), None


def attend_rows(
    rows: Sequence[RowPiece], layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None
) -> Tensor:
    """The attention of flat rows in one layer, shapes as `row_attention` has them.

    `scale`: of the scores; None stands for the root of the width.
    """
    _, heads, tokens, width = query.shape
    groups = key.shape[1]
    scale = width**-0.5 if scale is None else scale
    queries = torch.unflatten(query[0] * scale, 0, (groups, heads // groups))  # (K, H/K, T, D)
    out = query.new_empty(tokens, heads, width)
    start = 0
    for cache, size, mask in rows:
        end = start + size
        keys, values = cache.put(layer, key[0, :, start:end], value[0, :, start:end])
        scores = torch.bmm(queries[:, :, start:end].reshape(groups, -1, width), keys.transpose(1, 2))  # (K, H/K * L, S)
        if mask is not None:
            scores.view(groups, -1, size, scores.shape[2])[..., cache.length :].add_(mask)
        shares = torch.bmm(scores.softmax(-1), values)
        out[start:end] = shares.view(heads, size, width).transpose(0, 1)
        start = end
    return out[None]


@contextmanager
def attending_rows(model: Any) -> Iterator[None]:
    """While this lasts, the model takes `rows=` (a sequence of RowPiece) besides flat input ids and position ids.

    Several threads may be in it at once; the last to leave restores the attention that the first found.
    """
    from transformers import AttentionInterface

    config = model.config.get_text_config(decoder=True)
    with _changing:
        AttentionInterface.register(ROW_ATTENTION, row_attention)
        inside, before = _attending.get(id(config), (0, config._attn_implementation))
        _attending[id(config)] = inside + 1, before
        config._attn_implementation = ROW_ATTENTION
    try:
        yield
    finally:
        with _changing:
            inside, before = _attending.pop(id(config))
            if inside > 1:
                _attending[id(config)] = inside - 1, before
            else:
                config._attn_implementation = before


_changing = threading.Lock()


_attending: dict[int, tuple[int, str]] = {}
"""Configs of models that take rows now, by identity → number of threads inside, and the attention to restore."""
