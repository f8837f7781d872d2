"""The progress bar of a long job, and silence for libraries that draw their own bars."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)


class ProgressBar:
    """The stages of one long job: a bar on a terminal's stderr, else one log line for each stage."""

    def __init__(self, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
            # Bound to the stderr of now: what a library writes to a redirected stderr must not move the bar.
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, text: str, total: int | None = None) -> None:
        """Start a stage; without `total` the bar only pulses."""
        if self._bar is None:
            logger.info("%s", text)
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(text, total=total)

    def at(self, done: int) -> None:
        """Show `done` of the stage's total."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """A context in which transformers logs only errors and draws no bars; both are restored afterwards."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as hf_logging

    level = hf_logging.get_verbosity()
    bars = hf_logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
        # transformers' switch changes huggingface_hub's too; this restores it.
        if hub_bars:
            enable_progress_bars()
        else:
            disable_progress_bars()
