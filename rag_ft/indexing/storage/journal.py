"""Vectors of a running build, written to disk block by block, so that a killed build resumes."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_ft.errors import IndexCorruptError
from rag_ft.files import fsync, is_real_folder
from rag_ft.indexing.storage.folder import BLOCK_NAME, BLOCK_UNFINISHED, remove_journal
from rag_ft.indexing.storage.reading import array_header, regular_size, save_array

logger = logging.getLogger(__name__)

KEY_BYTES = 16
_BLOCK = 4 * 1024 * 1024


def passage_key(text: str) -> bytes:
    """Key of a vector: the first 16 bytes of the SHA-256 of the text that was embedded."""
    return hashlib.sha256(text.encode("utf-8")).digest()[:KEY_BYTES]


class Journal:
    """Vectors of a running build, by the key of their text; durable block by block.

    A damaged block is dropped, and its texts are embedded again.
    """

    def __init__(self, folder: Path, embedder_fingerprint: str, dimension: int) -> None:
        name = hashlib.sha256(f"{embedder_fingerprint} {dimension}".encode()).hexdigest()[:16]
        remove_journal(folder, inside=folder.parent, keep=name)
        self.folder = folder / name
        """Where the blocks are."""
        self._type = np.dtype([("key", np.uint8, KEY_BYTES), ("vector", np.float32, dimension)])
        self._blocks: list[NDArray[Any]] = []
        self._locations: dict[bytes, tuple[int, int]] = {}
        damaged = 0
        for path in sorted(self.folder.iterdir()) if is_real_folder(self.folder) else ():
            damaged += not self._take(path)
        if damaged:
            logger.warning(
                "%d blocks of %s are damaged and were dropped: their passages are embedded again", damaged, self.folder
            )

    def __contains__(self, key: bytes) -> bool:
        return key in self._locations

    def __len__(self) -> int:
        return len(self._locations)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._locations)

    def __getitem__(self, key: bytes) -> NDArray[np.float32]:
        block, row = self._locations[key]
        vector: NDArray[np.float32] = self._blocks[block]["vector"][row]
        return vector

    def append(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Add a block, durably. Raises OSError."""
        block = np.empty(len(keys), dtype=self._type)
        block["key"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES)
        block["vector"] = vectors
        self.folder.mkdir(parents=True, exist_ok=True)
        # The checksum in the name shows a damaged block.
        digest = hashlib.sha256(block.tobytes()).hexdigest()[:32]
        temporary = self.folder / f"block-{secrets.token_hex(4)}.tmp"
        try:
            save_array(temporary, block)
            fsync(temporary)
            os.replace(temporary, self._free_name(digest))
        finally:
            temporary.unlink(missing_ok=True)
        fsync(self.folder)
        self._index(block)

    def _free_name(self, digest: str) -> Path:
        """A file name that is not taken, not even by a file of somebody else."""
        index = len(self._blocks)
        while os.path.lexists(path := self.folder / f"block-{index:06d}-{digest}.npy"):
            index += 1
        return path

    def _take(self, path: Path) -> bool:
        """Read a block; False if it is damaged and was deleted. An unfinished block is deleted silently."""
        named = BLOCK_NAME.fullmatch(path.name)
        if is_real_folder(path) or not (named or BLOCK_UNFINISHED.fullmatch(path.name)):
            return True  # not the journal's
        if named:
            try:
                self._index(self._read(path, named.group(1)))
                return True
            except Exception as error:  # whatever reading it raises, the build continues without it
                logger.info("%s: %s", path, error)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return not named

    def _read(self, path: Path, digest: str) -> NDArray[Any]:
        """Map a block, its checksum compared before any byte is interpreted. Raises IndexCorruptError, OSError."""
        start = len(array_header((1,), self._type))
        rows, rest = divmod(regular_size(path) - start, self._type.itemsize)
        if path.is_symlink() or rows < 1 or rest:
            raise IndexCorruptError("its length is not that of a block")
        checksum = hashlib.sha256()
        with path.open("rb") as file:
            header = file.read(start)
            while piece := file.read(_BLOCK):
                checksum.update(piece)
        if checksum.hexdigest()[:32] != digest or header != array_header((rows,), self._type):
            raise IndexCorruptError("its checksum differs")
        block: NDArray[Any] = np.memmap(path, dtype=self._type, mode="r", offset=start, shape=(rows,))
        return block

    def _index(self, block: NDArray[Any]) -> None:
        for row, key in enumerate(block["key"]):
            self._locations[key.tobytes()] = (len(self._blocks), row)
        self._blocks.append(block)
