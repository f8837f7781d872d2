"""Describe an adapter's folder without loading its base: shape, size, origin, and how much it changes each layer."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from rag_ft.answering.confidence import KindCalibration, PlattScale, recorded_kinds, recorded_scale
from rag_ft.metrics.kinds import JudgedKind
from rag_ft.models.adapter_record import adapter_record, lora_config
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.folder import ADAPTER_WEIGHTS
from rag_ft.models.weights import resolve_adapter

_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")


class LayerUpdate(BaseModel):
    """How much an adapter changes one layer of the base."""

    model_config = ConfigDict(frozen=True)

    layer: int
    norm: float
    """Frobenius norm of scale * B A over the layer's modules together."""
    modules: dict[str, float]
    """Module → Frobenius norm of its scale * B A."""


class AdapterInfo(BaseModel):
    """An adapter as `rag-ft adapter info` shows it; None and empty where its files do not say."""

    model_config = ConfigDict(frozen=True)

    path: str
    name: str
    fingerprint: str
    licence: str
    base_model: str
    """The base as PEFT's configuration names it."""
    base_identity: str | None
    base_bits: int | None
    """Bits per value of the base in training: 4 (NF4 values), 16 or 32."""
    rank: int
    alpha: float
    scale: float
    """Factor of the update: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
    rslora: bool
    dora: bool
    modules: tuple[str, ...]
    """Names of the modules that have an update."""
    parameters: int
    size_bytes: int
    prompt_fingerprint: str | None
    shots: bool | None
    threshold: float | None
    platt: PlattScale
    """Scale from the reader's own confidence to the probability of being right; plain where none was fitted."""
    kinds: dict[JudgedKind, KindCalibration]
    """Kinds of answers with a threshold and a scale of their own, instead of `threshold` and `platt`."""
    data_fingerprint: str | None
    index_fingerprint: str | None
    documents: int | None
    """How many documents were trained on."""
    versions: dict[str, str]
    layers: tuple[LayerUpdate, ...]
    """Updates in the order of the base's layers; without DoRA's magnitudes."""
    card: str
    """Text of the README beside the adapter."""


def adapter_info(adapter: str | Path) -> AdapterInfo:
    """Describe an adapter by its folder, or the packaged one by `packaged`; the base is not loaded.

    Raises WeightsError where it is not a LoRA adapter in safetensors, UsageError.
    """
    weights = resolve_adapter(adapter_folder(adapter))
    config = lora_config(weights)
    record = adapter_record(weights)
    tensors = _tensors(weights.path)
    data, base = record.get("data", {}), record.get("base_model", {})
    card = weights.path / "README.md"
    return AdapterInfo(
        path=str(weights.path),
        name=weights.path.resolve().name,
        fingerprint=weights.fingerprint,
        licence=weights.licence,
        base_model=str(config.get("base_model_name_or_path") or ""),
        base_identity=base.get("identity"),
        base_bits=base.get("bits"),
        rank=int(config["r"]),
        alpha=float(config["lora_alpha"]),
        scale=_scale(config, "", int(config["r"])),
        rslora=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
        modules=tuple(sorted({_module(name).rsplit(".", 1)[-1] for name in tensors if ".lora_A." in name})),
        parameters=sum(array.size for array in tensors.values()),
        size_bytes=weights.size_bytes,
        prompt_fingerprint=record.get("prompt_fingerprint"),
        shots=record.get("shots"),
        threshold=(record.get("threshold") or {}).get("value"),
        platt=recorded_scale(record),
        kinds=recorded_kinds(record),
        data_fingerprint=data.get("fingerprint"),
        index_fingerprint=data.get("index"),
        documents=data.get("train_documents"),
        versions=record.get("versions", {}),
        layers=_layers(config, tensors),
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
    )


def _tensors(folder: Path) -> dict[str, Any]:
    """Name → array, as float32 because numpy has no bfloat16."""
    from safetensors.torch import load_file

    return {name: tensor.float().numpy() for name, tensor in load_file(folder / ADAPTER_WEIGHTS).items()}


def _module(name: str) -> str:
    """The module that a tensor belongs to: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` →
    `model.layers.0.self_attn.q_proj`.
    """
    return name.split(".lora_", 1)[0].removeprefix("base_model.model.")


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """The factor of a module's update, with PEFT's patterns of alpha: suffixes of a module's name or expressions."""
    alpha = float(config["lora_alpha"])
    for pattern, pattern_alpha in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(pattern_alpha)
            break
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _layers(config: dict[str, Any], tensors: dict[str, Any]) -> tuple[LayerUpdate, ...]:
    import numpy as np

    norms: dict[int, dict[str, float]] = {}
    for name, down in tensors.items():
        up = tensors.get(name.replace(".lora_A.", ".lora_B."))
        layer = _LAYER.search(name)
        if ".lora_A." not in name or up is None or layer is None or down.ndim != 2:
            continue
        module = _module(name)
        # The norm of B A from two small products, (r, r) each, instead of one of the layer's size.
        squared = float(np.sum((up.T.astype(np.float64) @ up) * (down.astype(np.float64) @ down.T)))
        scale = _scale(config, module, down.shape[0])
        norms.setdefault(int(layer[1]), {})[module.rsplit(".", 1)[-1]] = scale * math.sqrt(max(squared, 0.0))
    return tuple(
        LayerUpdate(layer=layer, norm=math.sqrt(sum(norm**2 for norm in modules.values())), modules=modules)
        for layer, modules in sorted(norms.items())
    )
