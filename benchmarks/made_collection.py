"""A made collection of any size: texts with topics, and an embedder whose vectors follow from their words.

A topic draws from words of its own, a document from a few more, and every passage from common words by Zipf's law. A
text's vector is the weighted sum of its words' random directions, rare words weighing more: passages of a document are
near each other, those of a topic less so, and a few words of a passage are near it, as with texts and questions of
people. Nothing is kept in memory but the words' directions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.schema import Document

DIMENSION = 384
WORDS_PER_PASSAGE = 60
PER_DOCUMENT = 10
"""Passages of a document."""
COMMON = 10_000
TOPIC_WORDS = 50_000
TOPICS = 1_000
CHUNKING = ChunkingConfig(max_tokens=WORDS_PER_PASSAGE + 8)
"""By which each paragraph of a document becomes a passage."""


class WordEmbedder:
    """Vectors that follow from words. Deterministic."""

    name = "words"
    fingerprint = hashlib.sha256(b"made words 1").hexdigest()
    dimension = DIMENSION
    max_tokens = 512

    def __init__(self) -> None:
        chance = np.random.default_rng(7)
        self._directions = chance.standard_normal((COMMON + TOPIC_WORDS, DIMENSION), dtype=np.float32)
        # By Zipf's law a common word's frequency falls with its rank; it weighs as its rarity does in BM25.
        ranks = np.minimum(np.arange(1, COMMON + TOPIC_WORDS + 1), COMMON)
        self._directions *= (np.log(1 + ranks) / np.log(1 + COMMON)).astype(np.float32)[:, None]

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts of `word`, normalised."""
        vectors = np.empty((len(texts), DIMENSION), dtype=np.float32)
        for row, text in enumerate(texts):
            numbers = [int(word.strip("wx.")) for word in text.split()]
            self._directions[numbers].sum(axis=0, out=vectors[row])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts of `word`, normalised."""
        return self.encode_query(texts)

    def count_tokens(self, text: str) -> int:
        """Number of words."""
        return text.count(" ") + 1


def word(number: int) -> str:
    """A word that stemming leaves as it is."""
    return f"w{number}x"


def documents(first: int, count: int, *, passages: int = PER_DOCUMENT, name: str = "{:09}.txt") -> Iterator[Document]:
    """Documents with these numbers, made one by one; each number always gives the same text.

    `passages`: of each. `name`: a document's id from its number.
    """
    for number in range(first, first + count):
        chance = np.random.default_rng([11, number])
        topic = np.random.default_rng([12, number % TOPICS]).integers(COMMON, COMMON + TOPIC_WORDS, size=150)
        own = chance.integers(COMMON, COMMON + TOPIC_WORDS, size=12)
        paragraphs = []
        for _ in range(passages):
            common = (chance.zipf(1.2, size=24) - 1) % COMMON
            topical = topic[(chance.zipf(1.3, size=24) - 1) % len(topic)]
            drawn = chance.permutation(np.concatenate([common, topical, chance.choice(own, size=12)]))
            paragraphs.append(" ".join(map(word, drawn.tolist())) + ".")
        yield Document(id=name.format(number), text="\n\n".join(paragraphs))


def questions(documents: Sequence[Document], count: int) -> list[str]:
    """Questions of eight words of a passage each, in any order."""
    chance = np.random.default_rng(13)
    asked = []
    for number in range(count):
        passages = documents[number % len(documents)].text.split("\n\n")
        words = passages[int(chance.integers(len(passages)))].rstrip(".").split()
        asked.append(" ".join(chance.choice(words, size=8, replace=False)))
    return asked
