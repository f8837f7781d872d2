"""Kills over builds on a Ray cluster: of the building process, and of workers.

    TMPDIR=/dev/shm OMP_NUM_THREADS=1 RAY_AUTH_TOKEN=x python benchmarks/attacks/cluster_builds.py [--kills 5]

The embedder hashes words: no model is loaded. A build of 120 files in blocks of 6 with two workers is killed at random
and called again, and in another build as many workers are killed. Each must end as the index that this process builds
without an engine, byte for byte: nothing lost, nothing twice. What was embedded again is counted: for a killed worker
at most its block, for a killed builder at most two for each worker: the one in hand, and one that was on its way.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(Path(__file__).parent)]

from table import Tally, show  # noqa: E402

FILES, BLOCK, WORKERS = 120, 6, 2


def build(scratch: Path, name: str, address: str | None = None) -> dict[str, str]:
    """Build the index in a folder of that name; the checksums of its files."""
    from logging_embedder import LoggingEmbedder

    from rag_ft.indexing.distributed import blocks
    from rag_ft.indexing.distributed.on_ray import RayBuild
    from rag_ft.indexing.index import Index

    blocks.BLOCK_FILES = BLOCK
    engine = RayBuild(address=address, workers=WORKERS) if address is not None else None
    embedder = LoggingEmbedder(scratch / f"{name}.log", 0.5 if engine is not None else 0)
    index = Index.build(scratch / "docs", scratch / name, embedder=embedder, progress=False, engine=engine)
    return {file: entry.sha256 for file, entry in index.manifest.files.items()}


def embedded_again(log: Path) -> int:
    from logging_embedder import embedded

    texts = [text for _, text in embedded(log)]
    return len(texts) - len(set(texts))


def killed_builders(scratch: Path, address: str, kills: int, chance: random.Random, whole: dict[str, str]) -> Tally:
    """The building process killed while its workers embed, and called again."""
    from logging_embedder import embedded

    tally, log = Tally("builders killed"), scratch / "again.log"
    for _ in range(kills):
        before, wanted = len(embedded(log)), chance.randint(1, FILES // kills - BLOCK)
        command = [sys.executable, __file__, "--build", address, "--scratch", str(scratch)]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and len(embedded(log)) < before + wanted:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 1))
        child.kill()
        child.wait()
        looks_whole = (scratch / "again" / "manifest.json").exists() and child.returncode != 0
        tally.failed("an unfinished index looks whole") if looks_whole else tally.held()
    same = build(scratch, "again", address) == whole
    tally.held() if same else tally.failed("the index differs from one that was not disturbed")
    again, most = embedded_again(log), kills * WORKERS * 2 * BLOCK
    print(f"{kills} builders killed, {FILES} passages, {again} embedded again")
    tally.held() if again <= most else tally.failed(f"{again} passages were embedded again")
    return tally


def killed_workers(scratch: Path, address: str, kills: int, chance: random.Random, whole: dict[str, str]) -> Tally:
    """Workers killed while one build goes on."""
    from logging_embedder import embedded

    tally, log, killed, done = Tally("workers killed"), scratch / "workers.log", [], threading.Event()

    def kill() -> None:
        wanted = BLOCK
        while len(killed) < kills and not done.wait(chance.uniform(0.1, 0.6)):
            lines = embedded(log)
            alive = sorted({process for process, _ in lines[-2 * BLOCK :]} - set(killed))
            if alive and len(lines) >= wanted:
                wanted = len(lines) + 2 * BLOCK  # some blocks later: three deaths over one block end a build
                killed.append(chance.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    same = build(scratch, "workers", address) == whole
    done.set()
    killer.join()
    tally.held() if same else tally.failed("the index differs from one that was not disturbed")
    again = embedded_again(log)
    print(f"{len(killed)} workers killed, {FILES} passages, {again} embedded again")
    tally.held() if again <= BLOCK * len(killed) else tally.failed(f"{again} passages were embedded again")
    tally.held() if len(killed) == kills else tally.failed(f"only {len(killed)} workers were killed")
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--build", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.scratch, "again", options.build)
        return 0
    from ray_cluster import RayCluster

    with tempfile.TemporaryDirectory() as name:
        scratch, chance = Path(name), random.Random(options.seed)
        (scratch / "docs").mkdir()
        for i in range(FILES):
            (scratch / "docs" / f"d{i:03d}.md").write_text(f"# Rule {i}\n\nRule {i} says that thing {i} is kept.\n")
        whole = build(scratch, "direct")
        cluster = RayCluster(cpus=WORKERS)
        try:
            tallies = [
                killed_workers(scratch, cluster.address, options.kills, chance, whole),
                killed_builders(scratch, cluster.address, options.kills, chance, whole),
            ]
        finally:
            cluster.stop()
    return show(tallies)


if __name__ == "__main__":
    sys.exit(main())
