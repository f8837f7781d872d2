"""What the folder of a model or adapter may hold, checked here before any library opens it.

Whether a library runs code from a folder has changed from version to version: sentence-transformers did so up to 5.7
for any local folder, without being asked. So nothing rests on a library's promise: what may be loaded is listed here,
and what is not listed is refused, with every version. Files are only read as JSON; nothing is imported.
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

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")
"""Endings of weights in formats that can run code when they are read, or that are not read here."""

_MOST_CONFIG_BYTES = 16 * 1024 * 1024
"""A longer configuration is no configuration."""

_MODULES = {
    "Transformer": "base",
    "Dense": "base",
    "Normalize": "base",
    "Pooling": "sentence_transformer",
    "LayerNorm": "sentence_transformer",
    "Dropout": "sentence_transformer",
}
"""Modules of sentence-transformers that load nothing but their own JSON and safetensors, and where they lie since 5.4.

Not among them: Router (loads what its own list names), WordEmbeddings and WeightedLayerPooling (import what their
configuration names), CLIPModel.
"""

_PLAIN_ARGUMENTS = frozenset(
    {
        *("add_pooling_layer", "attn_implementation", "do_lower_case", "dtype", "model_max_length", "padding_side"),
        *("reference_compile", "torch_dtype", "truncation_side", "unpad_inputs", "use_fast", "trust_remote_code"),
    }
)
"""What the configuration of a Transformer may hand on to transformers; sentence-transformers drops the last itself."""

_ACTIVATION = re.compile(r"torch\.nn\.modules\.(activation|linear)\.[A-Za-z0-9]+")
_METHOD = re.compile(r"forward|get_[a-z]+_features")


def module_types() -> frozenset[str]:
    """The `type` values of `modules.json` that are loaded: as written before 5.4, and since."""
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
    """Raise WeightsError where a model's folder asks for code, pickled weights, or files that are not its own."""
    _check_weights(folder)
    if (folder / ADAPTER_CONFIG).exists():
        raise WeightsError(
            f"{folder} holds {ADAPTER_CONFIG} beside a model, and transformers would put that adapter on, or load the"
            " base that it names: give the folder of the base, and the adapter as an adapter"
        )
    if (folder / "custom_generate").exists():
        raise WeightsError(f"{folder} brings code of its own (custom_generate), which is never run: use another model")
    for path in sorted(folder.rglob("*config*.json")):
        _check_config(path)


def check_embedder_folder(folder: Path) -> None:
    """`check_model_folder`, and that `modules.json` names only modules that are known to load no code."""
    check_model_folder(folder)
    listing = folder / "modules.json"
    modules = read_json(listing, of=list)
    for module in modules:
        kind = module.get("type") if isinstance(module, dict) else None
        if not isinstance(kind, str) or kind not in module_types():
            raise WeightsError(
                f"{listing} asks for the module {str(kind)[:80]!r}, which is not loaded (only sentence-transformers' "
                f"own {', '.join(_MODULES)} are): use another embedder"
            )
        own = _inside(folder, module.get("path"), listing)
        _check_weights(own)
        _check_module(own, kind.rsplit(".", 1)[-1])


def check_adapter_config(path: Path) -> None:
    """Raise WeightsError unless an `adapter_config.json` is that of a LoRA adapter and names no code to import."""
    config = read_json(path)
    if not config:
        raise WeightsError(f"{path} says nothing (it must be a JSON object): fetch it again")
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


def read_json(path: Path, *, of: type[Any] = dict) -> Any:
    """A JSON file as `of`, or an empty one where it holds something else. Raises WeightsError."""
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
    """The folder of a module, which lies in the model's own."""
    path = PurePosixPath(str(given).replace("\\", "/"))
    if not isinstance(given, str) or path.is_absolute() or ".." in path.parts or ":" in given:
        raise WeightsError(f"{listing} has a module at {given!r}, outside of its folder: use another embedder")
    return folder / path


def _check_weights(folder: Path) -> None:
    """Where a library would fall back to pickled weights, and whether the parts of split ones lie here."""
    whole, split = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if not whole.exists() and not split.exists():
        pickled = sorted(folder.glob("pytorch_model*.bin*"))
        if pickled:
            raise WeightsError(
                f"{folder} has its weights in {pickled[0].name}, a format that can run code when it is read: convert"
                " them to safetensors"
            )
    if split.exists():
        parts = read_json(split).get("weight_map")
        for name in sorted(set(map(str, parts.values()))) if isinstance(parts, dict) else ["nothing"]:
            if not _is_part(name) or not (folder / name).is_file():
                raise WeightsError(
                    f"{split} names {name[:80]!r}, which is not a safetensors file beside it: fetch it again"
                )


def _is_part(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+\.safetensors", name) is not None


def _check_config(path: Path) -> None:
    """No code, no weights elsewhere, no kernels of the hub, at any depth of a configuration."""
    for key, value in _entries(read_json(path)):
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
    """All keys and values at any depth; without recursion, which a file's depth would exhaust."""
    waiting: list[Any] = [content]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            yield from inner.items()
            waiting.extend(inner.values())
        elif isinstance(inner, list):
            waiting.extend(inner)


def _check_module(folder: Path, module: str) -> None:
    """The configuration of one module of an embedder."""
    if module == "Dense":
        config = folder / "config.json"
        activation = read_json(config).get("activation_function", "torch.nn.modules.activation.Tanh")
        if not _ACTIVATION.fullmatch(str(activation)):
            raise WeightsError(
                f"{config} asks for the activation function {str(activation)[:80]!r}, which is not one of torch.nn: use"
                " another embedder"
            )
    if module == "Transformer":
        for config in sorted(folder.glob("sentence_*_config.json")):
            _check_arguments(config)


def _check_arguments(config: Path) -> None:
    content = read_json(config)
    for name, value in content.items():
        odd: list[str] = []
        if name in ("tokenizer_name_or_path", "cache_dir", "cache_folder"):
            odd = [name] if value else []
        elif name.endswith(("_args", "_kwargs")) and value:
            odd = [key for key in value if key not in _PLAIN_ARGUMENTS] if isinstance(value, dict) else [name]
        elif name == "modality_config" and isinstance(value, dict):
            methods = [entry.get("method") for entry in value.values() if isinstance(entry, dict)]
            odd = [str(method) for method in methods if method and not _METHOD.fullmatch(str(method))]
        if odd:
            raise WeightsError(
                f"{config} sets {odd[0][:80]!r}, which is not let through to transformers: use another embedder, or"
                " remove that line"
            )
