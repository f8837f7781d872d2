"""Settings of a cross-encoder's training."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(gt=0, lt=1)]


class Rates(NamedTuple):
    """Peak learning rates."""

    encoder: float
    heads: float


FROM_EMBEDDER = Rates(2e-4, 1e-3)
"""The heads are random then, and have everything to learn."""

FROM_CROSS_ENCODER = Rates(5e-5, 1e-4)
"""A cross-encoder that is tuned further keeps what it knows."""


class CrossEncoderConfig(BaseModel):
    """How question records become examples, and how long and how fast a cross-encoder trains on them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[float, Field(gt=0, le=100)] = 3.0
    """Passes over the questions; each pass draws other passages."""
    questions_per_step: Annotated[int, Field(ge=1, le=256)] = 6
    passages: Annotated[int, Field(ge=2, le=20)] = 5
    """Passages per question: the one that holds the evidence, the others without."""
    negatives_among: Annotated[int, Field(ge=1, le=100)] = 12
    """The others are drawn among this many of the best that the index finds for the question."""
    without_evidence: Annotated[float, Field(ge=0, lt=1)] = 0.08
    """Share of answerable questions per pass that are shown without their evidence, to learn that none answers."""
    encoder_rate: Rate | None = None
    """Peak learning rate of the encoder; None: 2e-4 from the embedder, 5e-5 from a cross-encoder."""
    head_rate: Rate | None = None
    """Peak learning rate of the heads; None: 1e-3 from the embedder, 1e-4 from a cross-encoder."""
    rank: Annotated[int, Field(ge=1, le=384)] | None = None
    """Width of the narrow matrices in which the changes are written, for a file of 5 MB at 64; None: whole, 11 MB."""
    warmup_share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Share of the steps in which the learning rates rise from 0; then they fall to 0 in a line."""
    evaluations: Annotated[int, Field(ge=1)] = 5
    """How often the held-out questions are asked."""
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 2.0
    """Minutes between checkpoints to resume from."""
    held_out: Annotated[float, Field(ge=0.02, le=0.5)] = 0.15
    """Share of documents, weighted by their questions, to hold out from training."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def rates(self, *, tuned_before: bool) -> Rates:
        """The peak learning rates, by what the run starts from."""
        default = FROM_CROSS_ENCODER if tuned_before else FROM_EMBEDDER
        return Rates(self.encoder_rate or default.encoder, self.head_rate or default.heads)
