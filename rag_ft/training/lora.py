"""What a LoRA adapter adds to a model, computed from the model's config alone: parameters, bytes, memory.

LoRA (Hu et al., 2021): a frozen weight W of shape (out, in) becomes W + (alpha / r) B A with A of (r, in) and B of
(out, r), so a projection gains r * (in + out) parameters. rsLoRA (Kalajdzievski, 2023) scales by alpha / sqrt(r).
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
"""For each trained parameter: its float32 value, its gradient, and AdamW's two moments."""

_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""A weight's 4 bits, an 8-bit scale for 64 of them, a float32 scale for 256 of those."""


class LoraSettings(BaseModel):
    """The adapter's shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: Annotated[int, Field(ge=1, le=MAX_RANK)] = DEFAULT_RANK
    """Width of the bottleneck: how much the adapter can say. 8 to 64 is usual."""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Numerator of the scale; None means twice the rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs dropped while training; .05 to .15 against overfitting."""
    target_modules: tuple[str, ...] = ()
    """Names of the projections that get one; empty: all linear layers but the output head."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank), so that a large rank does not damp itself."""
    dora: bool = False
    """Learn each weight's magnitude apart from its direction: slower, a little better at low ranks; not for vLLM."""

    @property
    def effective_alpha(self) -> float:
        """alpha, or twice the rank."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    @property
    def scale(self) -> float:
        """What the adapter's output is multiplied by."""
        return self.effective_alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def scale_note(self) -> str:
        """What the scale is and, where alpha was left behind by a change of rank, by how much that changes it."""
        by = "sqrt(r)" if self.rslora else "r"
        note = f"scale alpha/{by} = {self.effective_alpha:g}/{math.sqrt(self.rank) if self.rslora else self.rank:g}"
        note += f" = {self.scale:g}"
        usual = LoraSettings(rank=self.rank, rslora=self.rslora).scale
        if not math.isclose(self.scale, usual):
            note += (
                f": {self.scale / usual:.3g} times the usual scale at rank {self.rank} (alpha {2 * self.rank}), which"
                " acts like a learning rate changed by about as much"
            )
        return note


class Projection(BaseModel):
    """One kind of adapted layer."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Last part of the module's name, as `target_modules` takes it."""
    inputs: int
    outputs: int
    count: int
    """Layers of this name and shape."""
    adapter: int
    """Parameters that LoRA adds to one of them: rank * (inputs + outputs), and `outputs` more with DoRA."""

    @property
    def weights(self) -> int:
        """Parameters of one of them."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class LoraPlan:
    """What a run will add and need, before it is paid for. Bytes are estimates but the adapter's size."""

    settings: LoraSettings
    projections: tuple[Projection, ...]
    base_parameters: int
    hidden: int
    layers: int
    vocabulary: int
    linear_parameters: int
    """Of the base's linear layers, adapted or not, the output head apart: what is quantised."""

    @property
    def trainable(self) -> int:
        """Parameters of the adapter."""
        return sum(one.count * one.adapter for one in self.projections)

    @property
    def share(self) -> float:
        """Of the adapter in base and adapter together."""
        return self.trainable / (self.base_parameters + self.trainable)

    def adapter_bytes(self, bits: Literal[16, 32] = 16) -> int:
        """Size on disk."""
        return self.trainable * bits // 8

    def weight_bytes(self, bits: Literal[4, 8, 16, 32]) -> int:
        """Memory for the base weights; 4 and 8 bits quantise the linear layers and leave the rest at 16."""
        if bits >= 16:
            return self.base_parameters * bits // 8
        each = _NF4_BYTES if bits == 4 else 1.0
        return int(self.linear_parameters * each + (self.base_parameters - self.linear_parameters) * 2)

    def optimiser_bytes(self) -> int:
        """Memory for the adapter's values, gradients and AdamW moments, all float32."""
        return self.trainable * _GRADIENT_AND_ADAM_BYTES

    def activation_bytes(self, tokens: int, labelled: int, *, checkpointing: bool, bits: Literal[16, 32] = 32) -> int:
        """Memory for one batch of `tokens` tokens, `labelled` of which reach the output head.

        About 22 values of the hidden width a layer and token are kept for the backward pass, one with gradient
        checkpointing. Korthikanti et al. (2022) count 17 where attention scores are recomputed; a gated MLP, whose
        inner width is 2.7 times the hidden one, keeps four of its inner values instead of two. Measured with the
        default model: 20 in float32 on a CPU, 24 in bfloat16 on an H100.
        """
        each = bits // 8
        a_layer = 22 * self.hidden * each
        kept = self.layers * self.hidden * each + a_layer if checkpointing else self.layers * a_layer
        return tokens * kept + labelled * self.vocabulary * 4 * 3


def read_config(name: str) -> Any:
    """A model's config by name, without its weights: `default`, a folder, or a hub id. Raises WeightsError."""
    from transformers import AutoConfig

    from rag_ft.models.weights import DEFAULT, resolve_reader

    folder = Path(name).expanduser()
    if name == DEFAULT or folder.suffix.lower() == ".gguf":
        folder = resolve_reader(name).path
    try:
        return AutoConfig.from_pretrained(folder if folder.exists() else name, trust_remote_code=False)
    except Exception as error:  # a config is anybody's: transformers raises what its values happen to break
        reason = first_line(error)
        raise WeightsError(
            f"there is no model config at {name!r} ({reason}): give 'default', a model folder, or a hub id"
        ) from error


def _parameters(model: Any) -> int:
    """Tied weights once; two 4-bit values that bitsandbytes packs into a byte as two."""
    count = 0
    for one in model.parameters():
        state = getattr(one, "quant_state", None)
        count += one.numel() if state is None else math.prod(state.shape)
    return count


def lora_plan(config: Any, settings: LoraSettings) -> LoraPlan:
    """The plan for a transformers config: the model is built without weights (on torch's `meta` device).

    Raises UsageError for target modules that the model does not have, naming those that it has, and WeightsError for a
    config that makes no causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # what a config with values that do not go together happens to break
        raise WeightsError(
            f"no causal language model can be made from this config ({first_line(error)}): give a decoder such as"
            " Llama's, Qwen's or Mistral's, with a whole config.json"
        ) from error
    return model_plan(model, settings)


def model_plan(model: Any, settings: LoraSettings) -> LoraPlan:
    """The same for a model that is there already, on any device. Raises UsageError as `lora_plan` does."""
    import torch

    config = model.config.get_text_config(decoder=True)
    head = model.get_output_embeddings()
    linear = Counter(
        (name.rsplit(".", 1)[-1], module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    )
    there = sorted({name for name, _, _ in linear})
    found = {key: count for key, count in linear.items() if key[0] in (settings.target_modules or there)}
    if not there:
        raise UsageError(
            "the model has no linear layers (torch.nn.Linear), which is what adapters are made for here: choose a model"
            " of another architecture, such as Llama's, Qwen's or Mistral's"
        )
    missing = [name for name in settings.target_modules if name not in there]
    if missing or not found:
        raise UsageError(
            f"the model has no linear layer named {(missing or ['at all'])[0]!r}: choose target modules among"
            f" {', '.join(there)}"
        )
    smallest = min(min(inputs, outputs) for _, inputs, outputs in found)
    if settings.rank > smallest:
        raise UsageError(
            f"rank {settings.rank} is larger than the narrowest adapted layer ({smallest}), where it could not add"
            f" anything to a rank of {smallest}: choose at most {smallest}"
        )
    projections = tuple(
        Projection(
            name=name,
            inputs=inputs,
            outputs=outputs,
            count=count,
            adapter=settings.rank * (inputs + outputs) + (outputs if settings.dora else 0),
        )
        for (name, inputs, outputs), count in found.items()
    )
    return LoraPlan(
        settings,
        projections,
        base_parameters=_parameters(model),
        hidden=int(config.hidden_size),
        layers=int(config.num_hidden_layers),
        vocabulary=int(config.vocab_size),
        linear_parameters=sum(count * inputs * outputs for (_, inputs, outputs), count in linear.items()),
    )
