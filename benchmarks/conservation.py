"""What reading loses, by format: the words of every file beside the words of its text.

    python benchmarks/conservation.py FOLDER... --worst 5

reads folders as `rag-ft index build` does, without embedding, and prints a Markdown table: documents, words that the
sources show, words lost, words glued, parts missing, and the megabytes read per second. Then it names the documents
that lose most.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.sources.events import CorpusFailure, ReadDocument


@dataclass
class Total:
    """Sums over the documents of one format."""

    documents: int = 0
    words: int = 0
    lost: int = 0
    glued: int = 0
    moved: int = 0
    parts: int = 0
    unchecked: int = 0
    failures: int = 0
    bytes: int = 0
    seconds: float = 0.0
    worst: list[tuple[int, str, Conservation]] = field(default_factory=list)

    def add(self, name: str, conservation: Conservation | None) -> None:
        self.documents += 1
        if conservation is None:
            self.unchecked += 1
            return
        self.words += conservation.words
        self.lost += conservation.lost
        self.glued += conservation.glued
        self.moved += conservation.moved
        parts = len(conservation.pages_without_text) + len(conservation.missing_parts)
        self.parts += parts
        if not conservation.complete:
            self.worst.append((conservation.lost + conservation.glued + parts, name, conservation))


def read(folder: Path, totals: dict[str, Total]) -> None:
    """Add a folder's documents to the totals of their formats."""
    with closing(read_corpus(folder).events()) as events:
        since = time.perf_counter()
        for event in events:
            now = time.perf_counter()
            if isinstance(event, ReadDocument):
                total = totals[Path(event.file).suffix.lower() or "(none)"]
                total.add(f"{folder.name}/{event.document.id}", event.conservation)
                if event.path is not None and event.document.id == event.file:
                    total.bytes += event.path.stat().st_size
                total.seconds += now - since
            elif isinstance(event, CorpusFailure):
                totals[Path(event.file).suffix.lower() or "(none)"].failures += 1
                print(f"not read: {event.source}: {event.reason}", file=sys.stderr)
            since = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--worst", type=int, default=5, metavar="N", help="documents to name per format")
    given = parser.parse_args()
    totals: dict[str, Total] = defaultdict(Total)
    for folder in given.folders:
        read(folder, totals)
    print("| format | documents | words | lost | glued | moved | parts missing | not checked | not read | MB/s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for suffix, total in sorted(totals.items()):
        rate = f"{total.bytes / 1e6 / total.seconds:.2f}" if total.bytes and total.seconds else "–"
        print(
            f"| {suffix} | {total.documents:,} | {total.words:,} | {total.lost:,} | {total.glued:,} | {total.moved:,} |"
            f" {total.parts:,} | {total.unchecked:,} | {total.failures:,} | {rate} |"
        )
    for suffix, total in sorted(totals.items()):
        for _, name, conservation in sorted(total.worst, key=lambda entry: -entry[0])[: given.worst]:
            print(f"\n{suffix} {name}: {conservation.in_words()}")


if __name__ == "__main__":
    main()
