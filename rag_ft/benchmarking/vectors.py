"""Embedding and searching, beside plain sentence-transformers and FAISS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rag_ft.benchmarking.comparison import Comparison, compared, in_turns, percentile

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index
    from rag_ft.indexing.sentence_embedding import WindowedEmbedder
    from rag_ft.models.weights import Weights

PLAIN_ENCODE = "SentenceTransformer.encode of the same passages"
PLAIN_SEARCH = "SentenceTransformer.encode of the question, faiss.IndexFlatIP.search of the same vectors"


def plain_embedder(weights: Weights, device: str) -> Any:
    """The embedder as sentence-transformers loads it."""
    from rag_ft.progress import quiet_transformers

    with quiet_transformers():
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(str(weights.path), device=device, local_files_only=True)


def embedding_speed(embedder: WindowedEmbedder, plain: Any, texts: Sequence[str], rounds: int) -> Comparison:
    """Seconds to embed some passages."""

    def peer() -> None:
        plain.encode(list(texts), show_progress_bar=False, normalize_embeddings=True)

    embedder.encode_passages(texts[:8])
    plain.encode(list(texts[:8]), show_progress_bar=False)
    seconds = in_turns(lambda: embedder.encode_passages(texts), peer, rounds)
    return compared(f"embed {len(texts)} passages", "s", *seconds, PLAIN_ENCODE)


def search_speed(index: Index, plain: Any, questions: Sequence[str], rounds: int) -> Iterator[Comparison]:
    """Milliseconds of a search by vectors and words: the median question, and the slow ones."""
    import faiss
    import numpy as np

    texts = [passage.text for passage in index.passages()]
    vectors = index.embedder.encode_passages(texts)
    flat = faiss.IndexFlatIP(index.manifest.embedder.dimension)
    flat.add(np.ascontiguousarray(vectors))

    def peer(question: str) -> None:
        flat.search(plain.encode([question], show_progress_bar=False, normalize_embeddings=True), 3)

    for question in questions[:2]:
        index.search(question)
        peer(question)
    taken = [in_turns(partial(index.search, question), partial(peer, question), rounds) for question in questions]
    for percent in (50, 95):
        ours = [1000 * percentile([one.ours[turn] for one in taken], percent) for turn in range(rounds)]
        theirs = [1000 * percentile([one.peer[turn] for one in taken], percent) for turn in range(rounds)]
        yield compared(f"search {len(texts)} passages, p{percent}", "ms", ours, theirs, PLAIN_SEARCH)
