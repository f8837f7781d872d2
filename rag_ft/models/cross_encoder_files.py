"""A cross-encoder on disk: its record, and what a tuning changed in the encoder that every installation has.

The changes are kept whole, at 8 bits (11 MB, as the packaged one), or as a product of two narrow matrices per layer at
16 bits, as a LoRA adapter's are (5 MB at a width of 64). `cross_encoder_network.py` makes the network,
`cross_encoder.py` puts both together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.checksums import sha256_of
from rag_ft.errors import WeightsError, first_line
from rag_ft.files import replacing_together
from rag_ft.models.folder import CROSS_ENCODER_FOLDER, CROSS_ENCODER_RECORD, CROSS_ENCODER_WEIGHTS
from rag_ft.models.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

CROSS_ENCODER_FILES = (CROSS_ENCODER_RECORD, CROSS_ENCODER_WEIGHTS, "README.md")
"""The record first: a folder with it has the others, too."""

_UP, _DOWN = ".up", ".down"
_STEPS, _STEP = ".steps", ".step"
"""A change at 8 bits: whole numbers of steps, and the size of a step in each row."""
_MOST_STEPS, _LEAST_STEP = 127, 1e-30
"""The least is for rows that did not change."""

_HEADS = ("relevance", "evidence", "decision", "ends")


def base_of(embedder: Weights) -> dict[str, str]:
    """What a record says of the weights that a cross-encoder was tuned from."""
    return {"name": embedder.name, "sha256": sha256_of(embedder.path / "model.safetensors")}


def check_base(folder: Path, record: Mapping[str, Any], embedder: Weights) -> None:
    """Raise WeightsError where the cross-encoder in a folder was tuned from another embedder."""
    base, here = record["base"], base_of(embedder)
    if base["sha256"] != here["sha256"]:
        raise WeightsError(
            f"{folder} was tuned from {base['name']} ({base['sha256'][:12]}), and the packaged embedder is"
            f" {here['sha256'][:12]}: use the packaged one, or one tuned from this embedder"
        )


def is_cross_encoder(folder: Path) -> bool:
    """Whether a folder holds the record of a cross-encoder, which is written last."""
    return (folder / CROSS_ENCODER_RECORD).is_file()


def cross_encoder_beside(adapter: Path) -> Path | None:
    """The folder of the cross-encoder that was tuned beside an adapter; None where there is none."""
    folder = adapter / CROSS_ENCODER_FOLDER
    return folder if is_cross_encoder(folder) else None


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a cross-encoder's folder. Raises WeightsError where the folder is not one."""
    needed = (CROSS_ENCODER_RECORD, CROSS_ENCODER_WEIGHTS)
    missing = next((name for name in needed if not (folder / name).is_file()), None)
    if missing is not None:
        raise WeightsError(
            f"{folder} is not a cross-encoder ({missing} is missing): give a folder that has it, or use the"
            " packaged one"
        )
    try:
        record = json.loads((folder / CROSS_ENCODER_RECORD).read_text(encoding="utf-8"))
        base = record["base"]
        if not all(isinstance(base[key], str) for key in ("name", "sha256")):
            raise TypeError("its base has no name and checksum")
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder / CROSS_ENCODER_RECORD} is not a record of a cross-encoder ({first_line(error)}): restore the"
            " file, or use the packaged one"
        ) from error
    return dict(record)


def write_cross_encoder(
    folder: Path, changes: Mapping[str, Tensor], embedder: Weights, record: Mapping[str, Any], card: str
) -> None:
    """Write what a tuning changed (`changes_between`), its record and its card; all files together, or none."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with replacing_together([folder / name for name in CROSS_ENCODER_FILES]) as works:
        works[0].write_text(json.dumps({**record, "base": base_of(embedder)}, indent=1) + "\n", encoding="utf-8")
        save_file(dict(changes), works[1], metadata={"format": "pt"})
        works[2].write_text(card, encoding="utf-8")


def changes_between(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], rank: int | None = None
) -> dict[str, Tensor]:
    """What changed: matrices at 8 bits, the rest at 16; the heads themselves, which are new.

    `rank`: of matrices only the best product of this rank (Eckart and Young, 1936), at 16 bits. What a head reads off
    single words suffers by that: the packaged cross-encoder would lose 3.5 points of F1 of the words that it marks at
    rank 64, and loses 0.5 at 8 bits.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for name, value in after.items():
        if name.startswith(_HEADS):
            tensors[name] = value.to(torch.float16).contiguous()
            continue
        change = value - before[name]
        if not change.any():
            continue
        if change.ndim == 2 and rank is not None:
            up, scale, down = torch.linalg.svd(change, full_matrices=False)
            root = scale[:rank].sqrt()
            tensors[name + _UP] = (up[:, :rank] * root).to(torch.float16).contiguous()
            tensors[name + _DOWN] = (root[:, None] * down[:rank]).to(torch.float16).contiguous()
        elif change.ndim == 2:
            step = (change.abs().amax(1) / _MOST_STEPS).clamp(min=_LEAST_STEP)
            tensors[name + _STEPS] = (change / step[:, None]).round().to(torch.int8)
            tensors[name + _STEP] = step
        else:
            tensors[name] = change.to(torch.float16).contiguous()
    return tensors


def read_changes(folder: Path) -> dict[str, Tensor]:
    """What a tuning changed, from its folder. Raises WeightsError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / CROSS_ENCODER_WEIGHTS
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def add_changes(network: nn.Module, changes: Mapping[str, Tensor], folder: Path) -> None:
    """Add what a tuning changed to the weights that it started from; `folder`: where it is from, for the error.

    Raises WeightsError.
    """
    import torch

    parameters = dict(network.named_parameters())
    try:
        with torch.no_grad():
            for name, value in changes.items():
                if name.endswith((_DOWN, _STEP)):
                    continue
                if name.endswith(_UP):
                    matrix = name.removesuffix(_UP)
                    parameters[matrix].add_(value.float() @ changes[matrix + _DOWN].float())
                elif name.endswith(_STEPS):
                    matrix = name.removesuffix(_STEPS)
                    parameters[matrix].add_(value.float() * changes[matrix + _STEP][:, None])
                elif name.startswith(_HEADS):
                    parameters[name].copy_(value)
                else:
                    parameters[name].add_(value.float())
    except (KeyError, RuntimeError) as error:
        raise _damaged(folder / CROSS_ENCODER_WEIGHTS, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} does not hold a cross-encoder's weights ({first_line(error)}): restore the file, or use the packaged"
        " one"
    )
