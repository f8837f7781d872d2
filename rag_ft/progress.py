"""How far a long job is: `Progress`, the bar that draws it, and silence for libraries that draw their own bars."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import rich.progress

logger = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How far a stage of a long job is; what an `on_progress` gets."""

    stage: str
    """What is being done, for people."""
    done: int = 0
    total: int | None = None
    """None: not known. A stage whose `done` equals its total is over."""
    seconds_left: float | None = None
    """Estimate for this stage."""
    figures: Mapping[str, float] = MappingProxyType({})
    """What a trainer measured: losses, speed, learning rate."""


OnProgress: TypeAlias = Callable[[Progress], None]
"""A function that a long job calls each time it is further."""


def notify(on_progress: OnProgress | None, progress: Progress) -> None:
    """Hand progress to a listener, if there is one."""
    if on_progress is not None:
        on_progress(progress)


class ProgressBar:
    """A bar for the stage of a long job on a terminal's stderr; elsewhere, one log line per stage.

    Its `update` is an `on_progress`. The bar appears with the first stage and disappears when a stage is over.
    """

    def __init__(self, shown: bool) -> None:
        self._shown = shown and sys.stderr.isatty()
        self._stage: str | None = None
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def update(self, progress: Progress) -> None:
        """Show how far a stage is; without a total the bar only pulses."""
        if progress.stage != self._stage:
            self._stage = progress.stage
            self._stop()
            if self._shown:
                self._start(progress)
            else:
                logger.info("%s", progress.stage)
        if progress.done == progress.total:
            self._stop()
        elif self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=progress.done, total=progress.total)

    def _start(self, progress: Progress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichBar

        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        # Bound to the stderr of now: what a library writes to a redirected stderr must not move the bar.
        self._bar = RichBar(*columns, console=Console(file=sys.stderr), transient=True)
        self._task = self._bar.add_task(progress.stage, total=progress.total)
        self._bar.start()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


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
