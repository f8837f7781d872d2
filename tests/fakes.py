"""Stand-ins that keep a room's contract, for tests of the rooms around it."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+|[^\w\s]")


class HashingEmbedder:
    """An `Embedder` without a model: words are hashed into buckets, so texts that share words are near.

    Deterministic across processes. `salt` makes another embedder of the same dimension and another fingerprint.
    """

    def __init__(self, dimension: int = 64, max_tokens: int = 256, salt: str = "") -> None:
        self.name = f"hashing{salt}"
        self.fingerprint = hashlib.sha256(f"hashing-{dimension}-{max_tokens}-{salt}".encode()).hexdigest()
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.salt = salt
        self.passages_encoded = 0
        """Texts given to `encode_passages` so far: shows what an incremental build really embeds."""

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _WORD.findall(text.lower()):
                digest = hashlib.sha256((self.salt + word).encode()).digest()
                bucket = int.from_bytes(digest[:4], "little") % self.dimension
                vectors[row, bucket] += 1.0 if digest[4] % 2 else -1.0
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.passages_encoded += len(texts)
        return self.encode_query(texts)

    def count_tokens(self, text: str) -> int:
        return len(_WORD.findall(text))


def bomb_pdf(megabytes: int) -> bytes:
    """A PDF of some kilobytes whose one content stream unpacks to many megabytes of drawing."""
    text = b"BT /F1 12 Tf (" + b"A" * 1000 + b") Tj ET\n"
    stream = zlib.compress(text * (megabytes * 1_000_000 // len(text)), 9)
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, part in enumerate(parts, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + part + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % start)
