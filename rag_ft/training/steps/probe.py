"""Training speed of this machine, measured by real steps on artificial rows."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rag_ft.extras import require_extra

if TYPE_CHECKING:
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.steps.config import Bits

_SECONDS = 10.0
_ROW = 384
_BRANCH, _LABELLED = 40, 16


def tokens_per_second(
    model: str, adapter: AdapterConfig, tokens: int, seconds: float = _SECONDS, *, bits: Bits = 32
) -> float:
    """Tokens per second of forward and backward passes over `tokens` tokens at once, timed for about `seconds`.

    Loads the model as training would, in `bits` bits. The first pass, which also sets things up, is not counted.
    """
    require_extra("train", "timing training steps", "accelerate")
    from accelerate.utils import send_to_device

    from rag_ft.models.compute import autocasting, product_type
    from rag_ft.training.data.collator import Branch, Collator, Group, flatten
    from rag_ft.training.steps.config import TrainConfig
    from rag_ft.training.steps.fused import fused
    from rag_ft.training.steps.setup import adapt, load_base
    from rag_ft.training.steps.trainer import labelled_loss
    from rag_ft.training.steps.tree_attention import takes_trees, trees

    config = TrainConfig(bits=bits)
    loaded = load_base(model, config)
    shared = takes_trees(loaded.model)  # of the base alone, as in a run
    model_in_training = adapt(loaded, adapter, config).train()
    question, completion = tuple(range(3, 3 + _BRANCH - _LABELLED)), tuple(range(3, 3 + _LABELLED))
    branches = tuple(Branch(str(i), question, completion) for i in range(_ROW // _BRANCH - 3))
    row = flatten((), [Group(tuple(range(3, 3 + 3 * _BRANCH)), branches)])
    rows = max(1, tokens // len(row.input_ids))
    dtype = product_type(loaded.model.device.type == "cpu")
    collator = Collator(0, shared=shared, dtype=str(dtype).removeprefix("torch."))
    batch = send_to_device(collator([row._asdict()] * rows), loaded.model.device)
    labels = batch.pop("labels")

    def step() -> None:
        with autocasting(model_in_training):
            loss, count = labelled_loss(model_in_training, batch, labels, dtype if parts.head else None)
        (loss / count).backward()
        float(loss.detach())  # waits for a GPU

    attention = trees(model_in_training.get_base_model()) if shared else nullcontext()
    with fused(model_in_training, dtype) as parts, attention:
        step()
        start, steps = time.monotonic(), 0
        while steps < 2 or time.monotonic() - start < seconds:
            step()
            steps += 1
        return steps * rows * len(row.input_ids) / (time.monotonic() - start)
