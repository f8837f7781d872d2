"""Time of `Index.build` against plain sentence-transformers `encode` of the same passages.

    python benchmarks/build_time.py FOLDER_OR_SQUAD_JSON --passages 600 --rounds 3 [--processor-time]

Both run in turn in one process, the order swapped every round, so that a busy machine slows both alike; the
ratio of the medians is what counts. Building chunks, hashes, indexes words and writes to disk beside the
embedding. `--processor-time`: that of this process, where others use the machine; reading files, which a worker
process does, is not in it. RAG_FT_EMBED_WITH=torch builds with torch.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sentence_transformers import SentenceTransformer

from rag_ft.indexing.chunking import ChunkingConfig, passage_text
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.embedding import Embedder, load_embedder
from rag_ft.indexing.index import Index
from rag_ft.models.weights import resolve_embedder
from rag_ft.schema import Document


def timed(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


def first_passages(
    documents: list[Document], wanted: int, embedder: Embedder, chunking: ChunkingConfig, folder: Path
) -> tuple[list[Document], Index]:
    """As many whole documents as give about the wanted number of passages, and their index."""
    taken: list[Document] = []
    characters = 0
    for document in documents:
        if taken and characters > wanted * 350:
            break
        taken.append(document)
        characters += len(document.text)
    return taken, Index.build(taken, folder / "sizing", embedder=embedder, chunking=chunking, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--passages", type=int, default=600, help="about how many passages to embed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=ChunkingConfig().max_tokens)
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    clock = time.process_time if given.processor_time else time.perf_counter

    plain = SentenceTransformer(str(resolve_embedder("default").path), local_files_only=True)
    embedder = load_embedder("default")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chunking = ChunkingConfig(max_tokens=given.max_tokens)
        documents, sized = first_passages(list(read_corpus(given.source)), given.passages, embedder, chunking, folder)
        texts = [passage_text(passage) for passage in sized.passages()]

        def build() -> None:
            shutil.rmtree(folder / "index", ignore_errors=True)
            Index.build(documents, folder / "index", embedder=embedder, chunking=chunking, progress=False)

        def encode() -> None:
            plain.encode(texts, show_progress_bar=False, normalize_embeddings=True)

        built: list[float] = []
        encoded: list[float] = []
        for turn in range(given.rounds):
            for work, seconds in ((build, built), (encode, encoded))[:: 1 if turn % 2 else -1]:
                seconds.append(timed(work, clock))
        again = timed(
            lambda: Index.build(documents, folder / "index", embedder=embedder, chunking=chunking, progress=False),
            clock,
        )
    ratio = statistics.median(built) / statistics.median(encoded)
    print(f"{len(documents)} documents, {len(texts)} passages, embedded by {embedder.plan.line}\n")
    print("| | seconds (median) | all rounds |")
    print("|---|---|---|")
    for label, seconds in (("Index.build", built), ("SentenceTransformer.encode", encoded)):
        print(f"| {label} | {statistics.median(seconds):.2f} | {', '.join(f'{one:.2f}' for one in seconds)} |")
    print(f"| Index.build again, nothing changed | {again:.2f} | |")
    print(f"\nratio {ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
