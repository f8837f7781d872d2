"""The adapter that a run starts from, checked against the run's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_ft.answering.prompt import PromptBuilder
from rag_ft.errors import PromptMismatchError, UsageError
from rag_ft.models.adapter_record import adapter_record, lora_config
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.weights import Weights, resolve_adapter
from rag_ft.training.lora import AdapterConfig


@dataclass(frozen=True)
class StartAdapter:
    """A trained adapter that a run continues to train."""

    weights: Weights
    config: Mapping[str, Any]
    """PEFT's configuration of it."""
    bits: int | None
    """How the base was held when it was trained; None if that was not recorded."""
    prompt: str | None
    """Fingerprint of the prompt that it was trained with; None if that was not recorded."""

    def with_dropout(self, requested: AdapterConfig | None) -> AdapterConfig:
        """The shape of this adapter with the requested dropout. Raises UsageError if another shape is requested."""
        modules = self.config.get("target_modules")
        if not isinstance(modules, list) or not modules:
            raise UsageError(
                f"the target_modules of the adapter {self.weights.path} must be a list of module names; found"
                f" {modules!r}: start from another adapter, or from none"
            )
        shape = AdapterConfig(
            rank=self.config["r"],
            alpha=self.config["lora_alpha"],
            target_modules=tuple(sorted(modules)),
            rslora=self.config.get("use_rslora", False),
            dora=self.config.get("use_dora", False),
        )
        requested = requested or AdapterConfig()
        if requested.model_copy(update={"dropout": 0.0}) not in (AdapterConfig(), shape):
            raise UsageError(
                f"the adapter {self.weights.path} has rank {shape.rank}, alpha {shape.effective_alpha:g} and fixed"
                " target modules, and a run that starts from it keeps them: leave these settings out, or start from no"
                " adapter"
            )
        return shape.model_copy(update={"dropout": requested.dropout})

    def check_prompt(self, prompts: PromptBuilder) -> None:
        """Raise PromptMismatchError if this version builds another prompt than the adapter was trained with."""
        if self.prompt is not None and self.prompt != prompts.fingerprint:
            raise PromptMismatchError(
                f"the adapter {self.weights.path} was trained under prompt {self.prompt[:12]} and this version builds"
                f" prompt {prompts.fingerprint[:12]}: start from another adapter, or from none"
            )

    def check_bits(self, bits: int) -> None:
        """Raise UsageError if the run would hold the base in another way than the adapter was trained with."""
        if self.bits is not None and (self.bits == 4) != (bits == 4):
            raise UsageError(
                f"the adapter {self.weights.path} was trained on a base held in {self.bits} bits and this run would"
                f" hold it in {bits}: give bits={self.bits} (--bits {self.bits})"
            )


def read_start(name: str | Path) -> StartAdapter:
    """Read the adapter to start from: a folder, or `packaged`. Raises WeightsError, UsageError."""
    weights = resolve_adapter(adapter_folder(name))
    record = adapter_record(weights)
    return StartAdapter(
        weights, lora_config(weights), record.get("base_model", {}).get("bits"), record.get("prompt_fingerprint")
    )
