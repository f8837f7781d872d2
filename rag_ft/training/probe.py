"""How fast this machine trains: a few real steps on made-up rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_ft.training.lora import LoraSettings

_SECONDS = 10.0
_ROW = 384
_BRANCH, _LABELLED = 40, 16


def tokens_per_second(model: str, settings: LoraSettings, tokens: int, seconds: float = _SECONDS) -> float:
    """Tokens a second of forward and backward passes over `tokens` tokens at once, for about `seconds`.

    Loads the model as training would, in 32 bits. The first pass, which also sets things up, is not counted.
    """
    import torch

    from rag_ft.training.collator import Branch, Group, TreeCollator, flatten
    from rag_ft.training.trainer import TrainConfig, adapt, autocast, labelled_loss, load_base

    config = TrainConfig(bits=32)
    loaded = load_base(model, config)
    made = adapt(loaded, settings, config).train()
    question, completion = tuple(range(3, 3 + _BRANCH - _LABELLED)), tuple(range(3, 3 + _LABELLED))
    branches = tuple(Branch(str(number), question, completion) for number in range(_ROW // _BRANCH - 3))
    row = flatten((), [Group(tuple(range(3, 3 + 3 * _BRANCH)), branches)])
    rows = max(1, tokens // len(row.input_ids))
    batch = TreeCollator(0)([row._asdict()] * rows)
    device = loaded.model.device
    batch = {name: value.to(device) for name, value in batch.items()}
    labels = batch.pop("labels")
    half = autocast(device.type == "cpu")

    def step() -> None:
        with torch.autocast(device.type, getattr(torch, half, torch.bfloat16), enabled=half != "none"):
            loss, count = labelled_loss(made, batch, labels)
        (loss / count).backward()
        float(loss.detach())  # waits for a GPU

    step()
    begin, steps = time.monotonic(), 0
    while steps < 2 or time.monotonic() - begin < seconds:
        step()
        steps += 1
    return steps * rows * len(row.input_ids) / (time.monotonic() - begin)
