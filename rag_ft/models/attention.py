"""Whether a model's attention can be replaced by our own, which reads rows and token trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


def plain_attention(model: Any) -> bool:
    """Whether a model's config says that its attention can be replaced and is ordinary attention in every layer.

    The model may still add something to it: only a trial shows that.
    """
    if not getattr(model, "_supports_attention_backend", False):
        return False
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ())
    return not kinds - {"full_attention"} and bool(kinds or not getattr(config, "sliding_window", None))


def refuse_additions(more: dict[str, Any]) -> None:
    """Raise ValueError where a model asks its attention for more than a mask and a scale."""
    for name in ("sliding_window", "softcap", "s_aux"):
        if more.get(name) is not None:
            raise ValueError(f"this attention does not support {name}")


def close_enough(actual: Tensor, expected: Tensor) -> bool:
    """Whether two computations of the same logits differ by rounding alone, in the precision that they were made in."""
    error = (actual - expected).norm() / expected.norm().clamp(min=1e-6)
    return float(error) < (1e-3 if expected.dtype == torch.float32 else 1e-1)
