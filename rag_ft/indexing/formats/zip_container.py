"""The zip container of DOCX and EPUB, opened within limits."""

from __future__ import annotations

import io
import zipfile

from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.indexing.formats.limits import MAX_PARTS, MAX_UNPACKED_BYTES


def open_zip(data: bytes) -> zipfile.ZipFile:
    """Open a zip file whose declared sizes are within the limits; a part is never read beyond its declared size."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise Unreadable("is not a zip container, or is cut off") from error
    parts = archive.infolist()
    total = sum(part.file_size for part in parts)
    if total > MAX_UNPACKED_BYTES or len(parts) > MAX_PARTS:
        raise Unreadable(
            f"unpacks to {total / 1e6:,.0f} MB in {len(parts):,} parts, more than is opened"
            f" ({MAX_UNPACKED_BYTES / 1e6:,.0f} MB, {MAX_PARTS:,} parts)"
        )
    if any(part.flag_bits & 1 for part in parts):
        raise Unreadable("is encrypted: save a copy without a password")
    return archive
