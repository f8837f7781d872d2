"""The folder of an unfinished run, beside its output: a run that was killed resumes from it.

    NAME.partial/run.json   what decides the output
    NAME.partial/lock       held while a process works on it

What a run keeps there until it ends is its own: answers (`answering/bulk/work.py`), or what came of requests for
questions (`question_generation/outcomes.py`). The folder goes when the output is written.
"""

from __future__ import annotations

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from rag_ft.errors import DatasetError, UsageError
from rag_ft.files import clear_partial, is_plain_file, is_real_folder, write_atomic

RUN_FILE = "run.json"
LOCK = "lock"


class UnfinishedRun(ABC):
    """A run whose output is not yet written; a class for each kind of run says what it keeps."""

    kept: ClassVar[Mapping[str, Callable[[Path], bool]]]
    """What the folder holds besides the run's settings, by name: `is_plain_file`, or `is_real_folder`."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.partial")
        self.lock = self.path / LOCK
        self._run = self.path / RUN_FILE

    @property
    def exists(self) -> bool:
        """Whether a run was begun and not finished."""
        return self._run.exists()

    def make(self) -> None:
        """Make the folder, unless something else is in its way. Raises UsageError, OSError."""
        ours: dict[Path, Callable[[Path], bool]] = {self.path: is_real_folder}
        ours |= {self._run: is_plain_file, self.lock: is_plain_file}
        ours |= {self.path / name: is_ours for name, is_ours in self.kept.items()}
        for path, is_ours in ours.items():
            if os.path.lexists(path) and not is_ours(path):
                raise UsageError(f"{path} is in the way of the unfinished work that is kept there: move it away")
        self.path.mkdir(exist_ok=True)

    def begin(self, settings: Mapping[str, JsonValue], *, overwrite: bool) -> None:
        """Begin or resume the run with these settings; the folder exists, and its lock is held.

        An unfinished run with equal settings resumes. One with other settings is forgotten with `overwrite`, and a
        DatasetError without. Raises also OSError.
        """
        clear_partial(self._run)
        if self.exists:
            before = self._settings()
            changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
            if not changed:
                return
            self._start_over(before, settings, changed[0], overwrite)
        elif self.holds_results():
            raise DatasetError(f"{self.path} has no {RUN_FILE} to say what run it is from: remove it to start over")
        write_atomic(self._run, json.dumps(dict(settings), indent=1) + "\n")

    def _settings(self) -> Mapping[str, JsonValue]:
        """What the unfinished run was begun with."""
        try:
            settings = json.loads(self._run.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DatasetError(f"{self._run} is damaged: remove {self.path} to start over") from error
        return settings if isinstance(settings, dict) else {}

    def _start_over(
        self, before: Mapping[str, JsonValue], settings: Mapping[str, JsonValue], changed: str, overwrite: bool
    ) -> None:
        if before.keys().isdisjoint(settings):
            raise DatasetError(f"{self._run} does not say what run it is from: move {self.path} away")
        if not overwrite:
            raise DatasetError(
                f"{self.path} holds an unfinished run with other settings ({changed} was {before.get(changed)!r} and is"
                f" now {settings.get(changed)!r}): repeat its command to finish it, give --overwrite to start over, or"
                " give another output"
            )
        self.clear()
        # Under the name of the run's own room, whose lines the command prints.
        logging.getLogger(type(self).__module__).info("starting over: an unfinished run with other settings is removed")

    @abstractmethod
    def holds_results(self) -> bool:
        """Whether anything is kept."""

    @abstractmethod
    def clear_results(self) -> None:
        """Remove what is kept. Raises OSError."""

    def clear(self) -> None:
        """Remove what is kept, then what run it is from: without that, it would be nobody's. Raises OSError."""
        self.clear_results()
        self._run.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the cleared folder, unless something else is in it, or another process has begun in it."""
        with suppress(OSError):
            if not self.exists:
                self.lock.unlink(missing_ok=True)
                for name in self.kept:
                    if is_real_folder(self.path / name):
                        (self.path / name).rmdir()
                self.path.rmdir()
