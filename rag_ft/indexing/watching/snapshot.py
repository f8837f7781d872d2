"""A folder's files with what tells a changed one, without reading any."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rag_ft.indexing.access import RULES_FILE
from rag_ft.indexing.sources.file import READABLE
from rag_ft.indexing.sources.folder import OFFICE_LOCK
from rag_ft.indexing.sources.stamp import Stamp, stamp_of
from rag_ft.indexing.storage.folder import holds_index


@dataclass(frozen=True)
class Snapshot:
    """The files of a folder at one moment."""

    files: Mapping[str, Stamp] = field(default_factory=dict)
    """Files that a build would read, by their path in the folder; files of access rules too, also of folders above."""
    mounts: frozenset[str] = frozenset()
    """Folders inside that are on another device than the folder around them, by their path."""
    is_there: bool = True
    """Whether the folder can be listed."""

    @property
    def has_documents(self) -> bool:
        """Whether any file is more than access rules."""
        return any(os.path.basename(name) != RULES_FILE for name in self.files)


def snapshot_of(root: Path, exclude: Path, suffixes: Collection[str] = READABLE) -> Snapshot:
    """Look at every file of a folder with these suffixes, without `exclude` and other indexes. Raises nothing."""
    try:
        device = os.stat(root).st_dev
        os.scandir(root).close()
    except OSError:
        return Snapshot(is_there=False)
    files: dict[str, Stamp] = {}
    mounts: set[str] = set()
    excluded = _identity(exclude)
    # The same folder can be reached by several links, also by one inside itself.
    seen = {_identity(root)}
    waiting = [("", device)]
    while waiting:
        inside, device = waiting.pop()
        for name, status, is_folder in _entries(root / inside, suffixes):
            path = f"{inside}/{name}" if inside else name
            if not is_folder:
                files[path] = stamp_of(status)
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in seen or identity == excluded or holds_index(root / path):
                continue
            seen.add(identity)
            if status.st_dev != device:
                mounts.add(path)
            waiting.append((path, status.st_dev))
    for above in root.resolve().parents:
        with contextlib.suppress(OSError):
            files[str(above / RULES_FILE)] = stamp_of(os.stat(above / RULES_FILE))
    return Snapshot(files, frozenset(mounts))


def _entries(folder: Path, suffixes: Collection[str]) -> list[tuple[str, os.stat_result, bool]]:
    """Name, status and whether it is a folder, of all that a build would look at in a folder."""
    entries = []
    # What cannot be listed or is gone by now is named by the build itself.
    with contextlib.suppress(OSError), os.scandir(folder) as listed:
        for entry in listed:
            if entry.name.startswith((".", OFFICE_LOCK)):
                continue
            with contextlib.suppress(OSError):
                is_folder = entry.is_dir()
                if is_folder or entry.name == RULES_FILE or _is_readable(entry, suffixes):
                    entries.append((entry.name, entry.stat(), is_folder))
    return entries


def _is_readable(entry: os.DirEntry[str], suffixes: Collection[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in suffixes and entry.is_file()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
