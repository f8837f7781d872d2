"""What a LoRA adapter adds to a model, computed from the model's config alone: parameters, bytes, memory.

LoRA (Hu et al., 2021): a frozen weight W of shape (out, in) becomes W + (alpha / r) B A with A of (r, in) and B of
(out, r), so a projection gains r * (in + out) parameters. The rank r is how much the adapter can learn, alpha / r how
strongly it acts. rsLoRA (Kalajdzievski, 2023) scales by alpha / sqrt(r).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rag_ft.errors import UsageError, WeightsError, first_line

DEFAULT_RANK = 16
MAX_RANK = 1024

_GRADIENT_AND_ADAM_BYTES = 4 + 4 + 8
"""Bytes per trained parameter: its float32 value, its gradient, and AdamW's two moments."""

_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per NF4 weight: 4 bits, an 8-bit scale for 64 weights, a float32 scale for 256 of those scales."""


class AdapterConfig(BaseModel):
    """Shape of the LoRA adapter: what it may change, how much it can learn, how strongly it acts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: Annotated[int, Field(ge=1, le=MAX_RANK)] = DEFAULT_RANK
    """Width of the bottleneck: how much the adapter can learn. Usually 8 to 64; more rank pays only with more data."""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Strength of the adapter: its output is scaled by alpha / rank. None means twice the rank, a scale of 2."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs dropped in training; .05 to .15 against overfitting."""
    target_modules: tuple[str, ...] = ()
    """Names of the projections to adapt; empty adapts all linear layers except the output head."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank), so that a large rank does not shrink the update."""
    dora: bool = False
    """Learn the magnitude of each weight separately from its direction: slower, slightly better at low ranks; vLLM
    does not load it."""

    @property
    def effective_alpha(self) -> float:
        """Alpha, or its default of twice the rank."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    @property
    def scale(self) -> float:
        """Factor that the adapter's output is multiplied by."""
        return self.effective_alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def scale_note(self) -> str:
        """The scale in words, with a warning if it is not the usual one for this rank."""
        by = "sqrt(r)" if self.rslora else "r"
        note = f"scale alpha/{by} = {self.effective_alpha:g}/{math.sqrt(self.rank) if self.rslora else self.rank:g}"
        note += f" = {self.scale:g}"
        usual = AdapterConfig(rank=self.rank, rslora=self.rslora).scale
        if not math.isclose(self.scale, usual):
            note += (
                f": {self.scale / usual:.3g} times the usual scale at rank {self.rank} (alpha {2 * self.rank}), which"
                " acts like a learning rate changed by about the same factor"
            )
        return note


class Projection(BaseModel):
    """One kind of adapted layer."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Last part of the module's name, as `target_modules` expects it."""
    inputs: int
    outputs: int
    count: int
    """Layers of this name and shape."""
    adapter: int
    """Parameters added to each of these layers: rank * (inputs + outputs), and `outputs` more with DoRA."""

    @property
    def weights(self) -> int:
        """Parameters of each of these layers in the base model."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class LoraPlan:
    """What a run will add and need. All bytes but the adapter's size are estimates."""

    config: AdapterConfig
    projections: tuple[Projection, ...]
    base_parameters: int
    hidden: int
    layers: int
    vocabulary: int
    linear_parameters: int
    """Parameters of all linear layers of the base except the output head: those that are quantised."""

    @property
    def trainable(self) -> int:
        """Parameters of the adapter."""
        return sum(layer.count * layer.adapter for layer in self.projections)

    @property
    def share(self) -> float:
        """Share of the adapter in the parameters of base and adapter together."""
        return self.trainable / (self.base_parameters + self.trainable)

    def adapter_bytes(self, bits: Literal[16, 32] = 16) -> int:
        """Size of the adapter on disk."""
        return self.trainable * bits // 8

    def weight_bytes(self, bits: Literal[4, 8, 16, 32]) -> int:
        """Memory for the base weights; 4 and 8 bits quantise the linear layers and leave the rest at 16."""
        if bits >= 16:
            return self.base_parameters * bits // 8
        per_weight = _NF4_BYTES if bits == 4 else 1.0
        return int(self.linear_parameters * per_weight + (self.base_parameters - self.linear_parameters) * 2)

    def optimiser_bytes(self) -> int:
        """Memory for the adapter's values, gradients and AdamW moments, all float32."""
        return self.trainable * _GRADIENT_AND_ADAM_BYTES

    def activation_bytes(self, tokens: int, labelled: int, *, checkpointing: bool, bits: Literal[16, 32] = 32) -> int:
        """Memory for one batch of `tokens` tokens, `labelled` of which reach the output head.

        Per layer and token, about 22 values of the hidden width are kept for the backward pass, one with gradient
        checkpointing. Korthikanti et al. (2022) count 17 if attention scores are recomputed; a gated MLP, whose inner
        width is 2.7 times the hidden one, keeps four of its inner values instead of two. Measured with the default
        model: 20 in float32 on a CPU, 24 in bfloat16 on an H100.
        """
        per_value = bits // 8
        per_layer = 22 * self.hidden * per_value
        kept = self.layers * self.hidden * per_value + per_layer if checkpointing else self.layers * per_layer
        return tokens * kept + labelled * self.vocabulary * 4 * 3


def read_config(name: str) -> Any:
    """Read the config of a model without its weights: `default`, a folder, or a hub id. Raises WeightsError."""
    from transformers import AutoConfig

    from rag_ft.models.weights import DEFAULT, resolve_reader

    folder = Path(name).expanduser()
    if name == DEFAULT or folder.suffix.lower() == ".gguf":
        folder = resolve_reader(name).path
    try:
        return AutoConfig.from_pretrained(folder if folder.exists() else name, trust_remote_code=False)
    except Exception as error:  # the config may hold any values: transformers raises whatever they break
        reason = first_line(error)
        raise WeightsError(
            f"no model config can be read at {name!r} ({reason}): give 'default', a model folder, or a hub id"
        ) from error


def _parameters(model: Any) -> int:
    """Number of parameters; tied weights count once, and packed 4-bit values each on its own."""
    count = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        count += parameter.numel() if state is None else math.prod(state.shape)
    return count


def lora_plan(config: Any, adapter: AdapterConfig) -> LoraPlan:
    """Plan an adapter for a transformers config; the model is built without weights (on torch's `meta` device).

    Raises UsageError for target modules that the model lacks, naming those it has, and WeightsError for a config that
    makes no causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # values that do not fit together raise whatever they break
        raise WeightsError(
            f"no causal language model can be made from this config ({first_line(error)}): give a decoder such as"
            " Llama's, Qwen's or Mistral's, with a whole config.json"
        ) from error
    return model_plan(model, adapter)


def model_plan(model: Any, adapter: AdapterConfig) -> LoraPlan:
    """Plan an adapter for a loaded model, on any device. Raises UsageError as `lora_plan` does."""
    import torch

    config = model.config.get_text_config(decoder=True)
    head = model.get_output_embeddings()
    linear = Counter(
        (name.rsplit(".", 1)[-1], module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    )
    names = sorted({name for name, _, _ in linear})
    if not names:
        raise UsageError(
            "the model has no linear layers (torch.nn.Linear) for an adapter: choose a model of another architecture,"
            " such as Llama's, Qwen's or Mistral's"
        )
    missing = [name for name in adapter.target_modules if name not in names]
    if missing:
        raise UsageError(
            f"the model has no linear layer named {missing[0]!r}: choose target modules among {', '.join(names)}"
        )
    adapted = {key: count for key, count in linear.items() if key[0] in (adapter.target_modules or names)}
    smallest = min(min(inputs, outputs) for _, inputs, outputs in adapted)
    if adapter.rank > smallest:
        raise UsageError(
            f"rank {adapter.rank} is larger than the narrowest adapted layer ({smallest}), where more than rank"
            f" {smallest} adds nothing: choose at most {smallest}"
        )
    projections = tuple(
        Projection(
            name=name,
            inputs=inputs,
            outputs=outputs,
            count=count,
            adapter=adapter.rank * (inputs + outputs) + (outputs if adapter.dora else 0),
        )
        for (name, inputs, outputs), count in adapted.items()
    )
    return LoraPlan(
        adapter,
        projections,
        base_parameters=_parameters(model),
        hidden=int(config.hidden_size),
        layers=int(config.num_hidden_layers),
        vocabulary=int(config.vocab_size),
        linear_parameters=sum(count * inputs * outputs for (_, inputs, outputs), count in linear.items()),
    )
