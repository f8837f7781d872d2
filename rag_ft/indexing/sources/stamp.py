"""What changes with every change of a file, from its status alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """What changes with every change of a file."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in a file's status."""
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def stamp_at(path: Path) -> Stamp | None:
    """The stamp of a file; None if its status cannot be had."""
    try:
        return stamp_of(path.stat())
    except OSError:
        return None
