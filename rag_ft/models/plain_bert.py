"""BERT's encoder (Devlin et al., 2019) in plain torch, for the cross-encoder.

It computes what transformers' `BertModel` computes, to the last bit, with parameters of the same names
(`tests/models/test_plain_bert.py` compares both). Importing that class takes longer than importing torch, which every
first question would wait for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from rag_ft.errors import WeightsError, first_line


@dataclass(frozen=True)
class BertShape:
    """The shape of an encoder, by the names of its `config.json`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Nothing: the weights are read from a file, and a random start would take longer than that."""


class _Table(nn.Embedding):
    def reset_parameters(self) -> None:
        """Nothing, as above."""


class _Embeddings(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.word_embeddings = _Table(shape.vocab_size, shape.hidden_size)
        self.position_embeddings = _Table(shape.max_position_embeddings, shape.hidden_size)
        self.token_type_embeddings = _Table(shape.type_vocab_size, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)

    def forward(self, ids: Tensor, types: Tensor) -> Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        states = self.word_embeddings(ids) + self.token_type_embeddings(types)
        return self.LayerNorm(states + self.position_embeddings(positions))  # type: ignore[no-any-return]


class _SelfAttention(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self._heads = shape.num_attention_heads
        self.query = _Linear(shape.hidden_size, shape.hidden_size)
        self.key = _Linear(shape.hidden_size, shape.hidden_size)
        self.value = _Linear(shape.hidden_size, shape.hidden_size)

    def forward(self, states: Tensor, seen: Tensor | None) -> Tensor:
        query, key, value = (
            torch.unflatten(project(states), -1, (self._heads, -1)).transpose(1, 2)  # (B, H, T, D)
            for project in (self.query, self.key, self.value)
        )
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return out.transpose(1, 2).reshape(states.shape)


class _Added(nn.Module):
    """A linear layer whose result is added to what came in, then normalised."""

    def __init__(self, inside: int, shape: BertShape) -> None:
        super().__init__()
        self.dense = _Linear(inside, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)

    def forward(self, states: Tensor, before: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(states) + before)  # type: ignore[no-any-return]


class _Layer(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        attention = {"self": _SelfAttention(shape), "output": _Added(shape.hidden_size, shape)}
        self.attention = nn.ModuleDict(attention)
        self.intermediate = nn.ModuleDict({"dense": _Linear(shape.hidden_size, shape.intermediate_size)})
        self.output = _Added(shape.intermediate_size, shape)

    def forward(self, states: Tensor, seen: Tensor | None) -> Tensor:
        states = self.attention["output"](self.attention["self"](states, seen), states)
        inner = functional.gelu(self.intermediate["dense"](states))
        return self.output(inner, states)  # type: ignore[no-any-return]


class PlainBert(nn.Module):
    """Token ids in, the last layer's states out. Without dropout, also while it is trained."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.size = shape.hidden_size
        """Length of a state."""
        self.embeddings = _Embeddings(shape)
        self._layers = [_Layer(shape) for _ in range(shape.num_hidden_layers)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(self._layers)})

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States (B, T, size) of token ids (B, T), where the mask is not 0."""
        real = attention_mask.bool()
        seen = None if bool(real.all()) else real[:, None, None].expand(-1, -1, real.shape[1], -1)  # (B, 1, T, T)
        states = self.embeddings(input_ids, token_type_ids)
        for layer in self._layers:
            states = layer(states, seen)
        return states  # type: ignore[no-any-return]


def load_plain_bert(folder: Path) -> PlainBert:
    """The encoder in a folder, in float32. Raises WeightsError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if (config["model_type"], config["hidden_act"]) != ("bert", "gelu"):
            raise ValueError("it is not a BERT with GELU")
        shape = BertShape(**{name: config[name] for name in BertShape.__dataclass_fields__})
        encoder = PlainBert(shape)
        weights = load_file(folder / "model.safetensors")
        encoder.load_state_dict(
            {name: weights[name].to(torch.float32, copy=True) for name in encoder.state_dict()}, assign=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise WeightsError(f"{folder} cannot be loaded as an encoder ({first_line(error)})") from error
    return encoder
