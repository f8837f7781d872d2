"""The finished adapter: a PEFT folder with its record and model card, put in place whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.files import foreign_file, is_plain_file, replacing, replacing_together
from rag_ft.models.adapter_record import ADAPTER_RECORD
from rag_ft.models.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_RECORD, "README.md")

TOKENIZER_FILES = (
    r"tokenizer(_config)?\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)"
    r"|merges\.txt|chat_template\.(jinja|json)"
)
"""Pattern of the names of a tokenizer's files, as transformers writes them."""

_ADAPTER_NAMES = re.compile("|".join(map(re.escape, ADAPTER_FILES)))

PACKAGES = ("rag-ft", "torch", "transformers", "peft", "trl", "bitsandbytes")
"""Packages whose versions decide a run's outcome."""

EXPORTED = "exported"
"""Key in the record of an exported adapter of another program: what it is a copy of."""

KEPT_STEP = "best.json"
"""File in the folder of an adapter that a run keeps: the step after which it was kept."""


def step_of(adapter: Path) -> int:
    """The step after which an adapter was kept."""
    return int(json.loads((adapter / KEPT_STEP).read_text(encoding="utf-8"))["step"])


def save_adapter(source: Path, target: Path, record: Mapping[str, Any], card: str, base_name: str) -> None:
    """Write the adapter that a run keeps in `source` to `target`, as `write_adapter` does."""
    from safetensors.torch import load_file

    config = json.loads((source / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    write_adapter(load_file(source / ADAPTER_FILES[1]), config, target, record, card, base_name)


def write_adapter(
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    target: Path,
    record: Mapping[str, Any],
    card: str,
    base_name: str,
) -> None:
    """Write an adapter at 16 bits, with PEFT's configuration, its record and its card.

    All files are written before the first one is moved into place. The configuration, which makes a folder an adapter,
    is removed first and put back last: weights never stand beside the record of other weights. `base_name` is a hub id
    or a folder's name, never a path of this machine.
    """
    import torch
    from safetensors.torch import save_file

    target.mkdir(parents=True, exist_ok=True)
    halves = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    # PEFT holds the modules in a set: unsorted, their order would change with every run.
    kept = {**config, "base_model_name_or_path": base_name, "target_modules": sorted(config["target_modules"])}
    with replacing_together([target / name for name in ADAPTER_FILES]) as works:
        save_file(halves, works[1], metadata={"format": "pt"})
        for work, text in zip(
            (works[0], *works[2:]),
            (json.dumps(kept, indent=2, sort_keys=True) + "\n", json.dumps(record, indent=1) + "\n", card),
            strict=True,
        ):
            work.write_text(text, encoding="utf-8")


def write_record(folder: Path, record: Mapping[str, Any], card: str | None = None) -> None:
    """Replace an adapter's record, and the card that describes it. Raises OSError.

    The card is removed first and put back last: a kill may leave no card, but never one of another record.
    """
    names = (ADAPTER_RECORD,) if card is None else ("README.md", ADAPTER_RECORD)
    with replacing_together([folder / name for name in names]) as works:
        works[-1].write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if card is not None:
            works[0].write_text(card, encoding="utf-8")


def is_record(path: Path) -> bool:
    """Whether a file is an adapter's record written by this program."""
    return bool({"prompt_fingerprint", EXPORTED} & read_object(path).keys())


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty for a link, a damaged file, other JSON, or none."""
    if not is_plain_file(path):
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def foreign_in_adapter(folder: Path) -> Path | None:
    """The first file in an adapter's folder that no export or average writes; a run's measurements are such files.

    The folder itself if it is not an adapter of this program.
    """
    if not is_record(folder / ADAPTER_RECORD):
        return folder
    return foreign_file(folder, _ADAPTER_NAMES)


def draw_curves(history: Sequence[Mapping[str, float]], best_step: int | None, path: Path) -> None:
    """Plot training and held-out loss over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    train = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    held_out = [(entry["step"], entry["eval_loss"]) for entry in history if "eval_loss" in entry]
    width = max(1, len(train) // 40)
    smooth = [
        (train[i][0], sum(loss for _, loss in train[max(0, i - width + 1) : i + 1]) / min(width, i + 1))
        for i in range(len(train))
    ]
    if smooth:
        axes.plot(*zip(*smooth, strict=True), color="#4c78a8", label=f"training (mean of {width} steps)")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color="#e45756", marker="o", label="held out")
    if best_step is not None:
        axes.axvline(best_step, color="#999999", linestyle=":", label=f"kept: step {best_step}")
    axes.set(xlabel="step", ylabel="loss per labelled token (nats)", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with replacing(path) as work:
        figure.savefig(work, format="png")
