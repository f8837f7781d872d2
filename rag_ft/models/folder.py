"""What the folder of a model or adapter may hold, checked before any library opens it.

Whether a library runs code from a folder has changed from version to version: sentence-transformers up to 5.7 did so
for any local folder, without being asked. So nothing relies on a library's promise: what may be loaded is listed here,
and anything else is refused, with every version. Files are only read as JSON; nothing is imported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rag_ft.errors import WeightsError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

CROSS_ENCODER_RECORD = "cross_encoder.json"
CROSS_ENCODER_WEIGHTS = "cross_encoder.safetensors"
CROSS_ENCODER_FOLDER = "cross_encoder"
"""Folder inside an adapter's with the cross-encoder that was tuned beside it."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
"""File endings of weights in formats that can run code when they are read, or that are not supported."""

_MOST_CONFIG_BYTES = 16 * 1024 * 1024
"""A longer file is not a configuration."""

_MODULES = {
    "Transformer": "base",
    "Dense": "base",
    "Normalize": "base",
    "Pooling": "sentence_transformer",
    "LayerNorm": "sentence_transformer",
    "Dropout": "sentence_transformer",
}
"""Modules of sentence-transformers that load only their own JSON and safetensors → their package since 5.4.

Excluded: Router (loads what its own list names), WordEmbeddings and WeightedLayerPooling (import what their
configuration names), CLIPModel.
"""

_PLAIN_ARGUMENTS = frozenset(
    {
        *("add_pooling_layer", "attn_implementation", "do_lower_case", "dtype", "model_max_length", "padding_side"),
        *("reference_compile", "torch_dtype", "truncation_side", "unpad_inputs", "use_fast", "trust_remote_code"),
    }
)
"""What the configuration of a Transformer may pass to transformers; sentence-transformers drops the last itself."""

_ACTIVATION = re.compile(r"torch\.nn\.modules\.(activation|linear)\.[A-Za-z0-9]+")
_METHOD = re.compile(r"forward|get_[a-z]+_features")


def module_types() -> frozenset[str]:
    """The `type` values of `modules.json` that are loaded, as sentence-transformers wrote them before 5.4 and since."""
    return frozenset(
        name
        for module, part in _MODULES.items()
        for name in (
            f"sentence_transformers.models.{module}",
            f"sentence_transformers.models.{module}.{module}",
            f"sentence_transformers.{part}.modules.{_snake(module)}.{module}",
        )
    )


def check_model_folder(folder: Path) -> None:
    """Raise WeightsError where a model's folder asks for code, pickled weights, or files outside the folder."""
    _check_weights(folder)
    if (folder / ADAPTER_CONFIG).exists():
        raise WeightsError(
            f"{folder} holds {ADAPTER_CONFIG} beside a model, and transformers would apply that adapter, or load the"
            " base that it names: give the folder of the base, and the adapter as an adapter"
        )
    if (folder / "custom_generate").exists():
        raise WeightsError(f"{folder} contains code (custom_generate), which is never run: use another model")
    for path in sorted(folder.rglob("*config*.json")):
        _check_config(path)


def check_embedder_folder(folder: Path) -> None:
    """Raise WeightsError as `check_model_folder` does, and where `modules.json` names a module that may load code."""
    check_model_folder(folder)
    listing = folder / "modules.json"
    modules = read_untrusted_json(listing, of=list)
    for module in modules:
        kind = module.get("type") if isinstance(module, dict) else None
        if not isinstance(kind, str) or kind not in module_types():
            raise WeightsError(
                f"{listing} asks for the module {str(kind)[:80]!r}, which is not allowed (only sentence-transformers' "
                f"own {', '.join(_MODULES)} are): use another embedder"
            )
        module_folder = _inside(folder, module.get("path"), listing)
        _check_weights(module_folder)
        _check_module(module_folder, kind.rsplit(".", 1)[-1])


def check_adapter_config(path: Path) -> None:
    """Raise WeightsError unless an `adapter_config.json` is that of a LoRA adapter and names no code to import."""
    config = read_untrusted_json(path)
    if not config:
        raise WeightsError(f"{path} is empty or not a JSON object: fetch it again")
    if config.get("peft_type") != "LORA":
        raise WeightsError(
            f"{path.parent} is an adapter of the kind {str(config.get('peft_type'))[:40]}: give a LoRA adapter"
        )
    mapping = config.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else mapping
    if library is not None and str(library).partition(".")[0] != "transformers":
        raise WeightsError(f"{path} asks for code of {str(library)[:80]!r} (auto_mapping), which is never run")
    if config.get("megatron_config"):
        raise WeightsError(
            f"{path} asks for the library {str(config.get('megatron_core'))[:80]!r} (megatron_core), which is not"
            " imported: give an adapter for linear layers"
        )


def read_untrusted_json(path: Path, *, of: type[Any] = dict) -> Any:
    """The content of a JSON file if it is of type `of`, else an empty `of`. Raises WeightsError."""
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise WeightsError(
                f"{path} has {path.stat().st_size:,} bytes, too many for a configuration: fetch it again"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not JSON: fetch it again") from error
    return content if isinstance(content, of) else of()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _inside(folder: Path, given: object, listing: Path) -> Path:
    """The folder of a module, which must be inside the model's. Raises WeightsError."""
    path = PurePosixPath(str(given).replace("\\", "/"))
    if not isinstance(given, str) or path.is_absolute() or ".." in path.parts or ":" in given:
        raise WeightsError(f"{listing} has a module at {given!r}, outside its folder: use another embedder")
    return folder / path


def _check_weights(folder: Path) -> None:
    """Raise WeightsError where a library would read pickled weights, or parts of split ones are not in the folder."""
    whole, split = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if not whole.exists() and not split.exists():
        pickled = sorted(folder.glob("pytorch_model*.bin*"))
        if pickled:
            raise WeightsError(
                f"{folder} has its weights in {pickled[0].name}, a format that can run code when it is read: convert"
                " them to safetensors"
            )
    if split.exists():
        parts = read_untrusted_json(split).get("weight_map")
        for name in sorted(set(map(str, parts.values()))) if isinstance(parts, dict) else ["nothing"]:
            if not _is_part(name) or not (folder / name).is_file():
                raise WeightsError(
                    f"{split} names {name[:80]!r}, which is not a safetensors file beside it: fetch it again"
                )


def _is_part(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+\.safetensors", name) is not None


def _check_config(path: Path) -> None:
    """Raise WeightsError where a configuration, at any depth, asks for code, for kernels of the hub, or for weights
    elsewhere.
    """
    for key, value in _entries(read_untrusted_json(path)):
        if key in ("auto_map", "custom_pipelines") and value:
            raise WeightsError(
                f"{path} asks for code from the model's folder ({key}), which is never run: use another model"
            )
        if key.endswith(("_implementation", "_implementation_internal")):
            choices = value.values() if isinstance(value, dict) else [value]
            if any("/" in str(choice) or ":" in str(choice) for choice in choices):
                raise WeightsError(
                    f"{path} asks for code of the hub ({key} {str(value)[:80]!r}), which is never run: remove that line"
                )
        if key == "transformers_weights" and value and not _is_part(str(value)):
            raise WeightsError(f"{path} names weights that are not a safetensors file beside it: use another model")


def _entries(content: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All keys and values at any depth; without recursion, since a file may be nested deeper than Python's stack."""
    stack: list[Any] = [content]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            yield from value.items()
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _check_module(folder: Path, module: str) -> None:
    """Raise WeightsError where the configuration of one module of an embedder asks for code."""
    if module == "Dense":
        config = folder / "config.json"
        activation = read_untrusted_json(config).get("activation_function", "torch.nn.modules.activation.Tanh")
        if not _ACTIVATION.fullmatch(str(activation)):
            raise WeightsError(
                f"{config} asks for the activation function {str(activation)[:80]!r}, which is not one of torch.nn: use"
                " another embedder"
            )
    if module == "Transformer":
        for config in sorted(folder.glob("sentence_*_config.json")):
            _check_arguments(config)


def _check_arguments(config: Path) -> None:
    content = read_untrusted_json(config)
    for name, value in content.items():
        refused: list[str] = []
        if name in ("tokenizer_name_or_path", "cache_dir", "cache_folder"):
            refused = [name] if value else []
        elif name.endswith(("_args", "_kwargs")) and value:
            refused = [key for key in value if key not in _PLAIN_ARGUMENTS] if isinstance(value, dict) else [name]
        elif name == "modality_config" and isinstance(value, dict):
            methods = [entry.get("method") for entry in value.values() if isinstance(entry, dict)]
            refused = [str(method) for method in methods if method and not _METHOD.fullmatch(str(method))]
        if refused:
            raise WeightsError(
                f"{config} sets {refused[0][:80]!r}, which is not passed to transformers: use another embedder, or"
                " remove that line"
            )
