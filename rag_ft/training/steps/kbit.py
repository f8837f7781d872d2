"""The base model for training: quantised as asked, prepared for LoRA, and checked before a step is paid for.

QLoRA (Dettmers et al., 2023): the frozen weights are stored as 4-bit NF4 with double quantisation, the adapter learns
at full precision on top. On a CPU with memory to spare the same 4-bit values are unpacked once at load
(`model.unpack_nf4`): the numbers of NF4 layers without paying for unpacking at every step.
"""

from __future__ import annotations

from typing import Any

from rag_ft.errors import TrainingError
from rag_ft.models.compute import in_float32


def freeze(model: Any) -> Any:
    """A 16-bit base as training holds it: nothing learns, norms and head in float32, the rest as it is."""
    for name, one in model.named_parameters():
        one.requires_grad_(False)
        if in_float32(name):
            one.data = one.data.float()
    return model


def check_prepared(model: Any, checkpointing: bool) -> None:
    """Raise TrainingError unless the base is frozen, norms and head are float32, and something learns."""
    import torch

    learning = {name for name, one in model.named_parameters() if one.requires_grad}
    stray = sorted(name for name in learning if "lora_" not in name)
    if stray:
        raise TrainingError(
            f"{stray[0]} of the base model would be trained: freeze it (prepare_model_for_kbit_training)"
        )
    if not learning:
        raise TrainingError("no parameter would be trained: check the target modules")
    for name, one in model.named_parameters():
        if in_float32(name) and one.dtype != torch.float32 and one.is_floating_point():
            raise TrainingError(
                f"{name} is {one.dtype} and must be float32 for a stable loss: load the base in float32"
            )
    if checkpointing and not getattr(model, "_require_grads_hook", None) and not _inputs_require_grad(model):
        raise TrainingError(
            "gradient checkpointing is on but the inputs require no gradient, so that nothing would be learned: call"
            " enable_input_require_grads()"
        )


def _inputs_require_grad(model: Any) -> bool:
    import torch

    embedding = model.get_input_embeddings()
    device = embedding.weight.device
    with torch.enable_grad():
        return bool(embedding(torch.zeros(1, 1, dtype=torch.long, device=device)).requires_grad)


def check_gradients(model: Any, step: int) -> None:
    """Raise TrainingError where a gradient is not finite; called after the first step's backward pass."""
    import torch

    for name, one in model.named_parameters():
        if one.grad is not None and not torch.isfinite(one.grad).all():
            raise TrainingError(
                f"the gradient of {name} is not finite in step {step}: lower the learning rate, or use --bits 32"
            )
