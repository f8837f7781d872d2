"""Time of an index built on Ray with one and with two workers against `Index.build` in this process.

    OMP_NUM_THREADS=1 RAY_AUTH_TOKEN=x python benchmarks/cluster_build.py FOLDER --passages 2000 --workers 1 2

Wall time, and processor time of all processes: this one, those that read files for it, the cluster and its workers.
Each build is from nothing, `--rounds` times in turns in one run, the one without a cluster first. The ratios to it are
what counts, and on a machine with other work only those of processor times. A build on a cluster includes the start of
its workers, which load the libraries and the embedder; this process has loaded them before. All indexes must have the
same documents and passages, and the same results; how far vectors move (rounding, in other batches) is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.distributed.on_ray import RayBuild
from rag_ft.indexing.embedding import Embedder, load_embedder
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.store import IndexStore, open_generation


def write_files(source: str, wanted: int, folder: Path) -> None:
    """Texts of a source as files of about three passages each, until there are about so many passages."""
    folder.mkdir()
    characters = 0
    for number in range(100):
        for document in read_corpus(source):
            for start in range(0, len(document.text), 1_000):
                if characters > wanted * 350:
                    return
                piece = f"# Part {number}\n\n{document.text[start : start + 1_000]}\n"
                (folder / f"{characters:09d}.md").write_text(piece)
                characters += len(piece)


class ProcessorTime:
    """Processor seconds of this process and all below it, living and dead, by looking twice a second."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], float] = {}
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)
        self._looking.start()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            self.seconds()

    def seconds(self) -> float:
        """Seconds so far; a process that has ended counts as it was last seen."""
        mine = psutil.Process()
        for process in [mine, *mine.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = times.user + times.system
        return sum(self._seen.values())

    def end(self) -> None:
        self._ended.set()
        self._looking.join()


def vectors_of(path: Path) -> np.ndarray:
    generation = open_generation(IndexStore(path), verify="full")
    return np.array(generation.vectors.vectors)  # a copy: the memory of the original ends with the generation


def main() -> None:
    from ray_cluster import RayCluster

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--passages", type=int, default=2_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    embedder, used = load_embedder(), ProcessorTime()
    cluster = RayCluster(cpus=os.cpu_count() or 1)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_files(given.source, given.passages, folder / "docs")
            embedder.encode_passages(["warm"])
            for _ in range(given.rounds):
                shutil.rmtree(folder / "direct", ignore_errors=True)
                direct, base = build(folder, "direct", embedder, used, None)
                show("this process", direct, base, base)
                for workers in given.workers:
                    shutil.rmtree(folder / "index", ignore_errors=True)
                    engine = RayBuild(address=cluster.address, workers=workers)
                    index, taken = build(folder, "index", embedder, used, engine)
                    show(f"workers: {workers}", index, taken, base)
                    check_equal(folder, index, direct)
    finally:
        cluster.stop()
        used.end()


class Taken(NamedTuple):
    """Seconds that a build took."""

    wall: float
    processors: float


def build(
    folder: Path, name: str, embedder: Embedder, used: ProcessorTime, engine: RayBuild | None
) -> tuple[Index, Taken]:
    """An index of the files, and what it took."""
    started, before = time.perf_counter(), used.seconds()
    index = Index.build(folder / "docs", folder / name, embedder=embedder, progress=False, engine=engine)
    return index, Taken(time.perf_counter() - started, used.seconds() - before)


def show(way: str, index: Index, taken: Taken, base: Taken) -> None:
    row = {
        "way": way,
        "passages": len(index),
        "seconds": round(taken.wall, 1),
        "ratio": round(taken.wall / base.wall, 2),
        "processor seconds": round(taken.processors, 1),
        "ratio of these": round(taken.processors / base.processors, 2),
    }
    print(json.dumps(row), flush=True)


def check_equal(folder: Path, index: Index, direct: Index) -> None:
    assert index.fingerprint == direct.fingerprint and [*index.passages()] == [*direct.passages()]
    moved = np.abs(vectors_of(folder / "index") - vectors_of(folder / "direct")).max()
    questions = [passage.text[:80] for passage in [*direct.passages()][:: max(1, len(direct) // 50)]]
    same = sum(
        [hit.passage.id for hit in index.search(question)] == [hit.passage.id for hit in direct.search(question)]
        for question in questions
    )
    print(json.dumps({"vectors moved at most": float(moved), "equal searches": f"{same}/{len(questions)}"}))


if __name__ == "__main__":
    main()
