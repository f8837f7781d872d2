"""An adapter to go on from: read, and checked against the run's settings."""

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
from rag_ft.training.lora import LoraSettings


@dataclass(frozen=True)
class Start:
    """An adapter that a run goes on from."""

    weights: Weights
    config: Mapping[str, Any]
    """PEFT's own."""
    bits: int | None
    """How the base was held when it was trained; None where nobody wrote it down."""
    prompt: str | None
    """Fingerprint of the prompt that it was trained under, likewise."""

    def settings(self, given: LoraSettings | None) -> LoraSettings:
        """Its shape, with the dropout that was asked for. Raises UsageError where another shape was asked for."""
        modules = self.config.get("target_modules")
        if not isinstance(modules, list) or not modules:
            raise UsageError(
                f"the adapter {self.weights.path} names the modules that it changes by {modules!r} and not one by one:"
                " start from another adapter, or from nothing"
            )
        own = LoraSettings(
            rank=self.config["r"],
            alpha=self.config["lora_alpha"],
            target_modules=tuple(sorted(modules)),
            rslora=self.config.get("use_rslora", False),
            dora=self.config.get("use_dora", False),
        )
        given = given or LoraSettings()
        asked = given.model_copy(update={"dropout": 0.0})
        if asked not in (LoraSettings(), own):
            raise UsageError(
                f"the adapter {self.weights.path} has rank {own.rank}, alpha {own.effective_alpha:g} and its own target"
                " modules, which cannot be changed on the way: leave these settings out, or start from nothing"
            )
        return own.model_copy(update={"dropout": given.dropout})

    def check_prompt(self, prompts: PromptBuilder) -> None:
        """Raise PromptMismatchError where it knows another prompt."""
        if self.prompt is not None and self.prompt != prompts.fingerprint:
            raise PromptMismatchError(
                f"the adapter {self.weights.path} was trained under prompt {self.prompt[:12]} and this version builds"
                f" prompt {prompts.fingerprint[:12]}: start from another adapter, or from nothing"
            )

    def check_bits(self, bits: int) -> None:
        """Raise UsageError where the base would be held in another way than the adapter knows it."""
        if self.bits is not None and (self.bits == 4) != (bits == 4):
            raise UsageError(
                f"the adapter {self.weights.path} was trained on a base held in {self.bits} bits and this run would"
                f" hold it in {bits}: give bits={self.bits} (--bits {self.bits})"
            )


def read_start(name: str | Path) -> Start:
    """The adapter to go on from: a folder, or `packaged`. Raises WeightsError, UsageError."""
    weights = resolve_adapter(adapter_folder(name))
    record = adapter_record(weights)
    return Start(
        weights, lora_config(weights), record.get("base_model", {}).get("bits"), record.get("prompt_fingerprint")
    )
