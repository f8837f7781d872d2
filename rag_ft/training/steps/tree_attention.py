"""Attention over a tree of segments: each group of questions sees the head, its own context and itself.

A batch is one flat sequence: the prompt's head once, then groups. A group's queries meet the head's keys and its own,
never another group's, so the work grows with the sum of the groups' squares and not with the square of the sum, no
position is padding, and the head is computed once per batch. Registered with transformers under `TREE_ATTENTION`, so
any model that takes an attention backend can be trained on trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from typing_extensions import NotRequired, TypedDict

from rag_ft.models.attention import close_enough, plain_attention, refuse_additions

if TYPE_CHECKING:
    from torch import Tensor

TREE_ATTENTION = "rag_ft_tree"
"""Name of this attention in transformers."""


class _Padded(NamedTuple):
    """The pieces of a tree (head and groups) padded to a batch of G pieces of L slots, for devices with many cores."""

    positions: Tensor
    """(G * L,) position of each slot's token in the flat sequence; T, one past the last, for an empty slot."""
    mask: Tensor
    """(G, 1, L, h + L): what a slot sees of the head, then of its own piece. An empty slot sees the first key, because
    a softmax over nothing is not a number."""
    slots: Tensor
    """(T,) slot of each position."""


class Tree(TypedDict):
    """Which tokens see which in a flat sequence; plain lists and tensors, which trainers move between devices."""

    sizes: list[int]
    """Tokens of the head (0 if there is none), then of each group, in their order."""
    masks: list[Tensor]
    """Mask of the head (1, h, h), then of each group of L tokens (1, L, h + L): 0 where the key is seen, else minus
    infinity."""
    padded: NotRequired[_Padded]
    """The padded form, added by the first layer that needs it."""


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    tree: Tree | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it; without a tree it is scaled dot-product attention.

    query (1, H, T, D), key and value (1, K, T, D), H a multiple of K; gives (1, T, H, D). On a CPU the products are
    plain batched matrix products, about three times as fast there as the fused kernel, forward and backward together
    (benchmarks/training_speed.py); on other devices all groups go through the fused kernel at once.
    """
    if tree is None:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
    refuse_additions(more)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    masks = tree["masks"]
    if query.device.type == "cpu" and not dropout:
        dtype = masks[0].dtype
        with torch.autocast("cpu", enabled=False):
            out = _TreeAttention.apply(  # type: ignore[no-untyped-call]
                query.to(dtype), key.to(dtype), value.to(dtype), scale, tree["sizes"], masks
            )
        return out, None
    if "padded" not in tree:
        tree["padded"] = _padded(tree["sizes"], masks)
    return _batched(query, key, value, tree["sizes"][0], tree["padded"], dropout, scale), None


def _padded(sizes: Sequence[int], masks: Sequence[Tensor]) -> _Padded:
    head, total, longest = sizes[0], sum(sizes), max(sizes)
    longest += -(head + longest) % 8  # the fused kernels take masks whose rows start at multiples of 16 bytes
    pieces = sum(size > 0 for size in sizes)
    positions = torch.full((pieces, longest), total)
    slots = torch.empty(total, dtype=torch.long)
    mask = masks[0].new_full((pieces, 1, longest, head + longest), -torch.inf)
    for piece, (start, end, piece_mask) in enumerate(_spans(sizes, masks)):
        size = end - start
        before = piece_mask.shape[2] - size  # keys of the head; the head's own piece has none before it
        positions[piece, :size] = torch.arange(start, end)
        slots[start:end] = torch.arange(piece * longest, piece * longest + size)
        mask[piece, 0, :size, :before] = piece_mask[0, :, :before]
        mask[piece, 0, :size, head : head + size] = piece_mask[0, :, before:]
        mask[piece, 0, size:, 0] = 0
    device = masks[0].device
    return _Padded(positions.flatten().to(device), mask, slots.to(device))


def _batched(
    query: Tensor, key: Tensor, value: Tensor, head: int, padded: _Padded, dropout: float, scale: float
) -> Tensor:
    pieces, repeats = padded.mask.shape[0], query.shape[1] // key.shape[1]

    def by_piece(flat: Tensor) -> Tensor:
        """(1, H, T, D) → (G, H, L, D); zeros at empty slots."""
        filled = pad(flat[0], (0, 0, 0, 1)).index_select(1, padded.positions)
        return torch.unflatten(filled, 1, (pieces, -1)).transpose(0, 1)

    def seen(flat: Tensor) -> Tensor:
        """(1, K, T, D) → (G, H, h + L, D)."""
        whole = torch.cat((flat[:, :, :head].expand(pieces, -1, -1, -1), by_piece(flat)), 2)
        return whole.repeat_interleave(repeats, 1) if repeats > 1 else whole

    mask = padded.mask.to(query.dtype)
    out = scaled_dot_product_attention(by_piece(query), seen(key), seen(value), mask, dropout_p=dropout, scale=scale)
    return out.transpose(1, 2).flatten(0, 1).index_select(0, padded.slots)[None]


class _TreeAttention(torch.autograd.Function):
    """Softmax attention piece by piece, with its backward pass; query heads of one key head share a product."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, sizes: list[int], masks: list[Tensor]
    ) -> Tensor:
        _, heads, tokens, width = query.shape
        groups = key.shape[1]
        query, key, value = torch.unflatten(query[0], 0, (groups, heads // groups)), key[0], value[0]
        out = query.new_empty(tokens, heads, width)
        head, kept = sizes[0], []
        for start, end, mask in _spans(sizes, masks):
            q = (query[:, :, start:end] * scale).reshape(groups, -1, width)  # (K, H/K * L, D)
            k, v = _with_head(key, head, start, end), _with_head(value, head, start, end)  # (K, h + L, D)
            scores = torch.bmm(q, k.transpose(1, 2))
            scores.view(groups, -1, end - start, scores.shape[-1]).add_(mask)
            shares = scores.softmax(-1)
            out[start:end] = torch.bmm(shares, v).view(heads, end - start, width).transpose(0, 1)
            kept += [q, k, v, shares]
        ctx.save_for_backward(*kept)
        ctx.scale, ctx.sizes, ctx.masks, ctx.shape = scale, sizes, masks, (groups, heads, tokens, width)
        return out[None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        groups, heads, tokens, width = ctx.shape
        given, kept = gradients[0][0], iter(ctx.saved_tensors)
        d_query = given.new_empty(heads, tokens, width)
        d_key, d_value = (given.new_zeros(groups, tokens, width) for _ in range(2))
        for start, end, _ in _spans(ctx.sizes, ctx.masks):
            q, k, v, shares = (next(kept) for _ in range(4))
            d_out = given[start:end].transpose(0, 1).reshape(groups, -1, width)
            d_scores = torch.bmm(d_out, v.transpose(1, 2))
            d_scores = torch.ops.aten._softmax_backward_data(d_scores, shares, -1, shares.dtype)
            d_query[:, start:end] = (torch.bmm(d_scores, k) * ctx.scale).view(heads, end - start, width)
            for total, part in (
                (d_key, torch.bmm(d_scores.transpose(1, 2), q)),
                (d_value, torch.bmm(shares.transpose(1, 2), d_out)),
            ):
                before = part.shape[1] - (end - start)  # keys of the head
                total[:, :before] += part[:, :before]
                total[:, start:end] += part[:, before:]
        return d_query[None], d_key[None], d_value[None], None, None, None


def _spans(sizes: Sequence[int], masks: Sequence[Tensor]) -> Iterator[tuple[int, int, Tensor]]:
    """Start, end and mask of each piece that is not empty."""
    start = 0
    for size, mask in zip(sizes, masks, strict=True):
        if size:
            yield start, start + size, mask
        start += size


def _with_head(flat: Tensor, head: int, start: int, end: int) -> Tensor:
    """Keys or values (K, T, D) that the piece from start to end may see."""
    piece = flat[:, start:end]
    return piece.contiguous() if start == 0 else torch.cat((flat[:, :head], piece), 1)


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)


@contextmanager
def trees(model: Any) -> Iterator[None]:
    """Within this context, the model takes `tree=` beside flat input ids and position ids."""
    before = model.config._attn_implementation
    model.set_attn_implementation(TREE_ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def takes_trees(model: Any) -> bool:
    """Whether branches that share a context compute exactly what their own sequences would.

    Tried on a few tokens, which exposes a model that adds something to its attention (a window, a cap on scores,
    sinks), whatever its config calls it.
    """
    if not plain_attention(model):
        return False
    from rag_ft.training.data.collator import Branch, Collator, Group, flatten

    branches = (Branch("a", (8, 9), (10, 11)), Branch("b", (12,), (13, 14, 15)))
    group = Group((5, 6, 7), branches)
    row = flatten((3, 4), [group, group])
    device = model.device
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            with trees(model):
                batch = Collator(0)([row._asdict()])
                batch.pop("labels")
                tree: Tree = {
                    "sizes": batch["tree"]["sizes"],
                    "masks": [mask.to(device) for mask in batch["tree"]["masks"]],
                }
                ids, positions = batch["input_ids"].to(device), batch["position_ids"].to(device)
                logits = model(input_ids=ids, position_ids=positions, tree=tree, use_cache=False).logits[0]
            for i, branch in enumerate(branches):
                sequence = (3, 4, 5, 6, 7, *branch.question, *branch.completion)
                expected = model(input_ids=torch.tensor([sequence], device=device), use_cache=False).logits[0, -1]
                last = 2 + 3 + 4 * (i + 1) - 1
                if not close_enough(logits[last], expected):
                    return False
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False
    finally:
        model.train(was_training)
    return True
