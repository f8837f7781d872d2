"""Attention of flat rows: prompts of any lengths in one sequence, each over its own keys, old and new.

A pass holds the new tokens of several prompts one after another. Each prompt's queries meet the keys that its cache
holds already and those of its own new tokens, which are written behind them in place: nothing is padded, no cache is
copied to grow, and query heads that share a key head go in one product. Registered with transformers under `NAME`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

if TYPE_CHECKING:
    from torch import Tensor

NAME = "rag_ft_rows"


_LARGEST = torch.finfo(torch.float16).max


class RowCache:
    """Keys and values of one prompt in every layer, with room behind them."""

    def __init__(self, layers: int, room: int, known: Sequence[Tensor] = (), shared: tuple[int, int] = (0, 0)) -> None:
        """`room`: tokens that it can hold. `known`: parts of caches to start with, of consecutive runs of tokens, each
        (layers, 2, K, tokens, D); they are copied.

        `shared`: the run of tokens whose part other prompts may start with. In a 32-bit model its keys and values are
        rounded to 16 bits (11 significant ones) whether they are kept or not, so that a part takes half the memory and
        it makes no other difference that it was.
        """
        self._shared = shared
        self.length = sum(one.shape[3] for one in known)
        """Tokens held."""
        self._layers = layers
        self._room = max(room, self.length)
        self._values: Tensor | None = None  # (layers, 2, K, room, D)
        if known:
            dtype = functools.reduce(torch.promote_types, (one.dtype for one in known))
            self._values = self._empty(known[0].to(dtype), known[0].shape[2], known[0].shape[4])
            torch.cat(list(known), 3, out=self._values[:, :, :, : self.length])

    def _empty(self, like: Tensor, groups: int, width: int) -> Tensor:
        return like.new_empty(self._layers, 2, groups, self._room, width)

    def make_room(self, tokens: int) -> None:
        """Make sure that so many tokens fit behind those held."""
        if self.length + tokens > self._room:
            self._room = self.length + 2 * tokens
            before = self._values
            if before is not None:
                self._values = self._empty(before, before.shape[2], before.shape[4])
                self._values[:, :, :, : self.length] = before[:, :, :, : self.length]

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the keys and values (K, L, D) of new tokens of a layer behind those held; all of them, (K, S, D).

        They are overwritten by the next ones unless `length` is raised.
        """
        if self._values is None:
            self._values = self._empty(key, key.shape[0], key.shape[2])
        end = self.length + key.shape[1]
        own = self._values[layer]
        own[0, :, self.length : end] = key
        own[1, :, self.length : end] = value
        begin, stop = max(self.length, self._shared[0]), min(end, self._shared[1])
        if begin < stop and own.dtype == torch.float32:
            new = own[:, :, begin:stop]
            new.copy_(new.clamp(-_LARGEST, _LARGEST).to(torch.float16))
        return own[0, :, :end], own[1, :, :end]

    def part(self, begin: int, end: int) -> Tensor:
        """A copy of the cache of a run of tokens: (layers, 2, K, end - begin, D), in 16 bits where it is shared."""
        if self._values is None:
            raise ValueError("nothing was read into this cache yet")
        found = self._values[:, :, :, begin:end]
        rounded = found.dtype == torch.float32 and self._shared[0] <= begin and end <= self._shared[1]
        return found.to(torch.float16) if rounded else found.clone()


class RowPiece(NamedTuple):
    """One prompt's share of a pass."""

    cache: RowCache
    tokens: int
    mask: Tensor | None
    """(tokens, tokens), 0 where a new token sees another new one, else the type's minimum; None: all see all. Every
    token that the cache holds is seen."""


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
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    refuse_additions(more)
    if attention_mask is not None:
        raise ValueError("this attention has its masks in its rows, and the model adds another")
    _, heads, tokens, width = query.shape
    groups = key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    asked = torch.unflatten(query[0] * scale, 0, (groups, heads // groups))  # (K, H/K, T, D)
    out = query.new_empty(tokens, heads, width)
    begin = 0
    for cache, size, mask in rows:
        end = begin + size
        keys, values = cache.put(module.layer_idx, key[0, :, begin:end], value[0, :, begin:end])
        scores = torch.bmm(asked[:, :, begin:end].reshape(groups, -1, width), keys.transpose(1, 2))  # (K, H/K * L, S)
        if mask is not None:
            scores.view(groups, -1, size, scores.shape[2])[..., cache.length :].add_(mask)
        shares = torch.bmm(scores.softmax(-1), values)
        out[begin:end] = shares.view(heads, size, width).transpose(0, 1)
        begin = end
    return out[None], None


AttentionInterface.register(NAME, row_attention)


@contextmanager
def attending_rows(model: Any) -> Iterator[None]:
    """While this lasts, the model takes `rows=` (a sequence of RowPiece) beside flat input ids and position ids.

    Several threads may be in it at once; the last one to leave puts back what was there before the first.
    """
    config = model.config.get_text_config(decoder=True)
    with _changing:
        inside, before = _attending.get(id(config), (0, config._attn_implementation))
        _attending[id(config)] = inside + 1, before
        config._attn_implementation = NAME
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
"""Configs of models that take rows now, by identity → threads inside, and the attention to put back."""


def plain_attention(model: Any) -> bool:
    """Whether a model's config says that its attention can be replaced and is the ordinary one in every layer.

    It may still add something to it: only a trial shows that.
    """
    if not getattr(model, "_supports_attention_backend", False):
        return False
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ())
    return not kinds - {"full_attention"} and bool(kinds or not getattr(config, "sliding_window", None))


def refuse_additions(more: dict[str, Any]) -> None:
    """Raises ValueError where a model asks its attention for more than a mask and a scale."""
    for name in ("sliding_window", "softcap", "s_aux"):
        if more.get(name) is not None:
            raise ValueError(f"this attention has no {name}")


def close_enough(found: Tensor, wanted: Tensor) -> bool:
    """Whether two computations of the same logits differ by rounding alone, in the precision that they were made in."""
    off = (found - wanted).norm() / wanted.norm().clamp(min=1e-6)
    return float(off) < (1e-3 if wanted.dtype == torch.float32 else 1e-1)
