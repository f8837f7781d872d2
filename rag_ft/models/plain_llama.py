"""A Llama that reads flat rows and nothing else: what the default reader needs, without transformers and PEFT.

Importing their model classes takes three times as long as importing torch, which every first question would wait for.
This network computes what `LlamaForCausalLM` under `inplace_lora.py` computes, to the last bit
(`tests/models/test_plain_llama.py` compares them). It does not train, generate or change adapters: whatever needs that
uses the model of the library, which `AdapterSlots.model` loads then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch.nn import functional

from rag_ft.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from rag_ft.models.weights import Weights, tensor_shapes

if TYPE_CHECKING:
    from torch import Tensor

Attend: TypeAlias = "Callable[[int, Tensor, Tensor, Tensor], Tensor]"
"""Layer, queries (1, H, T, D), keys and values (1, K, T, D) → (1, T, H, D)."""

_WEIGHTS = "model.safetensors"
_PROJECTIONS = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}
_ADAPTER_PREFIX = "base_model.model."

_WITHOUT_EFFECT = frozenset(
    {"auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "megatron_core", "peft_type"}
    | {"peft_version", "qalora_group_size", "revision", "task_type"}
)
"""Settings of a LoRA adapter that change nothing when it is read with, or only beside another setting."""
_READ = frozenset({"r", "lora_alpha", "target_modules", "use_rslora", "init_lora_weights", "bias"})


@dataclass(frozen=True)
class PlainConfig:
    """The shape of a Llama, by the names of transformers' config."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool

    def get_text_config(self, decoder: bool = True) -> PlainConfig:
        """Itself: it has no part for images."""
        return self

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every tensor of the model."""
        width, inner = self.hidden_size, self.intermediate_size
        queries, keys = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        of_layer = {
            "input_layernorm": (width,),
            "post_attention_layernorm": (width,),
            "self_attn.q_proj": (queries, width),
            "self_attn.k_proj": (keys, width),
            "self_attn.v_proj": (keys, width),
            "self_attn.o_proj": (width, queries),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }
        shapes: dict[str, tuple[int, ...]] = {
            f"model.layers.{layer}.{name}.weight": shape
            for layer in range(self.num_hidden_layers)
            for name, shape in of_layer.items()
        }
        shapes |= {"model.embed_tokens.weight": (self.vocab_size, width), "model.norm.weight": (width,)}
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, width)
        return shapes


class LoraUpdate(NamedTuple):
    """What an adapter adds to a layer: scale * x down' up'."""

    down: Tensor
    up: Tensor
    scale: float


Updates: TypeAlias = Mapping[str, LoraUpdate]
"""Layer → what an adapter adds to it; without the layers that it leaves alone."""


class _Linear:
    """A layer without a bias, and what the adapter adds to it."""

    def __init__(self, weight: Tensor, update: LoraUpdate | None) -> None:
        self.weight = weight
        self._update = update

    def __call__(self, x: Tensor, adapted: bool) -> Tensor:
        out = functional.linear(x, self.weight)
        if adapted and self._update is not None:
            down, up, scale = self._update
            out.view(-1, out.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ down.t(), up.t(), alpha=scale)
        return out


class _Norm:
    """Root mean square layer normalisation (Zhang and Sennrich, 2019), computed in 32 bits."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        self._weight = weight
        self._eps = eps

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self._eps)
        return self._weight * wide.to(x.dtype)


class _Layer:
    """Attention and feed-forward network, each added to what came in."""

    def __init__(self, config: PlainConfig, tensors: Mapping[str, Tensor], updates: Updates, layer: int) -> None:
        prefix = f"model.layers.{layer}."

        def linear(name: str) -> _Linear:
            return _Linear(tensors[f"{prefix}{name}.weight"], updates.get(prefix + name))

        def norm(name: str) -> _Norm:
            return _Norm(tensors[f"{prefix}{name}.weight"], config.rms_norm_eps)

        self._layer = layer
        self._width = config.head_dim
        self._before_attention, self._before_feed = norm("input_layernorm"), norm("post_attention_layernorm")
        self._query, self._key, self._value, self._out = (
            linear(f"self_attn.{name}") for name in _PROJECTIONS["self_attn"]
        )
        self._gate, self._up, self._down = (linear(f"mlp.{name}") for name in _PROJECTIONS["mlp"])

    def __call__(self, x: Tensor, angles: tuple[Tensor, Tensor], attend: Attend, adapted: bool) -> Tensor:
        normed = self._before_attention(x)
        query, key, value = (
            torch.unflatten(project(normed, adapted), -1, (-1, self._width)).transpose(1, 2)  # (1, heads, T, D)
            for project in (self._query, self._key, self._value)
        )
        attended = attend(self._layer, _turned(query, *angles), _turned(key, *angles), value)
        x = x + self._out(attended.reshape(*x.shape[:2], -1), adapted)
        normed = self._before_feed(x)
        return x + self._down(functional.silu(self._gate(normed, adapted)) * self._up(normed, adapted), adapted)


class Table(NamedTuple):
    """The matrix of an embedding or an output head, as transformers' modules have it."""

    weight: Tensor


class PlainLlama:
    """A Llama in memory, with the adapter it was loaded with or without."""

    def __init__(self, config: PlainConfig, tensors: Mapping[str, Tensor], updates: Updates) -> None:
        """`tensors` by the names of `PlainConfig.shapes`, all of one type; `updates`: layer → what an adapter adds."""
        self.config = config
        self.adapted = bool(updates)
        """Whether the adapter is on. `AdapterSlots` switches it, when no thread reads."""
        self._tensors = tensors
        self._embedding = tensors["model.embed_tokens.weight"]
        self._head = tensors.get("lm_head.weight", self._embedding)
        self._norm = _Norm(tensors["model.norm.weight"], config.rms_norm_eps)
        self._layers = [_Layer(config, tensors, updates, layer) for layer in range(config.num_hidden_layers)]
        steps = torch.arange(0, config.head_dim, 2, dtype=torch.float)
        self._frequencies = 1.0 / (config.rope_theta ** (steps / config.head_dim))
        self.device = self._embedding.device

    def get_input_embeddings(self) -> Table:
        """The matrix of token embeddings."""
        return Table(self._embedding)

    def get_output_embeddings(self) -> Table:
        """The matrix of the output head: the embeddings, where both are tied."""
        return Table(self._head)

    def read(self, ids: Sequence[int], positions: Sequence[int], attend: Attend, wanted: Sequence[int]) -> Tensor:
        """Logits (wanted, V) after the tokens at some indices; `attend` decides which tokens see which."""
        with torch.inference_mode():
            x = functional.embedding(torch.tensor([ids]), self._embedding)  # (1, T, C)
            angle = torch.tensor([positions])[..., None].float() * self._frequencies
            angle = torch.cat((angle, angle), dim=-1)[:, None]  # (1, 1, T, D)
            angles = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
            for layer in self._layers:
                x = layer(x, angles, attend, self.adapted)
            return functional.linear(self._norm(x)[:, torch.tensor(wanted)], self._head)[0]

    def share_weights(self, model: Any) -> None:
        """Let transformers' model of the same base use these tensors instead of its own."""
        for name, parameter in model.named_parameters():
            mine = self._tensors.get(name.replace(".base_layer.", "."))  # PEFT's name for what it wraps
            if mine is not None:
                parameter.data = mine


def load_plain_llama(weights: Weights, adapter: Weights | None, dtype: torch.dtype) -> PlainLlama | None:
    """The model in a folder for the CPU; None where it, or the adapter, is anything but the plain kind.

    What the library would refuse is None, too: it says what is wrong.
    """
    config = _plain_config(weights.path)
    shapes = config.shapes() if config is not None else {}
    if config is None or not _has_exactly(weights.path, shapes):
        return None
    updates = {} if adapter is None else _updates(adapter.path, shapes, dtype)
    if updates is None:
        return None
    from safetensors.torch import load_file

    read = load_file(weights.path / _WEIGHTS)
    return PlainLlama(config, {name: read[name].to(dtype) for name in shapes}, updates)


def _plain_config(folder: Path) -> PlainConfig | None:
    """The config of a Llama whose network is the one above."""
    try:
        given = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        rope = given.get("rope_parameters") or {"rope_type": "default", "rope_theta": given["rope_theta"]}
        plain = (
            given["model_type"] == "llama"
            and given["hidden_act"] == "silu"
            and set(rope) == {"rope_type", "rope_theta"}
            and rope["rope_type"] == "default"
            and not any(given.get(name) for name in ("attention_bias", "mlp_bias", "rope_scaling", "layer_types"))
            and not given.get("quantization_config")
        )
        heads, width = int(given["num_attention_heads"]), int(given["hidden_size"])
        config = PlainConfig(
            vocab_size=int(given["vocab_size"]),
            hidden_size=width,
            intermediate_size=int(given["intermediate_size"]),
            num_hidden_layers=int(given["num_hidden_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=int(given["num_key_value_heads"]),
            head_dim=int(given.get("head_dim") or width // heads),
            max_position_embeddings=int(given["max_position_embeddings"]),
            rms_norm_eps=float(given["rms_norm_eps"]),
            rope_theta=float(rope["rope_theta"]),
            tie_word_embeddings=bool(given["tie_word_embeddings"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # a setting that is not written has a default of the library
    return config if plain else None


def _has_exactly(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a folder's one file of weights holds these tensors and no other."""
    return [file.name for file in folder.glob("*.safetensors")] == [_WEIGHTS] and (
        tensor_shapes(folder / _WEIGHTS) == shapes
    )


def _updates(folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, LoraUpdate] | None:
    """Layer → what a LoRA adapter adds to it; None for any setting or tensor that is not of a plain one."""
    given = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    targets = given.get("target_modules")
    if (
        given.get("peft_type") != "LORA"
        or not isinstance(targets, list)
        or not set(targets) <= {name for names in _PROJECTIONS.values() for name in names}
        or given.get("bias") != "none"
        or not isinstance(given.get("init_lora_weights"), bool)
        or any(value for name, value in given.items() if name not in _WITHOUT_EFFECT | _READ)
    ):
        return None
    rank = int(given["r"])
    layers = [name.removesuffix(".weight") for name in shapes if name.split(".")[-2] in targets]
    expected: dict[str, tuple[int, ...]] = {}
    for name in layers:
        rows, columns = shapes[f"{name}.weight"]
        expected[f"{_ADAPTER_PREFIX}{name}.lora_A.weight"] = (rank, columns)
        expected[f"{_ADAPTER_PREFIX}{name}.lora_B.weight"] = (rows, rank)
    if tensor_shapes(folder / ADAPTER_WEIGHTS) != expected:
        return None
    from safetensors.torch import load_file

    read: dict[str, Tensor] = {name: value.to(dtype) for name, value in load_file(folder / ADAPTER_WEIGHTS).items()}
    scale = given["lora_alpha"] / (rank**0.5 if given.get("use_rslora") else rank)

    def side(name: str, letter: str) -> Tensor:
        return read[f"{_ADAPTER_PREFIX}{name}.lora_{letter}.weight"]

    return {name: LoraUpdate(side(name, "A"), side(name, "B"), scale) for name in layers}


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021) of queries or keys (1, heads, T, D)."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos) + (torch.cat((-second, first), dim=-1) * sin)
