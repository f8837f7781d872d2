"""Device, compute type, quantisation and threads: what this machine should use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rag_ft.environment import usable_cores
from rag_ft.errors import UsageError

Quantisation: TypeAlias = Literal["none", "nf4"]

_FAST_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
"""CPU flags with which bfloat16 computes faster than float32: 0.6 times the time on an AMD EPYC with avx512_bf16
(benchmarks/compute_type.py). Without them it takes about 15 times as long."""


@dataclass(frozen=True)
class ComputePlan:
    """How a model is run on this machine, and why."""

    device: str
    """`cpu`, or `cuda:<n>`."""
    dtype: str
    """Type of the products: `float32`, `bfloat16` or `float16`."""
    quantisation: Quantisation
    threads: int
    reasons: tuple[str, ...]

    @property
    def line(self) -> str:
        """The whole plan in one line."""
        return f"{self.arithmetic}, {self.threads} threads"

    @property
    def arithmetic(self) -> str:
        """The part of the plan that results depend on."""
        return f"{self.device}, {self.dtype}, quantisation {self.quantisation}"


def compute_plan(device: str | None = None, quantisation: Quantisation | None = None) -> ComputePlan:
    """The plan for this machine; `device` and `quantisation` override what would be chosen.

    Raises UsageError for a device that this machine lacks.
    """
    import torch

    cuda = torch.cuda.is_available()
    device = device or ("cuda:0" if cuda else "cpu")
    if device.startswith("cuda") and not cuda:
        raise UsageError(f"the device {device} was requested, but torch finds no CUDA device: use cpu")
    if not device.startswith(("cpu", "cuda")):
        raise UsageError(f"the device {device!r} is not known: use cpu, cuda or cuda:<number>")
    if quantisation not in (None, "none", "nf4"):
        raise UsageError(f"the quantisation {quantisation!r} is not known: use none or nf4")
    reasons: list[str] = []
    if device.startswith("cuda"):
        reasons.append("device: torch finds a CUDA device")
        dtype = "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"
        reasons.append(f"compute type: {dtype} is the fast one at the GPU's compute capability")
    else:
        reasons.append("device: there is no CUDA device" if not cuda else "device: cpu was requested")
        dtype, why = _cpu_dtype(_cpu_flags())
        reasons.append(f"compute type: {why}")
    if quantisation is None:
        quantisation = "none"
        reasons.append("quantisation: reading is faster without; training can use nf4 to save memory")
    else:
        reasons.append(f"quantisation: {quantisation} was requested")
    threads, why = _threads()
    reasons.append(f"threads: {why}")
    return ComputePlan(device, dtype, quantisation, threads, tuple(reasons))


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
    return "float32", f"bfloat16 takes about 15 times as long on a CPU without {' or '.join(_FAST_BF16_FLAGS)}"


def _threads() -> tuple[int, str]:
    setting = os.environ.get("OMP_NUM_THREADS", "")
    if setting.isdigit() and int(setting) > 0:
        return int(setting), "OMP_NUM_THREADS is set"
    count = usable_cores()
    return count, f"{count} cores may be used"


def in_float32(parameter: str) -> bool:
    """Whether a parameter stays in float32 whatever the others are: norms, and an output head of its own."""
    return "norm" in parameter or "lm_head" in parameter


def autocast(on_cpu: bool) -> Literal["none", "bfloat16", "float16"]:
    """The type for products that is faster than float32 on this machine; `none` where there is none."""
    dtype = compute_plan("cpu" if on_cpu else None).dtype
    if dtype == "float32":
        return "none"
    return "bfloat16" if dtype == "bfloat16" else "float16"


def product_type(on_cpu: bool) -> Any:
    """The torch type that products are computed in: for the loss of the head, and for attention masks."""
    import torch

    half = autocast(on_cpu)
    return torch.float32 if half == "none" else getattr(torch, half)


def half_products_on_cpu() -> Any:
    """A context in which float32 models on the CPU compute their products in bfloat16, where that is faster here."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=autocast(on_cpu=True) == "bfloat16")


def autocasting(model: Any) -> Any:
    """A context in which a model held in float32 computes its products in the type that is fast on this machine.

    A model that is entirely held in that type is not changed.
    """
    import torch

    device = model.get_input_embeddings().weight.device.type
    half = autocast(device == "cpu")
    enabled = half != "none" and any(
        in_float32(name) and parameter.dtype == torch.float32 for name, parameter in model.named_parameters()
    )
    return torch.autocast(device, getattr(torch, half, None), enabled=enabled)
