"""How much memory the process holds while an arm answers: sampled, because a peak between two looks is gone."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from typing_extensions import Self

_EVERY_S = 0.02


class Memory(BaseModel):
    """Peaks of an arm. The process holds the models of all arms, so that its figure is an upper bound for each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    process_bytes: int
    """Resident memory."""
    device_bytes: int | None = None
    """Allocated by torch on the GPU; None without one."""

    def with_peak(self, other: Memory | None) -> Memory:
        """The higher of each."""
        if other is None:
            return self
        device = [one.device_bytes for one in (self, other) if one.device_bytes is not None]
        return Memory(
            process_bytes=max(self.process_bytes, other.process_bytes), device_bytes=max(device) if device else None
        )


class MemoryWatch:
    """Watches the process from a thread for as long as it is entered."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._highest = 0

    def __enter__(self) -> Self:
        self._look()
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
        """Highest so far."""
        self._look()
        cuda = _cuda()
        return Memory(
            process_bytes=self._highest, device_bytes=None if cuda is None else int(cuda.max_memory_allocated())
        )

    def _look(self) -> None:
        self._highest = max(self._highest, int(self._process.memory_info().rss))

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._look()


def _cuda() -> Any:
    """Torch's CUDA side, where torch is loaded and uses one; looking must not start it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
