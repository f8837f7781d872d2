"""SHA-256 of files, remembered so that a warm start does not read half a gigabyte again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

from rag_ft import settings
from rag_ft.files import write_atomic

logger = logging.getLogger(__name__)

REMEMBER_FROM_BYTES = 8 * 1024 * 1024
"""Smaller files are hashed every time: it takes milliseconds, and then no edit can go unnoticed."""


def sha256_of(path: Path, *, fresh: bool = False) -> str:
    """Hex SHA-256 of a file.

    A large file whose path, size, modification time and change time are those of an earlier call is not read
    again, unless `fresh`. The memory is `checksums.json` in `settings.home()`; where that folder cannot be
    written, every call reads the file. Raises OSError when the file cannot be read.
    """
    status = path.stat()
    if status.st_size < REMEMBER_FROM_BYTES:
        return _read_and_hash(path)
    key = str(path.absolute())
    # The change time catches an edit that keeps size and modification time (`touch -r`, `rsync -t`).
    stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    if not fresh:
        known = _load().get(key)
        if isinstance(known, list) and len(known) == 4 and known[:3] == stamp:
            return str(known[3])
    digest = _read_and_hash(path)
    _remember(key, [*stamp, digest])
    return digest


def _read_and_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(4 * 1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


def _memory_path() -> Path:
    return settings.home() / "checksums.json"


def _load() -> dict[str, object]:
    try:
        loaded = json.loads(_memory_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _remember(key: str, value: list[object]) -> None:
    """Two processes that write at once may lose one entry: the price is reading one file again."""
    memory = {name: entry for name, entry in _load().items() if os.path.exists(name)}
    memory[key] = value
    path = _memory_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(memory, indent=1) + "\n")
    except OSError as error:
        logger.debug("checksums are not remembered: %s", error)
