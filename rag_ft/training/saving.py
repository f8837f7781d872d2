"""The finished adapter: a PEFT folder with what it was made from and a model card, put in place whole."""

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

FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTER_RECORD, "README.md")


TOKENIZER_FILES = (
    r"tokenizer(_config)?\.json|tokenizer\.model|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)"
    r"|merges\.txt|chat_template\.(jinja|json)"
)
"""Names, as a pattern, of what transformers writes of a tokenizer."""


_ADAPTER_FILES = re.compile("|".join(map(re.escape, FILES)))


PACKAGES = ("rag-ft", "torch", "transformers", "peft", "trl", "bitsandbytes")
"""Whose versions decide a run's outcome."""


EXPORTED = "exported"
"""In the record of an adapter of another program that was exported: what it is a copy of."""


KEPT_STEP = "best.json"
"""In the folder of an adapter that a run keeps: the step that it is of."""


def step_of(adapter: Path) -> int:
    """The step that a kept adapter is of."""
    return int(json.loads((adapter / KEPT_STEP).read_text(encoding="utf-8"))["step"])


def save_adapter(source: Path, target: Path, record: Mapping[str, Any], card: str, base_name: str) -> None:
    """Write the adapter in `source` to `target` as `write_adapter` does."""
    from safetensors.torch import load_file

    config = json.loads((source / FILES[0]).read_text(encoding="utf-8"))
    write_adapter(load_file(source / FILES[1]), config, target, record, card, base_name)


def write_adapter(
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    target: Path,
    record: Mapping[str, Any],
    card: str,
    base_name: str,
) -> None:
    """Write an adapter at 16 bits, with PEFT's configuration, its record and its card.

    All files are written before the first one takes its place. The configuration, without which nobody takes a folder
    for an adapter, goes first and comes back last: weights are never seen beside the record of others.
    `base_name` is a hub id or a folder's name: never a path of this machine.
    """
    import torch
    from safetensors.torch import save_file

    target.mkdir(parents=True, exist_ok=True)
    halves = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    # Modules are a set: their order would change with every run.
    kept = {**config, "base_model_name_or_path": base_name, "target_modules": sorted(config["target_modules"])}
    with replacing_together([target / name for name in FILES]) as works:
        save_file(halves, works[1], metadata={"format": "pt"})
        for work, text in zip(
            (works[0], *works[2:]),
            (json.dumps(kept, indent=2, sort_keys=True) + "\n", json.dumps(record, indent=1) + "\n", card),
            strict=True,
        ):
            work.write_text(text, encoding="utf-8")


def write_record(folder: Path, record: Mapping[str, Any], card: str | None = None) -> None:
    """Put another record, and the card that goes with it, beside an adapter's weights. Raises OSError.

    The card goes first and comes back last: a kill leaves none, and never one that tells of another record.
    """
    names = (ADAPTER_RECORD,) if card is None else ("README.md", ADAPTER_RECORD)
    with replacing_together([folder / name for name in names]) as works:
        works[-1].write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if card is not None:
            works[0].write_text(card, encoding="utf-8")


def is_record(path: Path) -> bool:
    """Whether a file is an adapter's record that this program wrote."""
    if not is_plain_file(path):
        return False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and bool({"prompt_fingerprint", EXPORTED} & record.keys())


def foreign_in_adapter(folder: Path) -> Path | None:
    """The first thing in an adapter's folder that this program did not write there; a run's folder of measurements is
    nothing that an average or an export writes, and is not replaced by one.
    """
    if not is_record(folder / ADAPTER_RECORD):
        return folder
    return foreign_file(folder, _ADAPTER_FILES)


def draw_curves(history: Sequence[Mapping[str, float]], best_step: int | None, path: Path) -> None:
    """Training and held-out loss at their steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    train = [(one["step"], one["loss"]) for one in history if "loss" in one]
    held_out = [(one["step"], one["eval_loss"]) for one in history if "eval_loss" in one]
    width = max(1, len(train) // 40)
    smooth = [
        (train[place][0], sum(loss for _, loss in train[max(0, place - width + 1) : place + 1]) / min(width, place + 1))
        for place in range(len(train))
    ]
    axes.plot(
        *zip(*smooth, strict=True), color="#4c78a8", label=f"training (mean of {width} steps)"
    ) if smooth else None
    axes.plot(*zip(*held_out, strict=True), color="#e45756", marker="o", label="held out") if held_out else None
    if best_step is not None:
        axes.axvline(best_step, color="#999999", linestyle=":", label=f"kept: step {best_step}")
    axes.set(xlabel="step", ylabel="loss of a labelled token (nats)", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with replacing(path) as work:
        figure.savefig(work, format="png")
