"""Load a causal language model with its tokenizer and adapter; nothing else in the package loads one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rag_ft.errors import WeightsError, first_line
from rag_ft.extras import require_extra
from rag_ft.models.adapter_record import adapter_record, check_base
from rag_ft.models.adapter_slots import FIRST_SLOT, AdapterSlots, attach_adapter
from rag_ft.models.compute import ComputePlan, compute_plan
from rag_ft.models.weights import DEFAULT, Weights, resolve_adapter, resolve_reader
from rag_ft.progress import quiet_transformers

NF4_BLOCK = 64
"""How many weights share a scale, as in QLoRA and bitsandbytes' default."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run."""

    tokenizer: Any
    weights: Weights
    plan: ComputePlan
    adapter: Weights | None
    nf4_values: bool = False
    """Whether the base's linear weights have NF4 values, packed or not; an adapter fits those it was trained on."""
    shared: AdapterSlots = field(kw_only=True)
    """The base model and its adapters, shared by all readers of this base."""

    @property
    def model(self) -> Any:
        """The model of transformers, in PEFT's where it has adapters."""
        return self.shared.model

    @property
    def network(self) -> Any:
        """What reads questions: `PlainLlama`, or the model where that cannot stand for it."""
        return self.shared.network


def load_tokenizer(name: str = DEFAULT) -> Any:
    """The tokenizer of a base model, without its weights. Raises WeightsError."""
    return _tokenizer(resolve_reader(name))


def load_model(
    name: str = DEFAULT,
    *,
    adapter: str | Path | None = None,
    plan: ComputePlan | None = None,
    progress: bool = True,
    only_read: bool = False,
) -> LoadedModel:
    """Load a base model by name, quantised or not, with a LoRA adapter or without, ready for inference.

    `only_read`: it will answer questions. A plain Llama is then loaded as `PlainLlama`, without importing transformers'
    model classes and PEFT; they are still loaded if something uses `LoadedModel.model`. Raises WeightsError where
    weights are missing or of an unsupported kind, or an adapter does not fit.
    """
    # The adapter's path is checked before half a gigabyte is loaded.
    tuned = None if adapter is None else resolve_adapter(adapter)
    record = adapter_record(tuned)
    bits = record.get("base_model", {}).get("bits")
    plan = plan or compute_plan()
    if plan.quantisation == "nf4" or bits == 4:
        require_extra("nf4", "a base model in 4 bits")
    weights = resolve_reader(name, progress=progress)
    if tuned is not None:
        check_base(record, weights, tuned)

    import torch

    torch.set_num_threads(plan.threads)
    tokenizer = _plain_tokenizer(weights) if only_read else _tokenizer(weights)
    # An adapter fits the values that it was trained on, which are not the original ones if they had 4 bits.
    unpack = plan.quantisation == "none" and bits == 4
    nf4 = unpack or plan.quantisation == "nf4"
    slots = None
    if only_read and plan.device == "cpu" and not nf4:
        from rag_ft.models.plain_llama import load_plain_llama

        plain = load_plain_llama(weights, tuned, getattr(torch, plan.dtype))
        if plain is not None:
            slots = AdapterSlots.reading_with(plain, partial(_library_model, weights, tuned, plan), weights, tuned)
    if slots is None:
        slots = AdapterSlots(_library_model(weights, tuned, plan, unpack=unpack), weights, tuned, nf4=nf4)
    return LoadedModel(tokenizer, weights, plan, tuned, nf4_values=nf4, shared=slots)


def _library_model(weights: Weights, tuned: Weights | None, plan: ComputePlan, *, unpack: bool = False) -> Any:
    """The model of transformers, in PEFT's with an adapter; `unpack`: with NF4 values. Raises WeightsError."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, plan.dtype)
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if plan.quantisation == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        options["device_map"] = {"": plan.device}
    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(
                weights.path, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
            )
        if plan.quantisation == "none":
            if unpack:
                unpack_nf4(model)
            model = model.to(plan.device)
        if tuned is not None:
            model = attach_adapter(model, tuned, FIRST_SLOT)
    except WeightsError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise WeightsError(
            f"{weights.path} cannot be loaded as a causal language model ({first_line(error)}): use another model"
        ) from error
    # Frozen like a base under an adapter: torch multiplies weights that need a gradient in another order, and the last
    # digits of the base alone would differ from those of the base with its adapter off.
    model.eval().requires_grad_(False)
    return model


def unpack_nf4(model: Any) -> int:
    """Replace every linear weight but the output head's by its NF4 value (double quantisation); returns the number.

    Each layer then computes what bitsandbytes' `Linear4bit` of the same weight computes.
    """
    require_extra("nf4", "a base model in 4 bits")
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    changed = 0
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear) and module is not head:
                packed, state = quantize_4bit(
                    module.weight.data, blocksize=NF4_BLOCK, quant_type="nf4", compress_statistics=True
                )
                module.weight.data = dequantize_4bit(packed, state).to(module.weight.dtype).reshape(module.weight.shape)
                changed += 1
    return changed


def _plain_tokenizer(weights: Weights) -> Any:
    """A `PlainTokenizer`, or the library's where that cannot stand for it."""
    from rag_ft.models.plain_tokenizer import load_plain_tokenizer

    return load_plain_tokenizer(weights.path, partial(_tokenizer, weights)) or _tokenizer(weights)


def _tokenizer(weights: Weights) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(weights.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception on a broken file
        raise WeightsError(
            f"the tokenizer in {weights.path} cannot be loaded ({first_line(error)}): fetch the model again"
        ) from error
