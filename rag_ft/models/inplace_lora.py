"""Faster LoRA layers: the update is added in place, to the layer's output.

PEFT's code makes the update, scales it and adds it, each time as a new tensor of the output's size, which no cache of
the processor holds where many tokens are read at once. Without these tensors reading takes 4 to 5% less time on two
quiet cores, and 20% less where other programs use the memory (float32; `python benchmarks/reading_speed.py`).
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


def patch_lora_forward(model: Any) -> int:
    """Let the LoRA layers of PEFT's model add in place where the result is PEFT's; returns the number of layers.

    Each pass decides: with gradients, in autocast, with several adapters or another kind of update PEFT's code runs.
    """
    from peft.tuners.lora import layer

    layers = [module for module in model.modules() if type(module) is layer.Linear]
    for module in layers:
        module.forward = MethodType(_forward, module)
    return len(layers)


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    names = self.active_adapters
    if self.disable_adapters or args or kwargs or len(names) != 1 or not _adds_plainly(self, names[0], x):
        return type(self).forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
    a, b = self.lora_A[names[0]].weight, self.lora_B[names[0]].weight
    out: Tensor = self.base_layer(x)
    out.view(-1, out.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ a.t(), b.t(), alpha=self.scaling[names[0]])
    return out


def plain_update(layer: Any, name: str) -> bool:
    """Whether PEFT's layer gives, dropout aside, the output of an ordinary linear layer plus scale * x A' B'."""
    return (
        type(layer.base_layer) is torch.nn.Linear
        and name in layer.lora_A
        and name not in layer.lora_variant
        and layer.lora_A[name].bias is None
        and layer.lora_B[name].bias is None
    )


def _adds_plainly(layer: Any, name: str, x: Tensor) -> bool:
    return (
        plain_update(layer, name)
        and not layer.merged
        and not layer.training
        and layer.lora_A[name].weight.dtype == x.dtype
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled(x.device.type)
    )
