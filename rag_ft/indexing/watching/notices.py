"""Notices that something has changed somewhere in a folder: from the system, or none where it gives none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from rag_ft.errors import first_line
from rag_ft.extras import require_extra

logger = logging.getLogger(__name__)

_GROUPED_MS = 50
"""Milliseconds of silence that end a group of notices."""
_LONGEST_GROUP_MS = 400
_CHECK_MS = 500
"""Milliseconds between two checks whether to stop."""


def require_watching() -> None:
    """Raise MissingExtraError unless the library that watches folders is installed."""
    require_extra("watch", "watching a folder")


class Notices:
    """Calls `on_change`, in a thread of its own, soon after anything in the folder changes. Close it to end."""

    def __init__(self, folder: Path, on_change: Callable[[], None]) -> None:
        self._folder = folder
        self._on_change = on_change
        self._stop = threading.Event()
        self.failed: str | None = None
        """Why no more notices come; None while they do."""
        self._thread = threading.Thread(target=self._run, name="rag-ft-notices", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        import watchfiles

        try:
            ready = False
            for changes in watchfiles.watch(
                self._folder,
                watch_filter=None,
                debounce=_LONGEST_GROUP_MS,
                step=_GROUPED_MS,
                stop_event=self._stop,
                rust_timeout=_CHECK_MS,
                yield_on_timeout=True,
                force_polling=False,
                ignore_permission_denied=True,
            ):
                if changes or not ready:  # what changed before the first notice could come, gave none
                    self._on_change()
                ready = True
        except Exception as error:  # the library raises OSError, RuntimeError and its own; the folder may be gone
            self.failed = first_line(error)
        if not self._stop.is_set():
            self.failed = self.failed or "no more notices come"
            self._on_change()
