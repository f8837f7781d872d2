"""Search time of one index and of the same passages in several shards, in pairs of one run.

    python benchmarks/sharded_search.py --passages 100000 --shards 4

Passages are made of words drawn as in English (rank and frequency by Zipf's law), their vectors are random; so no model
is timed, only the search. Each question is searched with both, in alternating order, and the results are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.indexing.retriever import RetrievalMode
from rag_ft.indexing.shards.changing import add_shards
from rag_ft.schema import Document

DIMENSION = 384
WORDS_PER_PASSAGE = 60
VOCABULARY = 50_000
PER_DOCUMENT = 20


class RandomEmbedder:
    """A vector for each text, drawn with the text's checksum as the seed."""

    name = "random"
    fingerprint = hashlib.sha256(b"random").hexdigest()
    dimension = DIMENSION
    max_tokens = 512

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts."""
        vectors = np.empty((len(texts), DIMENSION), dtype=np.float32)
        for row, text in enumerate(texts):
            seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
            vectors[row] = np.random.default_rng(seed).standard_normal(DIMENSION, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts."""
        return self.encode_query(texts)

    def count_tokens(self, text: str) -> int:
        """Number of words."""
        return text.count(" ") + 1


def documents(passages: int) -> list[Document]:
    """Documents with this many passages together."""
    chance = np.random.default_rng(0)
    drawn = (chance.zipf(1.2, size=passages * WORDS_PER_PASSAGE) - 1) % VOCABULARY
    words = np.array([f"w{number}x" for number in range(VOCABULARY)])[drawn].reshape(passages, WORDS_PER_PASSAGE)
    texts = [" ".join(row) + "." for row in words]
    return [
        Document(id=f"{first:09}.txt", text="\n\n".join(texts[first : first + PER_DOCUMENT]))
        for first in range(0, passages, PER_DOCUMENT)
    ]


def questions(count: int) -> list[str]:
    """Questions of six words, among them frequent and rare ones."""
    chance = np.random.default_rng(1)
    return [" ".join(f"w{int(word)}x" for word in (chance.zipf(1.2, size=6) - 1) % VOCABULARY) for _ in range(count)]


def main() -> None:
    """Build both sides in a temporary folder, time them, and print a line for each mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--questions", type=int, default=100)
    options = parser.parse_args()
    embedder = RandomEmbedder()
    chunking = ChunkingConfig(max_tokens=WORDS_PER_PASSAGE + 8)
    with tempfile.TemporaryDirectory() as folder:
        made = documents(options.passages)
        one = Index.build(made, Path(folder, "one"), embedder=embedder, chunking=chunking, kind="flat", progress=False)
        paths = [Path(folder, f"shard{number}") for number in range(options.shards)]
        for number, path in enumerate(paths):
            part = made[number :: options.shards]
            Index.build(part, path, embedder=embedder, chunking=chunking, kind="flat", progress=False)
        start = time.perf_counter()
        add_shards(Path(folder, "all"), paths)
        print(f"{len(one):,} passages; adding {options.shards} shards took {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        many = Index.load(Path(folder, "all"), embedder=embedder)
        print(f"opening the shards took {time.perf_counter() - start:.1f} s")
        for mode in ("dense", "bm25", "blend"):
            compare(one, many, mode, questions(options.questions))


def compare(one: Index, many: Index, mode: RetrievalMode, asked: Sequence[str]) -> None:
    """Print the median times of both sides and the median of their ratios."""
    sides = [index.as_retriever(k=3, mode=mode) for index in (one, many)]
    for side in sides:
        side.retrieve(asked[0])
    times: tuple[list[float], list[float]] = ([], [])
    for turn, question in enumerate(asked):
        found = {}
        for side in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            found[side] = sides[side].retrieve(question)
            times[side].append(1000 * (time.perf_counter() - start))
        assert found[0] == found[1], question
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    p50 = [statistics.median(side) for side in times]
    p95 = [sorted(side)[int(0.95 * len(side))] for side in times]
    print(
        f"{mode:6} p50 {p50[0]:.1f} ms for one index, {p50[1]:.1f} ms for the shards (x{ratio:.2f});"
        f" p95 {p95[0]:.1f} and {p95[1]:.1f} ms; same results"
    )


if __name__ == "__main__":
    main()
