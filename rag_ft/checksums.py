"""SHA-256 of files; the checksums of large files are remembered, so that they are read once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

from rag_ft import environment
from rag_ft.files import write_atomic

logger = logging.getLogger(__name__)

REMEMBER_FROM_BYTES = 8 * 1024 * 1024
"""Smaller files are always read again: that takes milliseconds, and no edit goes unnoticed."""


def sha256_of(path: Path, *, fresh: bool = False) -> str:
    """Hex SHA-256 of a file.

    A large file is not read again if its path, size, modification time and change time are those of an earlier
    call, unless `fresh`. The checksums are remembered in `checksums.json` in `environment.home()`; if that folder is
    not writable, every call reads the file. Raises OSError if the file cannot be read.
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


def _cache_path() -> Path:
    return environment.home() / "checksums.json"


def _load() -> dict[str, object]:
    try:
        loaded = json.loads(_cache_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _remember(key: str, value: list[object]) -> None:
    """Remember a checksum; of two processes that write at once, one may lose its entry and read its file again."""
    memory = {name: entry for name, entry in _load().items() if os.path.exists(name)}
    memory[key] = value
    path = _cache_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(memory, indent=1) + "\n")
    except OSError as error:
        logger.debug("checksums are not remembered: %s", error)
