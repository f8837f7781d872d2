"""Settings of the training steps."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Bits: TypeAlias = Literal[4, 16, 32]


class TrainConfig(BaseModel):
    """How long, how fast and how safely to train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[float, Field(gt=0, le=100)] = 3.0
    """Passes over the examples; usually 1 to 5."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-4
    """Peak learning rate, after the warm-up; it falls to 0 as a cosine."""
    warmup_share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    row_tokens: Annotated[int, Field(ge=64)] = 1280
    """Tokens computed at once; activation memory grows in proportion."""
    rows_per_step: Annotated[int, Field(ge=1)] = 1
    """Rows per update of the adapter; at the defaults one row holds about 16 questions."""
    bits: Bits = 4
    """Bits per base weight: 4 (NF4, QLoRA), 16 or 32 (plain LoRA)."""
    keep_packed: bool = False
    """Keep 4-bit weights packed on a CPU too: a quarter of the memory, slower steps."""
    checkpointing: bool | None = None
    """Gradient checkpointing: recompute activations to save memory. None: if they would take more than half of the
    free memory."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    """Minutes between checkpoints to resume from."""
    evaluations: Annotated[int, Field(ge=1)] = 10
    """How often the held-out loss is measured."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Stop after this many measurements without a better held-out loss; 0: never."""
    max_steps: int = -1
    """Stop after this many updates; -1: by epochs."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    report_to: str = "none"
    """Experiment tracker that transformers knows: tensorboard, wandb, mlflow, trackio."""
