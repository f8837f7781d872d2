"""Time to build an index of a folder with files read ahead while others are embedded, and one after another.

    python benchmarks/reading_ahead.py FOLDER [--ocr] [--rounds 3]

Both take turns in one process, by the clock; each round builds from nothing, and again when nothing has changed,
which reads every file and embeds none. The indexes must be equal. RAG_FT_EMBED_WITH=torch embeds with torch.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

from rag_ft.environment import usable_cores
from rag_ft.indexing import corpus
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.index import Index
from rag_ft.indexing.ocr.engine import OcrSettings
from rag_ft.indexing.sources.events import CorpusEvent
from rag_ft.indexing.sources.reader import CorpusFile, FileReader
from rag_ft.indexing.sources.reading_ahead import ReadersAhead


class OneAfterAnother:
    """Reads a file when its documents are asked for, as a build did before files were read ahead."""

    def __init__(self, new_reader: Callable[[], FileReader]) -> None:
        self._reader = new_reader()

    def __enter__(self) -> OneAfterAnother:
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.__exit__(None, None, None)

    def start(self, file: CorpusFile) -> Iterator[CorpusEvent]:
        yield from self._reader.events(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ocr", action="store_true", help="recognise the text of scanned pages")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    embedder = load_embedder("default")
    sides = {"read one after another": OneAfterAnother, "read ahead": ReadersAhead}
    seconds: dict[tuple[str, str], list[float]] = {}
    fingerprints, passages = set(), 0
    for turn in range(given.rounds):
        for name in [*sides][:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory() as target, patch.object(corpus, "ReadersAhead", sides[name]):
                for what in ("built", "built again, nothing changed"):
                    started = time.perf_counter()
                    index = Index.build(
                        given.folder,
                        target + "/index",
                        embedder=embedder,
                        ocr=OcrSettings() if given.ocr else None,
                        progress=False,
                    )
                    seconds.setdefault((what, name), []).append(time.perf_counter() - started)
                    fingerprints.add(index.fingerprint)
                    passages = len(index)
    if len(fingerprints) > 1:
        raise SystemExit("the indexes differ")
    print(f"{passages} passages, {usable_cores()} cores, {embedder.plan.line}\n")
    print("| | one after another, s | ahead, s | ratio (least to most of a round) |")
    print("|---|---|---|---|")
    for what in dict.fromkeys(what for what, _ in seconds):
        before, after = (seconds[what, name] for name in sides)
        ratios = [was / now for was, now in zip(before, after, strict=True)]
        ratio = statistics.median(before) / statistics.median(after)
        print(
            f"| {what} | {statistics.median(before):.1f} | {statistics.median(after):.1f}"
            f" | {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()
