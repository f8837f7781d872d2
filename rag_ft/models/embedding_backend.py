"""Which library embeds passages and questions on this machine, and in which type it computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from rag_ft import environment
from rag_ft.errors import UsageError
from rag_ft.extras import is_installed, require_extra
from rag_ft.models.compute import compute_plan

BackendChoice: TypeAlias = Literal["auto", "torch", "openvino"]
Backend: TypeAlias = Literal["torch", "openvino"]

TORCH_FLOAT32 = "torch float32"
"""What computed the vectors of every index before there was another backend."""


@dataclass(frozen=True)
class EmbeddingPlan:
    """How texts are embedded on this machine, and why."""

    backend: Backend
    dtype: str
    """Type of the products: `float32` or `bfloat16`; results are float32."""
    device: str
    """`cpu`, or `cuda:<n>`."""
    threads: int
    reasons: tuple[str, ...]
    requested: bool
    """Whether the backend was named, so that another one is no substitute."""

    @property
    def arithmetic(self) -> str:
        """The part of the plan that the last digits of vectors depend on, as manifests name it."""
        return f"{self.backend} {self.dtype}"

    @property
    def line(self) -> str:
        """The whole plan in one line."""
        return f"{self.backend} on {self.device}, {self.dtype} products, {self.threads} threads"

    def with_dtype(self, dtype: str, reason: str = "") -> EmbeddingPlan:
        """The same plan with products of another type."""
        reasons = (*self.reasons, f"compute type: {reason}") if reason else self.reasons
        return replace(self, dtype=dtype, reasons=reasons)

    def by_torch(self, reason: str) -> EmbeddingPlan:
        """The plan of the same machine for an embedder that OpenVINO does not run."""
        return replace(self, backend="torch", dtype="float32", reasons=(f"backend: {reason}",))


def embedding_plan(choice: BackendChoice | None = None, *, device: str | None = None) -> EmbeddingPlan:
    """The plan for this machine; `choice` None: the setting `RAG_FT_EMBED_WITH`, or "auto" where it is not set.

    "auto" is OpenVINO where it is installed and the device is the CPU. Raises UsageError for a choice or a device that
    there is not, MissingExtraError for OpenVINO where it is not installed.
    """
    chosen = choice or environment.embedding_backend()
    if chosen not in get_args(BackendChoice):
        given = f"the setting {environment.EMBEDDING_BACKEND}" if choice is None else "the embedding backend"
        raise UsageError(f"{given} is {chosen!r}, which is not known: use auto, torch or openvino")
    if chosen == "openvino":
        require_extra("fast", "embedding with OpenVINO")
        device = device or "cpu"
    plan = compute_plan(device)
    on_cpu = plan.device.startswith("cpu")
    if chosen == "openvino" and not on_cpu:
        raise UsageError(f"OpenVINO embeds on the CPU, and the device {plan.device} was requested: use torch, or cpu")
    if chosen == "openvino" or (chosen == "auto" and on_cpu and is_installed("openvino")):
        why = "OpenVINO was requested" if chosen == "openvino" else "OpenVINO is installed"
        products = next(reason for reason in plan.reasons if reason.startswith("compute type"))
        reasons = (f"backend: {why}", products)
        return EmbeddingPlan("openvino", plan.dtype, plan.device, plan.threads, reasons, chosen != "auto")
    if chosen == "torch":
        why = "torch was requested"
    elif on_cpu:
        why = "OpenVINO, which is faster, is not installed (pip install 'rag-ft[fast]')"
    else:
        why = "the device is not the CPU"
    return EmbeddingPlan("torch", "float32", plan.device, plan.threads, (f"backend: {why}",), chosen != "auto")
