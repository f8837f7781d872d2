"""Export a tuned reader for other programs: a merged model, a GGUF file for llama.cpp, or the adapter alone for PEFT
and vLLM. Each export is checked, after it is written, against what it was made from.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rag_ft.adapters.gguf_file import GGUF_TYPES, check_gguf, gguf_bytes, write_gguf
from rag_ft.adapters.merge import merge_adapter
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import AdapterError, UsageError
from rag_ft.files import RESULT, is_plain_file, require_space, staged
from rag_ft.models.adapter_record import ADAPTER_RECORD
from rag_ft.models.adapter_slots import adapter_folder
from rag_ft.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from rag_ft.models.weights import DEFAULT, PACKAGED, resolve_adapter, resolve_reader, tensor_shapes
from rag_ft.training.saving import EXPORTED, foreign_in_adapter

FORMATS = ("safetensors", *(f"gguf-{kind}" for kind in GGUF_TYPES), "peft")

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values of vLLM's --max-lora-rank; an adapter's rank must not be above the one given."""

_SPARE_BYTES = 64 * 1024 * 1024

_LINEAR = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj"})


class Exported(NamedTuple):
    """What an export wrote."""

    path: Path
    notes: tuple[str, ...]
    """What was checked, and how to load it elsewhere."""


def export_adapter(
    adapter: str | Path,
    output: str | Path,
    format: str = "gguf-f16",
    *,
    base: str = DEFAULT,
    probes: Sequence[ReadRequest] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write an adapter in a format of other programs.

    `safetensors`: merged, float32 (`merge_adapter`). `gguf-f16`, `gguf-q8_0`: a file for llama.cpp (`export_gguf`).
    `peft`: the adapter alone, for PEFT and vLLM (`export_peft`). `adapter` may be `packaged`, and for a GGUF the folder
    of a merged model. Raises UsageError, WeightsError, AdapterError.
    """
    if format not in FORMATS:
        raise UsageError(f"the format {format!r} is not known: use {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if format == "peft":
        return export_peft(adapter, output, overwrite=overwrite)
    if format == "safetensors":
        merged = merge_adapter(adapter, output, base=base, probes=probes, overwrite=overwrite)
        return Exported(merged.path, ())
    kind = format.removeprefix("gguf-")
    return export_gguf(adapter, output, kind=kind, base=base, probes=probes, overwrite=overwrite)


def export_gguf(
    adapter: str | Path,
    output: str | Path,
    *,
    kind: str = "f16",
    base: str = DEFAULT,
    probes: Sequence[ReadRequest] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a GGUF file for llama.cpp from an adapter, which is merged first, or from a merged model's folder.

    `kind`: `f16`, or `q8_0` for half the size. Matrices are stored in that type, vectors in float32. The file is
    opened again and every tensor compared with what it was made from, to the type's rounding. It also carries what a
    reader must know (threshold, prompt), so that `Reader.from_pretrained("x.gguf")` asks as it was tuned to be asked.
    Raises UsageError, WeightsError; AdapterError for a model that is not a Llama or a tokenizer that llama.cpp would
    not reproduce.
    """
    if kind not in GGUF_TYPES:
        raise UsageError(f"the GGUF type {kind!r} is not known: use {' or '.join(GGUF_TYPES)}")
    output = Path(output)
    if output.suffix != ".gguf":
        raise UsageError(f"{output} does not name a GGUF file: the name must end in .gguf")
    with staged(output, overwrite=overwrite, foreign=_foreign_gguf, error=AdapterError) as work:
        folder = Path(adapter)
        if str(adapter) == PACKAGED or (folder / ADAPTER_CONFIG).is_file():
            folder = merge_adapter(adapter, work / "merged", base=base, probes=probes).path
        else:
            folder = resolve_reader(str(adapter)).path
        require_space(output.parent, gguf_bytes(folder, kind) + _SPARE_BYTES, error=AdapterError)
        count = write_gguf(folder, work / RESULT, kind)
        check_gguf(folder, work / RESULT, kind)
    return Exported(output, (f"{count} tensors, opened again and equal to the source within the rounding of {kind}",))


def _foreign_gguf(path: Path) -> Path | None:
    """The path itself unless it is a GGUF file, which is what the user named to be replaced."""
    if not is_plain_file(path):
        return path
    with path.open("rb") as file:
        return None if file.read(4) == b"GGUF" else path


def export_peft(adapter: str | Path, output: str | Path, *, overwrite: bool = False) -> Exported:
    """Copy an adapter for PEFT and vLLM, after checking that both load it as it is.

    Checked: LoRA on linear layers only, a rank that vLLM takes, no `modules_to_save`, no DoRA, no bias; the base is
    named by a hub id or a name, never by a path of this machine. Raises AdapterError naming what is in the way.
    """
    tuned = resolve_adapter(adapter_folder(adapter))
    problems = vllm_problems(tuned.path)
    if problems:
        raise AdapterError(f"the adapter {tuned.path} cannot be loaded by vLLM: {problems[0]}")
    config = json.loads((tuned.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    notes = [f"vllm serve BASE --enable-lora --max-lora-rank {_vllm_rank(config)} --lora-modules NAME=FOLDER"]
    base_name = str(config.get("base_model_name_or_path") or "")
    if _is_path(base_name):
        config["base_model_name_or_path"] = _last_part(base_name)
        notes.append(f"the base is now named {_last_part(base_name)!r} instead of by a path of this machine")
    with staged(Path(output), overwrite=overwrite, foreign=foreign_in_adapter, error=AdapterError) as work:
        result = work / RESULT
        result.mkdir()
        for name in (ADAPTER_WEIGHTS, ADAPTER_RECORD, "README.md"):
            if (tuned.path / name).is_file():
                shutil.copyfile(tuned.path / name, result / name)
        if not (tuned.path / ADAPTER_RECORD).is_file():  # without one no later export could tell that it may replace it
            record = {EXPORTED: {"name": tuned.name, "fingerprint": tuned.fingerprint}}
            (result / ADAPTER_RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (result / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return Exported(Path(output), tuple(notes))


def vllm_problems(folder: str | Path) -> list[str]:
    """Why vLLM would not load an adapter's folder; empty where it would."""
    config = json.loads((Path(folder) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"it is of the kind {config.get('peft_type')} and must be LORA")
    if config.get("modules_to_save"):
        problems.append(f"it holds whole layers (modules_to_save: {config['modules_to_save']}): train without")
    if config.get("use_dora"):
        problems.append("it is a DoRA adapter: merge it, or train without DoRA")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        problems.append("it trains biases: train with bias='none'")
    if not problems and _vllm_rank(config) is None:
        problems.append(f"its rank is above {VLLM_RANKS[-1]}: train with a lower one, or merge it")
    for name in tensor_shapes(Path(folder) / ADAPTER_WEIGHTS):
        module = name.split(".lora_", 1)[0].rsplit(".", 1)[-1]
        if ".lora_A." not in name and ".lora_B." not in name:
            problems.append(f"the tensor {name} is not a LoRA matrix of a linear layer")
        elif module not in _LINEAR:
            problems.append(f"{module} is not a linear layer of the attention or the MLP")
        else:
            continue
        break
    return problems


def _vllm_rank(config: dict[str, Any]) -> int | None:
    """The lowest --max-lora-rank that an adapter fits in; None where its rank is above all of them."""
    highest = max([int(config["r"]), *(int(rank) for rank in (config.get("rank_pattern") or {}).values())])
    return next((rank for rank in VLLM_RANKS if rank >= highest), None)


def _is_path(name: str) -> bool:
    return os.path.isabs(name) or name.startswith(("~", ".")) or "\\" in name


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
