"""The file of feedback beside an index: one record per line, replaced as a whole under a lock of its own.

It lies beside the generations, so that builds leave it alone. Its lock is not the index's: somebody who says that an
answer is wrong does not wait for a build. A sweep, which holds the index's lock, takes this one too, and erases what
names a document that is no longer there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from rag_ft.errors import IndexCorruptError, IndexLockedError, UsageError, first_problem
from rag_ft.files import clear_partial, is_plain_file, locked, partials, write_atomic
from rag_ft.indexing.storage.folder import FEEDBACK, FEEDBACK_LOCK
from rag_ft.indexing.storage.reading import store_error
from rag_ft.questions.feedback import Feedback

MOST_BYTES = 100_000_000
"""Larger than any file of feedback: a larger file was not written by this program and is not read."""

_KEPT = "the former feedback is untouched"


class FeedbackFile:
    """The feedback of one index. Safe for several threads and processes; nothing of a killed write is read."""

    def __init__(self, index: Path) -> None:
        self._index = index
        self.path = index / FEEDBACK

    def read(self) -> list[Feedback]:
        """Everything that was given and not withdrawn, oldest first. Raises IndexStoreError."""
        try:
            if not self.path.exists() and not self.path.is_symlink():
                return []
            if not is_plain_file(self.path) or self.path.stat().st_size > MOST_BYTES:
                raise IndexCorruptError(
                    f"{self.path} is not an ordinary file of up to {MOST_BYTES / 1e6:.0f} MB: move it away"
                )
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise store_error(error, self.path) from error
        entries = []
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                entries.append(Feedback.model_validate_json(line))
            except ValidationError as error:
                raise IndexCorruptError(
                    f"{self.path}, line {number}: {first_problem(error)}: correct or remove the line"
                ) from error
        return entries

    def change(self, change: Callable[[list[Feedback]], list[Feedback]], timeout_s: float) -> list[Feedback]:
        """Replace the records by what `change` makes of them, in turn with other writers, and return those.

        Raises IndexStoreError.
        """
        with self._writing(timeout_s):
            before = self.read()
            after = change(list(before))
            self._write(before, after)
            return after

    def prune(self, documents: Collection[str], timeout_s: float) -> None:
        """Erase the records that name other documents, and what killed writers left. Raises IndexStoreError, OSError.

        A damaged file stays as it is, and the error says so: its records cannot be told apart.
        """
        if not self.is_there():
            return
        with self._writing(timeout_s):
            clear_partial(self.path)
            before = self.read()
            self._write(before, [entry for entry in before if entry.documents <= set(documents)])

    def is_there(self) -> bool:
        """Whether there is anything to prune."""
        return self.path.exists() or bool(self.unfinished())

    def unfinished(self) -> list[Path]:
        """What writers that run, or were killed, have beside the file."""
        return partials(self.path)

    def _write(self, before: Sequence[Feedback], after: Sequence[Feedback]) -> None:
        if list(before) == list(after):
            return
        if not after:
            self.path.unlink(missing_ok=True)
            return
        write_atomic(self.path, "".join(entry.model_dump_json(exclude_defaults=True) + "\n" for entry in after))

    @contextlib.contextmanager
    def _writing(self, timeout_s: float) -> Iterator[None]:
        for path in (self.path, self._index / FEEDBACK_LOCK):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise UsageError(f"{path} is a link or a folder where rag_ft keeps a file: move it away")
        busy = IndexLockedError(f"another process is writing the feedback of the index at {self._index}: try again")
        try:
            with locked(self._index / FEEDBACK_LOCK, busy, timeout_s):
                yield
        except OSError as error:
            raise store_error(error, self.path, _KEPT) from error
