"""The bytes that a document was read from, to be kept beside the index if that is asked for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple


class Original(NamedTuple):
    """A file as it was read."""

    sha256: str
    """Hex SHA-256 of the bytes that gave the document; the file at `path` may have changed since."""
    path: Path | None = None
    data: bytes = b""
    """The bytes, where there is no path."""

    @classmethod
    def of_bytes(cls, data: bytes) -> Original:
        """Bytes that stand in no file, such as an upload."""
        return cls(hashlib.sha256(data).hexdigest(), data=data)
