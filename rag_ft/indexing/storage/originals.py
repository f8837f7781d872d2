"""The files that documents were read from, kept beside an index under the SHA-256 of their content.

A file is there before the manifest that needs it, and goes after the last one that did. It is never changed.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import secrets
from collections.abc import Container, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from rag_ft.checksums import sha256_of
from rag_ft.files import fsync, is_plain_file, is_real_folder
from rag_ft.indexing.sources.original import Original
from rag_ft.indexing.storage.folder import ORIGINALS, is_original, is_unfinished_original

if TYPE_CHECKING:
    from rag_ft.indexing.storage.table import TableRow

logger = logging.getLogger(__name__)

_PIECE = 1024 * 1024


class KeptFile(NamedTuple):
    """An original that is kept."""

    path: Path
    name: str
    """The name that the file had."""
    sha256: str
    encoding: str = "utf-8"
    """Of a text, the encoding in which it was read."""


class Originals:
    """The kept files of one index. Its writer alone, who holds the lock, may keep and sweep."""

    def __init__(self, index: Path) -> None:
        self.folder = index / ORIGINALS

    def path(self, sha256: str) -> Path | None:
        """Where the file with this checksum is; None if it is not kept."""
        path = self.folder / sha256
        return path if is_original(sha256) and is_real_folder(self.folder) and is_plain_file(path) else None

    def of(self, row: TableRow) -> KeptFile | None:
        """The file that a document was read from; None if it is not kept."""
        path = self.path(row.original)
        if path is None:
            return None
        encoding = str(row.metadata.get("encoding", "utf-8")).partition(" ")[0]
        known = encoding if re.fullmatch(r"[\w.-]{1,40}", encoding, re.ASCII) else "utf-8"
        return KeptFile(path, PurePath(row.source or row.id).name, row.original, known)

    def sound(self, sha256: str, *, fresh: bool = False) -> bool:
        """Whether the file is there with its content. Raises OSError."""
        path = self.path(sha256)
        return path is not None and sha256_of(path, fresh=fresh) == sha256

    def keep(self, original: Original) -> bool:
        """Copy a file, durably, unless it is there; False if it has changed or gone since. Raises OSError."""
        if self.sound(original.sha256):
            return True
        try:
            source = _opened(original)
        except OSError as error:  # files are read some time before their documents are taken
            reason = error.strerror or error
            logger.warning("%s cannot be opened any more (%s): its original is not kept", original.path, reason)
            return False
        with source:
            return self._keep(original, source)

    def _keep(self, original: Original, source: BinaryIO) -> bool:
        self.folder.mkdir(exist_ok=True)
        unfinished = self.folder / f"{original.sha256}.{secrets.token_hex(4)}.tmp"
        try:
            if _copy(source, unfinished) != original.sha256:
                logger.warning("%s changed while it was read: its original is kept by the next build", original.path)
                return False
            fsync(unfinished)
            os.replace(unfinished, self.folder / original.sha256)
            fsync(self.folder)
            return True
        finally:
            unfinished.unlink(missing_ok=True)

    def remove(self, sha256: str) -> None:
        """Delete a file that no manifest needs. Raises OSError."""
        if self.path(sha256) is not None:
            (self.folder / sha256).unlink(missing_ok=True)

    def sweep(self, needed: Container[str]) -> None:
        """Delete the files that are not needed and what killed writers left; what else is there stays. Raises OSError.

        On Windows a file that is being read stays until the next sweep.
        """
        for path in self._own():
            if path.name not in needed:
                try:
                    path.unlink(missing_ok=True)
                except PermissionError:
                    if os.name != "nt":
                        raise
        if is_real_folder(self.folder) and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _own(self) -> Iterator[Path]:
        for path in sorted(self.folder.iterdir()) if is_real_folder(self.folder) else ():
            if is_plain_file(path) and (is_original(path.name) or is_unfinished_original(path.name)):
                yield path


def _opened(original: Original) -> BinaryIO:
    """The bytes to read. Raises OSError."""
    return io.BytesIO(original.data) if original.path is None else original.path.open("rb")


def _copy(source: BinaryIO, target: Path) -> str:
    """Write the bytes; returns their hex SHA-256. Raises OSError."""
    digest = hashlib.sha256()
    with target.open("xb") as file:
        while piece := source.read(_PIECE):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()
