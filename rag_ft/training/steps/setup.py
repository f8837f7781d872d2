"""The base model made ready for training, with a new or given adapter."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.models.compute import autocast
from rag_ft.models.folder import ADAPTER_WEIGHTS
from rag_ft.training.lora import LoraPlan, LoraSettings
from rag_ft.training.steps.config import TrainConfig
from rag_ft.training.steps.kbit import check_prepared, freeze

if TYPE_CHECKING:
    from rag_ft.models.loading import LoadedModel
    from rag_ft.models.weights import Weights


def load_base(name: str, config: TrainConfig) -> LoadedModel:
    """The base model as training holds it: NF4 values unpacked on a CPU with memory to spare, packed on another one and
    on a GPU; float32 otherwise.
    """
    from dataclasses import replace

    from rag_ft.models.compute import compute_plan
    from rag_ft.models.loading import load_model, unpack_nf4

    plan = compute_plan(quantisation="nf4" if config.bits == 4 else "none")
    packed = config.bits == 4 and (config.keep_packed or plan.device != "cpu" or not _unpacked_fits(name))
    if not packed:
        # The adapter's updates are small: the base stays float32 and bfloat16 is used inside products only.
        plan = replace(plan, quantisation="none", dtype="float32" if config.bits != 16 else plan.dtype)
    elif plan.device == "cpu":
        plan = replace(plan, dtype="float32")
    loaded = load_model(name, plan=plan)
    if config.bits == 4 and not packed:
        unpack_nf4(loaded.model)
    return loaded


def _unpacked_fits(name: str) -> bool:
    """Whether a model's weights in 32 bits take at most half of the memory that is free."""
    import torch

    from rag_ft.models.weights import resolve_reader, tensor_shapes

    files = resolve_reader(name).path.glob("*.safetensors")
    values = sum(math.prod(shape) for file in files for shape in tensor_shapes(file).values())
    return 4 * values <= _free_bytes(torch.device("cpu")) / 2


def adapt(loaded: LoadedModel, lora: LoraSettings, config: TrainConfig, *, start: Weights | None = None) -> Any:
    """The base model with a fresh adapter, prepared and checked; with `start`, whose shape `lora` must be, with the
    values of that adapter, which must be of this base. Raises TrainingError, UsageError.
    """
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    from rag_ft.training.lora import model_plan

    plan = model_plan(loaded.model, lora)
    checkpointing = config.checkpointing
    if checkpointing is None:
        checkpointing = memory_asks(plan, config.row_tokens, loaded.model.device)
    torch.manual_seed(config.seed)
    if config.bits == 16:
        model = freeze(loaded.model)  # PEFT's function would hold all of it in 32 bits
    else:
        model = prepare_model_for_kbit_training(loaded.model, use_gradient_checkpointing=False)
    if checkpointing:
        # PEFT's function switches it on for quantised models alone.
        model.enable_input_require_grads()
        # Its name from transformers 5.24 on, and before.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    shape = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.effective_alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted({one.name for one in plan.projections}),
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
    """Put an adapter's values into a model that has one of its shape."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))


_LABELLED_SHARE = 0.25
"""Of a shared-context row's tokens, at most: what the output head is computed for."""


def memory_asks(plan: LoraPlan, tokens: int, device: Any) -> bool:
    """Whether the activations of one row would take more than half of the memory that is free on the device."""
    half = autocast(device.type == "cpu") != "none"
    wanted = plan.activation_bytes(tokens, int(tokens * _LABELLED_SHARE), checkpointing=False, bits=16 if half else 32)
    return wanted > _free_bytes(device) / 2


def _free_bytes(device: Any) -> float:
    import psutil
    import torch

    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def main_process() -> bool:
    """Whether this process writes the files: under `accelerate launch` one does it for all."""
    return int(os.environ.get("RANK", "0")) == 0
