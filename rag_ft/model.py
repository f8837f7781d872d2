"""The one loader of causal language models, and the choice of device, compute type, quantisation and threads."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from rag_ft.conversion import quiet_transformers
from rag_ft.errors import UsageError, WeightsError, first_line
from rag_ft.shared_base import SharedBase, loaded_into
from rag_ft.tuning_record import adapter_record, check_base
from rag_ft.weights import DEFAULT, Weights, resolve_adapter, resolve_reader

Quantisation: TypeAlias = Literal["none", "nf4"]

_FAST_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
"""CPU flags with which bfloat16 computes faster than float32: 0.6 times the time on an AMD EPYC with avx512_bf16
(benchmarks/compute_type.py). Without them it is some 15 times slower."""


NF4_BLOCK = 64
"""Weights that share a scale, as in QLoRA and bitsandbytes' default."""


@dataclass(frozen=True)
class ComputePlan:
    """How a model is run on this machine, and why."""

    device: str
    """`cpu`, or `cuda:<n>`."""
    dtype: str
    """`float32`, `bfloat16` or `float16`: what is computed in."""
    quantisation: Quantisation
    threads: int
    reasons: tuple[str, ...]

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.arithmetic}, {self.threads} threads"

    @property
    def arithmetic(self) -> str:
        """The part that results depend on."""
        return f"{self.device}, {self.dtype}, quantisation {self.quantisation}"


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run."""

    model: Any
    tokenizer: Any
    weights: Weights
    plan: ComputePlan
    adapter: Weights | None
    nf4_values: bool = False
    """Whether the base's linear weights have NF4 values, packed or unpacked; an adapter fits what it was trained on."""
    shared: SharedBase = field(default=cast(SharedBase, None))
    """The base and its adapters; made here where it is not given."""

    def __post_init__(self) -> None:
        if getattr(self, "shared", None) is None:
            object.__setattr__(self, "shared", SharedBase(self))


def compute_plan(device: str | None = None, quantisation: Quantisation | None = None) -> ComputePlan:
    """The plan for this machine; `device` and `quantisation` override what would be chosen.

    Raises UsageError for a device that is not here.
    """
    import torch

    cuda = torch.cuda.is_available()
    device = device or ("cuda:0" if cuda else "cpu")
    if device.startswith("cuda") and not cuda:
        raise UsageError(f"the device {device} was asked for, but torch finds no CUDA device: use cpu")
    if not device.startswith(("cpu", "cuda")):
        raise UsageError(f"the device {device!r} is not known here: use cpu, cuda or cuda:<number>")
    if quantisation not in (None, "none", "nf4"):
        raise UsageError(f"the quantisation {quantisation!r} is not known: use none or nf4")
    reasons: list[str] = []
    if device.startswith("cuda"):
        reasons.append("device: torch finds a CUDA device")
        dtype = "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"
        reasons.append(f"compute type: the GPU's compute capability makes {dtype} the fast one")
    else:
        reasons.append("device: there is no CUDA device" if not cuda else "device: cpu was asked for")
        dtype, why = _cpu_dtype(_cpu_flags())
        reasons.append(f"compute type: {why}")
    if quantisation is None:
        quantisation = "none"
        reasons.append("quantisation: reading is faster without; training can use nf4 to save memory")
    else:
        reasons.append(f"quantisation: {quantisation} was asked for")
    threads, why = _threads()
    reasons.append(f"threads: {why}")
    return ComputePlan(device, dtype, quantisation, threads, tuple(reasons))


def load_tokenizer(name: str = DEFAULT) -> Any:
    """The tokenizer alone. Raises WeightsError."""
    return _tokenizer(resolve_reader(name))


def load_model(
    name: str = DEFAULT,
    *,
    adapter: str | Path | None = None,
    plan: ComputePlan | None = None,
    progress: bool = True,
) -> LoadedModel:
    """A base model by name, quantised or not, with a LoRA adapter or without, ready for inference.

    Raises WeightsError where weights are missing, of an unsupported kind, or an adapter does not fit.
    """
    # The adapter's path is checked before half a gigabyte is loaded.
    tuned = None if adapter is None else resolve_adapter(adapter)
    weights = resolve_reader(name, progress=progress)
    plan = plan or compute_plan()
    record = adapter_record(tuned)
    if tuned is not None:
        check_base(record, weights, tuned)

    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    torch.set_num_threads(plan.threads)
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
    tokenizer = _tokenizer(weights)
    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(
                weights.path, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
            )
        unpacked = plan.quantisation == "none" and record.get("base_model", {}).get("bits") == 4
        if plan.quantisation == "none":
            if unpacked:
                unpack_nf4(model)  # an adapter fits the values that it was trained on, not the original ones
            model = model.to(plan.device)
        if tuned is not None:
            model = loaded_into(model, tuned, "default")
    except WeightsError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        reason = first_line(error)
        raise WeightsError(
            f"{weights.path} cannot be loaded as a causal language model ({reason}): use another model"
        ) from error
    # Frozen like a base under an adapter: torch multiplies weights that want a gradient in another order, and the last
    # digits of the base alone would differ from those of the base with its adapter off.
    model.eval().requires_grad_(False)
    return LoadedModel(model, tokenizer, weights, plan, tuned, nf4_values=unpacked or plan.quantisation == "nf4")


def unpack_nf4(model: Any) -> int:
    """Replace every linear weight but the output head's by its NF4 value (double quantisation); how many were.

    After this the layer computes what bitsandbytes' `Linear4bit` of the same weight computes.
    """
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


def _tokenizer(weights: Weights) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(weights.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception on a broken file
        reason = first_line(error)
        raise WeightsError(
            f"the tokenizer in {weights.path} cannot be loaded ({reason}): fetch the model again"
        ) from error


def _cpu_flags() -> frozenset[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def _cpu_dtype(flags: frozenset[str]) -> tuple[str, str]:
    for flag in _FAST_BF16_FLAGS:
        if flag in flags:
            return "bfloat16", f"the CPU computes bfloat16 faster than float32 ({flag})"
    return "float32", f"bfloat16 is some 15 times slower on a CPU without {' or '.join(_FAST_BF16_FLAGS)}"


def _threads() -> tuple[int, str]:
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given), "OMP_NUM_THREADS is set"
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count, f"{count} cores may be used"
