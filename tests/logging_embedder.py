"""An embedder for workers elsewhere: it logs what it embeds, takes its time, and ends its process over some texts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fakes import HashingEmbedder
from numpy.typing import NDArray

KILLS = "ends the process"


class LoggingEmbedder(HashingEmbedder):
    """Vectors of `HashingEmbedder`; appends a line for each text to `log`: process and first words."""

    def __init__(self, log: Path, seconds: float = 0.0) -> None:
        super().__init__()
        self._log = log
        self._seconds = seconds

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with self._log.open("a") as file:
            file.writelines(f"{os.getpid()} {text[:40]!r}\n" for text in texts)
        time.sleep(self._seconds)
        if any(KILLS in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_passages(texts)


def embedded(log: Path) -> list[tuple[int, str]]:
    """Process and text of each line of a log."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(line.partition(" ")[0]), line.partition(" ")[2]) for line in lines]
