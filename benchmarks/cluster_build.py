"""Time of an index built on Ray with one and with two workers against `Index.build` in this process.

    OMP_NUM_THREADS=1 RAY_AUTH_TOKEN=x python benchmarks/cluster_build.py FOLDER --passages 2000 --workers 1 2

Wall time, and processor time of this process; each build from nothing, in turn in one run. The ratio of wall times to
this process is what counts. The first build on a cluster also starts Python on its workers, so it is made twice, and
both are shown. All indexes must have the same documents and passages, vectors within 1e-5, and the same results.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from rag_ft.indexing.ahead.on_ray import RayBuild
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.embedding import load_embedder
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


def vectors_of(path: Path) -> np.ndarray:
    return open_generation(IndexStore(path), verify="full").vectors.vectors


def main() -> None:
    from ray_cluster import RayCluster

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--passages", type=int, default=2_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    embedder = load_embedder()
    cluster = RayCluster(cpus=os.cpu_count() or 1)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_files(given.source, given.passages, folder / "docs")
            embedder.encode_passages(["warm"])
            ways: list[tuple[str, int]] = [("this process", 0)]
            ways += [
                (f"{workers} workers, {which}", workers) for which in ("first", "second") for workers in given.workers
            ]
            base = 0.0
            for way, workers in ways:
                shutil.rmtree(folder / "index", ignore_errors=True)
                engine = RayBuild(address=cluster.address, workers=workers) if workers else None
                started, used = time.perf_counter(), time.process_time()
                index = Index.build(folder / "docs", folder / "index", embedder=embedder, progress=False, engine=engine)
                seconds = time.perf_counter() - started
                base = base or seconds
                row = {
                    "way": way,
                    "passages": len(index),
                    "seconds": round(seconds, 1),
                    "ratio": round(seconds / base, 2),
                    "this process, processor seconds": round(time.process_time() - used, 1),
                }
                print(json.dumps(row), flush=True)
                if not workers:
                    shutil.move(folder / "index", folder / "direct")
                    direct = Index.load(folder / "direct", embedder=embedder)
                    continue
                assert index.fingerprint == direct.fingerprint and [*index.passages()] == [*direct.passages()]
                moved = np.abs(vectors_of(folder / "index") - vectors_of(folder / "direct")).max()
                questions = [passage.text[:80] for passage in [*direct.passages()][:: max(1, len(direct) // 50)]]
                same = sum(
                    [hit.passage.id for hit in index.search(question)]
                    == [hit.passage.id for hit in direct.search(question)]
                    for question in questions
                )
                print(json.dumps({"vectors moved at most": float(moved), "equal searches": f"{same}/{len(questions)}"}))
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
