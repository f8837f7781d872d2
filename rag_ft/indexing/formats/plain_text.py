"""Plain text, decoded."""

from __future__ import annotations

from rag_ft.indexing.formats.decoding import decode, noted
from rag_ft.indexing.formats.extracted import Extracted, LineAnchor


def read_text(data: bytes) -> Extracted:
    """Read text without any change."""
    text, encoding = decode(data)
    return Extracted(text, metadata=noted(encoding), line_anchors=(LineAnchor(0, 1),))
