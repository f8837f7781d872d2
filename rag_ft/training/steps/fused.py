"""Faster code for training, with fewer passes over memory: LoRA layers, norms, the loss at the output head.

Each piece has its own backward pass and computes products in the type of the run. It is used only where it gives what
the model's own code gives: not for a base layer that is quantised or has dropout, DoRA, a norm with another formula, or
a head whose logits are capped or scaled. Tests hold it against that code, gradients included
(tests/training/steps/test_fused.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import linear

from rag_ft.models.inplace_lora import plain_update

if TYPE_CHECKING:
    from torch import Tensor

_HEAD_ROWS = 128
"""Labelled positions whose logits are in memory at once: 25 MB in float32 at a vocabulary of 49,152."""


class Fused(NamedTuple):
    """Parts of a model that run on the code of this module."""

    lora: int
    """Number of LoRA layers."""
    norms: int
    """Number of norms."""
    head: bool
    """Whether the loss at the output head does."""


class _LoraLinear(torch.autograd.Function):
    """x W' + bias + scale * (x A') B', W frozen. x (..., in), W (out, in), A (r, in), B (out, r)."""

    @staticmethod
    def forward(
        ctx: Any, given: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        flat = given.reshape(-1, given.shape[-1]).to(weight.dtype)
        a, b = a.to(weight.dtype), (b * scale).to(weight.dtype)
        narrow = flat @ a.t()
        out = linear(flat, weight, bias).addmm_(narrow, b.t())
        ctx.save_for_backward(flat, weight, narrow, a, b)
        ctx.scale, ctx.shape = scale, given.shape
        return out.reshape(*given.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        flat, weight, narrow, a, b = ctx.saved_tensors
        d_out = gradients[0].reshape(-1, gradients[0].shape[-1]).to(weight.dtype)
        d_narrow = d_out @ b
        d_given = None
        if ctx.needs_input_grad[0]:
            d_given = (d_out @ weight).addmm_(d_narrow, a).reshape(ctx.shape)
        d_a, d_b = d_narrow.t() @ flat, (d_out.t() @ narrow) * ctx.scale
        return d_given, None, None, d_a.float(), d_b.float(), None


class _RmsNorm(torch.autograd.Function):
    """w * x / sqrt(mean(x^2) + eps), computed in float32 and given in `dtype`; w frozen."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        wide = given.float()
        inverse = wide.pow(2).mean(-1, keepdim=True).add_(eps).rsqrt_()
        normed = wide * inverse
        ctx.save_for_backward(normed, inverse, weight)
        ctx.dtype = given.dtype
        return (normed * weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        normed, inverse, weight = ctx.saved_tensors
        scaled = gradients[0] * weight
        along = (scaled * normed).mean(-1, keepdim=True)
        return torch.addcmul(scaled, normed, along, value=-1).mul_(inverse).to(ctx.dtype), None, None, None


class _HeadLoss(torch.autograd.Function):
    """Summed cross-entropy of hidden states (N, H) under a frozen head (V, H); all logits never exist at once."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        slopes = []
        for rows, wanted in zip(torch.split(hidden, _HEAD_ROWS), torch.split(targets, _HEAD_ROWS), strict=True):
            logits = linear(rows, weight).float()
            whole = logits.logsumexp(-1, keepdim=True)
            total += (whole - logits.gather(1, wanted[:, None])).sum()
            if ctx.needs_input_grad[0]:
                shares = logits.sub_(whole).exp_()  # (n, V); minus 1 at the target: the slope of the loss
                shares[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                slopes.append(shares.to(weight.dtype) @ weight)
        ctx.save_for_backward(torch.cat(slopes) if slopes else hidden.new_zeros(hidden.shape))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        return ctx.saved_tensors[0] * gradients[0], None, None


def head_loss(hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum of the cross-entropy over N labelled positions: hidden (N, H), head weight (V, H), targets (N,)."""
    with torch.autocast(hidden.device.type, enabled=False):
        if not len(targets):
            return hidden.sum() * 0.0
        return _HeadLoss.apply(hidden.to(dtype), weight.to(dtype), targets)  # type: ignore[no-any-return, no-untyped-call]


@contextmanager
def fused(model: Any, dtype: torch.dtype) -> Iterator[Fused]:
    """Within this context, the model's LoRA layers and norms compute in `dtype` with the code above.

    `model` is PEFT's. If `dtype` is not the type of the adapted weights, a second copy of them is held in it.
    """
    head = _plain_head(model, dtype)
    changed = []
    lora = norms = 0
    for module in model.modules():
        forward = _lora_forward(module, dtype)
        lora += forward is not None
        if forward is None:
            forward = _norm_forward(module, dtype)
            norms += forward is not None
        if forward is not None:
            module.forward = forward
            changed.append(module)
    try:
        yield Fused(lora, norms, head)
    finally:
        for module in changed:
            del module.forward  # uncovers that of the class


def _lora_forward(module: Any, dtype: torch.dtype) -> Any:
    from peft.tuners.lora import layer

    if type(module) is not layer.Linear or module.merged or module.disable_adapters or len(module.active_adapters) != 1:
        return None
    base, name = module.base_layer, module.active_adapters[0]
    plain = (
        plain_update(module, name)
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and not base.weight.requires_grad
    )
    if not plain:
        return None
    a, b, scale = module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name]
    weight = base.weight.detach().to(dtype)
    bias = None if base.bias is None else base.bias.detach().to(dtype)

    def forward(given: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            return _LoraLinear.apply(given, weight, bias, a, b, scale)  # type: ignore[no-any-return, no-untyped-call]

    return forward


def _norm_forward(module: Any, dtype: torch.dtype) -> Any:
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not type(module).__name__.endswith("RMSNorm") or weight is None or eps is None or weight.requires_grad:
        return None

    def forward(given: Tensor) -> Tensor:
        return _RmsNorm.apply(given, weight, eps, dtype)  # type: ignore[no-any-return, no-untyped-call]

    # Model families compute their norms differently under similar names: the result on a sample decides.
    sample = torch.linspace(-2, 2, weight.numel(), device=weight.device).reshape(1, -1)
    with torch.no_grad():
        expected, actual = module(sample).float(), forward(sample).float()
    return (
        forward if torch.allclose(expected, actual, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5) else None
    )


def _plain_head(model: Any, dtype: torch.dtype) -> bool:
    """Whether the logits are just the product of the frozen head with the last hidden states."""
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or getattr(head, "bias", None) is not None or head.weight.requires_grad:
        return False
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    # A base in 16 bits has norms in 32; they only fit together under autocast, as in training.
    mixed = torch.autocast(head.weight.device.type, dtype, enabled=head.weight.dtype != torch.float32)
    try:
        with torch.no_grad(), mixed:
            logits = model(input_ids=torch.tensor([[3, 4, 5, 6]], device=head.weight.device), use_cache=False).logits
            product = linear(seen[0].to(head.weight.dtype), head.weight)
    finally:
        handle.remove()
    return torch.allclose(logits.float(), product.float(), rtol=1e-3, atol=1e-3)
