"""A folder → its files in sorted order: links followed, no file twice, hidden files and indexes left out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from functools import cached_property
from pathlib import Path

from rag_ft.indexing.access import RULES_FILE
from rag_ft.indexing.sources.events import CorpusFailure, SkippedFile, corpus_failure, skipped_file
from rag_ft.indexing.sources.file import READABLE, SourceFile
from rag_ft.indexing.storage.folder import holds_index

OFFICE_LOCK = "~$"
"""Begins the name of the file by which Word, Excel and PowerPoint mark a document that they have open."""


class FolderWalk:
    """One walk through a corpus folder.

    A file that is reached by several names is read under its own name, if the folder has it without a link, and else
    under the first one.
    """

    def __init__(self, root: Path, *, exclude: Sequence[Path], known: Set[str], source_code: bool = False) -> None:
        self._root = root
        self._real_root = root.resolve()
        self._excluded = {Path(path).resolve() for path in exclude}
        self._known = known
        self._source_code = source_code
        self._seen_folders: set[Path] = set()
        self._seen_files: set[Path] = set()
        self._unlisted: list[CorpusFailure] = []

    def __iter__(self) -> Iterator[SourceFile | CorpusFailure | SkippedFile]:
        for name, folders, files in os.walk(self._root, followlinks=True, onerror=self._note_unlisted):
            yield from self._take_unlisted()
            folder = Path(name)
            reason = self._why_skipped(folder)
            if reason:
                folders.clear()
                yield skipped_file(folder, reason)
                continue
            self._seen_folders.add(folder.resolve())
            for hidden in sorted(name for name in folders if name.startswith(".")):
                yield skipped_file(folder / hidden, "is hidden")
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for file in sorted(files):
                if file.startswith("."):
                    yield skipped_file(folder / file, "is hidden")
                elif file.startswith(OFFICE_LOCK):
                    yield skipped_file(folder / file, "is an office program's mark of an open document")
                elif file != RULES_FILE:
                    yield self._file(folder / file)
        yield from self._take_unlisted()

    def _note_unlisted(self, error: OSError) -> None:
        folder = Path(error.filename or self._root)
        reason = f"cannot be listed ({error.strerror})"
        self._unlisted.append(corpus_failure(folder, reason, folder.relative_to(self._root).as_posix()))

    def _take_unlisted(self) -> list[CorpusFailure]:
        unlisted, self._unlisted = self._unlisted, []
        return unlisted

    def _why_skipped(self, folder: Path) -> str:
        """Say why a folder is not entered; empty if it is."""
        real = folder.resolve()
        if real != self._real_root / folder.relative_to(self._root) and real in self._folders_without_links:
            return f"is a link to {real}, which is read itself"
        if real in self._seen_folders:  # a second way to a folder elsewhere
            return f"was read already as {real}"
        if self._is_index(folder):
            # Seen: a second way to it says so.
            self._seen_folders.add(real)
            return "is an index"
        return ""

    def _file(self, path: Path) -> SourceFile | CorpusFailure | SkippedFile:
        name = path.relative_to(self._root).as_posix()
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return corpus_failure(path, "is a link that leads nowhere", name)
        readable = target.suffix.lower() in READABLE and not target.name.startswith(".")
        if target != self._real_root / name and readable and target.parent in self._folders_without_links:
            return skipped_file(path, f"is a link to {target}, which is read itself")
        if target in self._seen_files:
            return skipped_file(path, f"was read already as {target}")
        self._seen_files.add(target)
        required = not self._known.isdisjoint((name, str(path)))
        return SourceFile(path, name, required=required, source_code=self._source_code)

    def _is_index(self, folder: Path) -> bool:
        return folder.resolve() in self._excluded or (folder != self._root and holds_index(folder))

    @cached_property  # needed only where there are links
    def _folders_without_links(self) -> set[Path]:
        """The folders that are reached without a link: their files are read under their own names."""
        reached: set[Path] = set()
        for name, folders, _ in os.walk(self._real_root):
            folders[:] = [
                folder for folder in folders if not folder.startswith(".") and not self._is_index(Path(name, folder))
            ]
            reached.add(Path(name))
        return reached
