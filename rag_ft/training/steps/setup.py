"""The base model prepared for training, with a new adapter or one to continue."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rag_ft.models.compute import autocast
from rag_ft.models.folder import ADAPTER_WEIGHTS
from rag_ft.training.lora import AdapterConfig, LoraPlan
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.fsdp import fsdp_asked, fsdp_hidden
from rag_ft.training.steps.kbit import check_prepared, freeze, keep_differentiable
from rag_ft.training.steps.processes import own_device

if TYPE_CHECKING:
    from rag_ft.models.loading import LoadedModel
    from rag_ft.models.weights import Weights


def load_base(name: str, config: TrainConfig) -> LoadedModel:
    """Load the base model as training holds it, in `config.bits` bits.

    On a CPU with memory to spare, 4-bit values are unpacked into float32; on other CPUs and on GPUs they stay packed.
    With FSDP, a base too large for the GPU is loaded into main memory, from where `shard_base` moves parts of it.
    """
    from dataclasses import replace

    from rag_ft.models.compute import compute_plan
    from rag_ft.models.loading import load_model, unpack_nf4

    plan = compute_plan(own_device(), quantisation="nf4" if config.bits == 4 else "none")
    packed = config.bits == 4 and (config.keep_packed or plan.device != "cpu" or not _fits(name, 4, "cpu"))
    if not packed:
        # The adapter's updates are small: the base stays float32 and bfloat16 is used inside products only.
        plan = replace(plan, quantisation="none", dtype="float32" if config.bits != 16 else plan.dtype)
    elif plan.device == "cpu":
        plan = replace(plan, dtype="float32")
    if fsdp_asked() and plan.device != "cpu" and not _fits(name, config.bits // 8, plan.device):
        plan = replace(plan, device="cpu")
    with fsdp_hidden():
        loaded = load_model(name, plan=plan)
    if config.bits == 4 and not packed:
        unpack_nf4(loaded.model)
    elif packed:
        keep_differentiable(loaded.model)
    return loaded


def _fits(name: str, value_bytes: int, device: str) -> bool:
    """Whether a model's weights, with so many bytes for each value, take at most half of a device's free memory."""
    import torch

    from rag_ft.models.weights import resolve_reader, tensor_shapes

    files = resolve_reader(name).path.glob("*.safetensors")
    values = sum(math.prod(shape) for file in files for shape in tensor_shapes(file).values())
    return value_bytes * values <= _free_bytes(torch.device(device)) / 2


def adapt(loaded: LoadedModel, lora: AdapterConfig, config: TrainConfig, *, start: Weights | None = None) -> Any:
    """The base model with an adapter to train, prepared and checked. Raises TrainingError, UsageError.

    The adapter is new, or has the values of `start`, an adapter of this base with the shape `lora`.
    """
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    from rag_ft.training.lora import model_plan

    plan = model_plan(loaded.model, lora)
    checkpointing = config.checkpointing
    if checkpointing is None:
        # With FSDP the base may be in main memory until it is spread over the GPUs that train it.
        device = torch.device(own_device() or loaded.model.device)
        checkpointing = needs_checkpointing(plan, config.row_tokens, device)
    torch.manual_seed(config.seed)
    if config.bits == 16:
        model = freeze(loaded.model)  # PEFT's function would hold the whole base in 32 bits
    else:
        model = prepare_model_for_kbit_training(loaded.model, use_gradient_checkpointing=False)
    if checkpointing:
        # PEFT's function switches it on only for quantised models.
        model.enable_input_require_grads()
        # The first name is that from transformers 5.24 on, the second the one before.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    shape = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.effective_alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted({layer.name for layer in plan.projections}),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers 5.24 by names that it deprecates
        model = get_peft_model(model, shape)
    if start is not None:
        load_adapter(model, start.path)
    check_prepared(model, checkpointing)
    return model


def load_adapter(model: Any, folder: Path) -> None:
    """Load an adapter's values into a model that has an adapter of its shape."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))


_LABELLED_SHARE = 0.25
"""Share of a shared-context row's tokens that are labelled, at most: the output head is computed for these alone."""


def needs_checkpointing(plan: LoraPlan, tokens: int, device: Any) -> bool:
    """Whether the activations of one row would take more than half of the free memory of the device."""
    bits: Literal[16, 32] = 32 if autocast(device.type == "cpu") == "none" else 16
    needed = plan.activation_bytes(tokens, int(tokens * _LABELLED_SHARE), checkpointing=False, bits=bits)
    return needed > _free_bytes(device) / 2


def _free_bytes(device: Any) -> float:
    import psutil
    import torch

    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)
