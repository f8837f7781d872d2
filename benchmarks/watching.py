"""Seconds from saving a file in a watched folder until a search finds it, and seconds of the build within them.

    python benchmarks/watching.py --more 2000

The folder holds the handbook and `--more` notes of 40 words; the embedder is the packaged one.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

from rag_ft import Index
from rag_ft.environment import handbook_path
from rag_ft.errors import RagFtError
from rag_ft.indexing.embedding import load_embedder
from rag_ft.indexing.watching.watcher import Watcher

WORDS = "the harbour has many cranes and each of them lifts a load of tons when the wind allows it at noon".split()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--more", type=int, default=0)
    parser.add_argument("--saves", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        print(measured(Path(work), arguments.more, arguments.saves))


def measured(work: Path, more: int, saves: int) -> str:
    folder, path = work / "docs", work / "index"
    shutil.copytree(handbook_path(), folder)
    chance = random.Random(1)
    for i in range(more):
        (folder / f"note-{i}.md").write_text(f"# Note {i}\n\n{' '.join(chance.choices(WORDS, k=40))}.\n")
    embedder = load_embedder("default")
    builds: list[float] = []

    def build(known):
        return Index.build(folder, path, embedder=embedder, progress=False, known_files=known).build_report

    watcher = Watcher(folder, path, build, on_build=lambda report: builds.append(report.seconds))
    thread = threading.Thread(target=watcher.run)
    thread.start()
    while not builds:
        time.sleep(0.05)
    times = []
    for i in range(saves):
        started = time.perf_counter()
        (folder / "new.md").write_text(f"# Zebras\n\nZebra number {i} eats {i} apples.\n")
        while not is_found(path, embedder, f"Zebra number {i} "):
            time.sleep(0.02)
        times.append(time.perf_counter() - started)
    watcher.stop()
    thread.join()
    return (
        f"{len(list(folder.rglob('*.md')))} documents: found {statistics.median(times):.1f} s after saving (median of"
        f" {saves}, longest {max(times):.1f} s); a build took {statistics.median(builds[1:]):.1f} s, the first"
        f" {builds[0]:.1f} s"
    )


def is_found(path: Path, embedder, text: str) -> bool:
    try:
        index = Index.load(path, embedder=embedder, verify="none")
        return any(text in hit.passage.text for hit in index.search(text, 3))
    except RagFtError:  # replaced in this moment
        return False


if __name__ == "__main__":
    main()
