"""The steps of a cross-encoder's training: deterministic for a seed, and resumable at any step."""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from rag_ft.errors import TrainingError
from rag_ft.files import full_disk_as, replacing, write_atomic
from rag_ft.models.cross_encoder_network import CrossEncoderNetwork
from rag_ft.progress import OnProgress, Progress, notify
from rag_ft.training.cross_encoder.config import CrossEncoderConfig, Rates
from rag_ft.training.cross_encoder.examples import PairExample, PairSource, draw_example
from rag_ft.training.cross_encoder.folder import CHECKPOINT
from rag_ft.training.cross_encoder.losses import losses
from rag_ft.training.folder import METRICS_FILE

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_WEIGHT_DECAY = 0.01
_GRADIENT_NORM = 1.0
_KEPT = "resume with the same command"


@dataclass
class TrainedPairs:
    """How far a run is, and the best state so far."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """A measurement per line: losses of steps, and what `measure` gave."""
    best_step: int = 0
    """The step after which the held-out figures were best; 0: before the first."""
    best_worth: float = -math.inf
    best: dict[str, Tensor] | None = None
    """Trained weights after that step; None while no step was better than the start."""


class PairTrainer:
    """Trains a network on examples drawn from sources; word embeddings stay as they are.

    `measure`: what the network as it is now is worth, with figures for the history; called before the first step, and
    `config.evaluations` times after it. A state is kept if it is worth more than all before it, the start included if
    `keep_start`.
    """

    def __init__(
        self,
        network: CrossEncoderNetwork,
        tokenizer: Any,
        sources: Sequence[PairSource],
        config: CrossEncoderConfig,
        rates: Rates,
        work: Path,
        measure: Callable[[], tuple[float, dict[str, float]]],
        *,
        keep_start: bool,
    ) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._sources = sources
        self._config = config
        self._work = work
        self._measure = measure
        self._keep_start = keep_start
        self.total = max(1, math.ceil(config.epochs * len(sources) / config.questions_per_step))
        self._measured = {round(self.total * i / config.evaluations) for i in range(1, config.evaluations + 1)}
        for name, parameter in network.named_parameters():
            parameter.requires_grad_("embeddings" not in name)
        self._trained = {name: value for name, value in network.named_parameters() if value.requires_grad}
        encoder = [value for name, value in self._trained.items() if name.startswith("encoder.")]
        heads = [value for name, value in self._trained.items() if not name.startswith("encoder.")]
        groups = [{"params": encoder, "lr": rates.encoder}, {"params": heads, "lr": rates.heads}]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=_WEIGHT_DECAY)
        self._rates = rates
        self._epoch: tuple[int, list[PairExample]] = (-1, [])

    @property
    def parameters(self) -> int:
        """Number of weights that are trained."""
        return sum(value.numel() for value in self._trained.values())

    def train(self, on_progress: OnProgress | None = None) -> TrainedPairs:
        """Train to the last step, from the checkpoint if there is one; the network is then as after the last step.

        Raises TrainingError where the loss is not a number, or the disk is full.
        """
        state = self._resumed()
        if not state.history:
            self._evaluate(state, on_progress)
        begun = saved = time.monotonic()
        first = state.step
        while state.step < self.total:
            loss = self._step(state.step)
            state.step += 1
            seconds = time.monotonic() - begun
            speed = (state.step - first) / max(seconds, 1e-9)
            state.history.append(
                {
                    "step": state.step,
                    "loss": loss,
                    "seconds": seconds,
                    "examples_per_second": speed * self._config.questions_per_step,
                }
            )
            left = (self.total - state.step) / speed
            notify(on_progress, self._progress(state, left))
            due = time.monotonic() - saved >= 60 * self._config.checkpoint_minutes
            if state.step in self._measured:
                self._evaluate(state, on_progress, left)
            if due or state.step in self._measured:
                self._save(state)
                saved = time.monotonic()
        return state

    def load(self, weights: dict[str, Tensor]) -> None:
        """Put trained weights into the network."""
        with torch.no_grad():
            for name, value in weights.items():
                self._trained[name].copy_(value)

    def _step(self, step: int) -> float:
        size = self._config.questions_per_step
        batch = [self._example(position) for position in range(step * size, (step + 1) * size)]
        warmup = max(1, round(self.total * self._config.warmup_share))
        factor = min(1.0, (step + 1) / warmup) * (1 - step / self.total)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        loss = losses(self._network, self._tokenizer, batch).mean()
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss of step {step + 1} is {loss.item()}: start again with lower encoder_rate and head_rate"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(self._trained.values()), _GRADIENT_NORM)
        self._optimizer.step()
        return loss.item()

    def _example(self, position: int) -> PairExample:
        """The example at a position of the endless row of epochs; each epoch is drawn by its number and the seed."""
        epoch, within = divmod(position, len(self._sources))
        if self._epoch[0] != epoch:
            chooser = random.Random(f"{self._config.seed} {epoch}")
            order = chooser.sample(self._sources, len(self._sources))
            self._epoch = (epoch, [draw_example(source, self._config, chooser) for source in order])
        return self._epoch[1][within]

    def _evaluate(self, state: TrainedPairs, on_progress: OnProgress | None, left: float | None = None) -> None:
        with torch.inference_mode():
            worth, figures = self._measure()
        seconds = state.history[-1]["seconds"] if state.history else 0.0
        state.history.append({"step": state.step, "seconds": seconds, "worth": worth, **figures})
        if worth > state.best_worth and (state.step > 0 or self._keep_start):
            state.best_worth, state.best_step = worth, state.step
            state.best = self._copied() if state.step > 0 else None
        notify(on_progress, self._progress(state, left))

    def _copied(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self._trained.items()}

    def _progress(self, state: TrainedPairs, left: float | None) -> Progress:
        return Progress("training the cross-encoder", state.step, self.total, left, dict(state.history[-1]))

    def _save(self, state: TrainedPairs) -> None:
        content = {
            "step": state.step,
            "history": state.history,
            "best_step": state.best_step,
            "best_worth": state.best_worth,
            "best": state.best,
            "weights": self._copied(),
            "optimizer": self._optimizer.state_dict(),
        }
        with full_disk_as(TrainingError, self._work, _KEPT):
            with replacing(self._work / CHECKPOINT) as path:
                torch.save(content, path)
            lines = (json.dumps(measurement) + "\n" for measurement in state.history)
            write_atomic(self._work / METRICS_FILE, "".join(lines))

    def _resumed(self) -> TrainedPairs:
        """The state of the checkpoint, loaded into the network and the optimizer; a new one where there is none."""
        path = self._work / CHECKPOINT
        if not path.is_file():
            return TrainedPairs()
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
            names = ("step", "history", "best_step", "best_worth", "best")
            state = TrainedPairs(**{name: content[name] for name in names})
            weights, optimizer = content["weights"], content["optimizer"]
            if weights.keys() != self._trained.keys():
                raise ValueError("its weights are of another network")
        except (OSError, ValueError, RuntimeError, EOFError, UnpicklingError, KeyError, TypeError, AttributeError):
            logger.warning("the checkpoint %s is damaged: starting from the beginning", path)
            return TrainedPairs()
        self.load(weights)
        self._optimizer.load_state_dict(optimizer)
        logger.info("resumes         after step %d of %d", state.step, self.total)
        return state
