"""Checks of the base model prepared for training, before the first step and after its backward pass.

QLoRA (Dettmers et al., 2023): the frozen weights are stored as 4-bit NF4 with double quantisation, the adapter learns
at full precision on top. On a CPU with memory to spare, the same 4-bit values are unpacked once at load
(`models.loading.unpack_nf4`): the numbers of NF4 layers without unpacking at every step.
"""

from __future__ import annotations

from typing import Any

from rag_ft.errors import TrainingError
from rag_ft.models.compute import in_float32


def freeze(model: Any) -> Any:
    """Freeze a 16-bit base for training, with norms and head in float32; returns the model."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        if in_float32(name):
            parameter.data = parameter.data.float()
    return model


def keep_differentiable(model: Any) -> None:
    """Keep bitsandbytes from packing 4-bit weights anew for its fast kernel on CPUs with bfloat16.

    It does so at the first pass that needs no gradient, such as one over held-out questions. That kernel has no
    backward pass, so all passes after it would lose the gradients of the layers below, with no more than a warning.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def check_prepared(model: Any, checkpointing: bool) -> None:
    """Raise TrainingError unless the base is frozen, norms and head are float32, and something learns."""
    import torch

    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    stray = sorted(name for name in learning if "lora_" not in name)
    if stray:
        raise TrainingError(
            f"{stray[0]} of the base model would be trained: freeze it (prepare_model_for_kbit_training)"
        )
    if not learning:
        raise TrainingError("no parameter would be trained: check the target modules")
    for name, parameter in model.named_parameters():
        if in_float32(name) and parameter.dtype != torch.float32 and parameter.is_floating_point():
            raise TrainingError(
                f"{name} is {parameter.dtype} and must be float32 for a stable loss: load the base in float32"
            )
    if checkpointing and not getattr(model, "_require_grads_hook", None) and not _inputs_require_grad(model):
        raise TrainingError(
            "gradient checkpointing is on but the inputs require no gradient, so nothing would be learned: call"
            " enable_input_require_grads()"
        )


def _inputs_require_grad(model: Any) -> bool:
    import torch

    embedding = model.get_input_embeddings()
    device = embedding.weight.device
    with torch.enable_grad():
        return bool(embedding(torch.zeros(1, 1, dtype=torch.long, device=device)).requires_grad)


def check_gradients(model: Any, step: int) -> None:
    """Raise TrainingError if a gradient is not finite; called after the backward pass of the first step."""
    import torch

    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            raise TrainingError(
                f"the gradient of {name} is not finite in step {step}: lower the learning rate, or use --bits 32"
            )
