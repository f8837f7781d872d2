"""What answers take: time, tokens, memory, energy and money."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue

from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.recipe import WATTS, Price, Prices

if TYPE_CHECKING:
    from typing_extensions import Self

_EVERY_S = 0.02


class Memory(BaseModel):
    """An arm's peak memory; an upper bound, since the process holds the models of all arms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    process_bytes: int
    """Peak resident memory of the process."""
    device_bytes: int | None = None
    """Peak memory that torch allocated on the GPU; None without one."""

    def with_peak(self, other: Memory | None) -> Memory:
        """The higher of both peaks, for process and device each."""
        if other is None:
            return self
        device = [peak.device_bytes for peak in (self, other) if peak.device_bytes is not None]
        return Memory(
            process_bytes=max(self.process_bytes, other.process_bytes), device_bytes=max(device) if device else None
        )


class MemoryWatch:
    """Samples the process's memory from a thread while entered; a single look would miss peaks."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._highest = 0

    def __enter__(self) -> Self:
        self._sample()
        if (cuda := _cuda()) is not None:
            cuda.reset_peak_memory_stats()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def peak(self) -> Memory:
        """The highest memory so far."""
        self._sample()
        cuda = _cuda()
        return Memory(
            process_bytes=self._highest, device_bytes=None if cuda is None else int(cuda.max_memory_allocated())
        )

    def _sample(self) -> None:
        self._highest = max(self._highest, int(self._process.memory_info().rss))

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._sample()


def _cuda() -> Any:
    """`torch.cuda` if it is in use; None otherwise, without initialising it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


class Speed(BaseModel):
    """What one arm took on the machine of the run; not part of `results.json`, which two runs must agree on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds_p50: float
    seconds_p95: float
    tokens_per_second: float | None
    cost_per_thousand: float | None = None
    """Cost per 1,000 questions, at the recipe's prices; None without a price for the arm."""
    energy_per_thousand: float | None = None
    """Watt-hours per 1,000 questions, estimated as seconds times watts; None for a model on another machine."""
    memory_bytes: int | None = None
    """Peak memory of the process, which holds the models of all arms, while this arm answered."""
    device_memory_bytes: int | None = None
    """Peak memory that torch allocated on the GPU."""


def measure_speed(
    predictions: Mapping[str, Sequence[Prediction]],
    prices: Prices | None,
    settings: Mapping[str, Mapping[str, JsonValue]],
    memory: Mapping[str, Memory],
) -> dict[str, Speed]:
    """What each arm that replied took, by the arm's name."""
    speeds = {}
    for name, replies in predictions.items():
        seconds = np.array([prediction.seconds for prediction in replies if not prediction.failed])
        if not len(seconds):
            continue
        tokens = sum(prediction.prompt_tokens + prediction.completion_tokens for prediction in replies)
        mean = float(seconds.mean())
        price = None if prices is None else prices.arms.get(name) or prices.arms.get("*")
        watts = price.watts if price is not None and price.watts is not None else _assumed_watts(settings[name])
        speeds[name] = Speed(
            seconds_p50=round(float(np.quantile(seconds, 0.5)), 4),
            seconds_p95=round(float(np.quantile(seconds, 0.95)), 4),
            tokens_per_second=round(tokens / float(seconds.sum()), 1) if tokens and seconds.sum() else None,
            cost_per_thousand=None if price is None else _cost_per_thousand(replies, mean, price),
            energy_per_thousand=None if watts is None else round(1000 * mean * watts / 3600, 4),
            memory_bytes=memory[name].process_bytes if name in memory else None,
            device_memory_bytes=memory[name].device_bytes if name in memory else None,
        )
    return speeds


def _assumed_watts(settings: Mapping[str, JsonValue]) -> float | None:
    """Watts where the recipe gives none; None for a chat model, whose machine is unknown."""
    return None if settings.get("kind") == "chat" else WATTS


def _cost_per_thousand(predictions: Sequence[Prediction], seconds: float, price: Price) -> float:
    replied = [prediction for prediction in predictions if not prediction.failed]
    prompt = sum(prediction.prompt_tokens for prediction in replied) / len(replied)
    completion = sum(prediction.completion_tokens for prediction in replied) / len(replied)
    return round(1000 * (seconds * price.hour / 3600 + price.of_tokens(prompt, completion)), 6)
