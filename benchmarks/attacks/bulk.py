"""Kills and full disks against `answer_questions`, and kills of workers on a Ray cluster.

    TMPDIR=/dev/shm OMP_NUM_THREADS=1 python benchmarks/attacks/bulk.py [--count 20] [--workers 0]

The reader follows a script: no model is asked. A killed run is called again, and must leave the file of answers of a
run that was not disturbed, and nothing else. With `--workers N`, a cluster of two processors is started, and N of its
workers are killed in one run: no question may be lost or twice, and no more than a block for each kill read again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(Path(__file__).parent)]

from runs import Attack, Target  # noqa: E402
from table import Tally, show  # noqa: E402

BLOCK = 6


def make_questions(path: Path, count: int) -> None:
    """Questions, a few of which cannot be asked."""
    lines = [{"id": f"q{i}", "question": f"What is rule {i} of topic {i % 7}?"} for i in range(count)]
    for i in range(0, count, 17):
        lines[i]["question"] = " "
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_target(scratch: Path, ending: str) -> Target:
    """Sixty questions answered in blocks, without a clock."""
    from scripted_reader import scripted_pipeline

    from rag_ft.answering.bulk.run import answer_questions

    def call(folder: Path) -> None:
        time.perf_counter = lambda: 0.0  # answers say how long they took
        answer_questions(
            scratch / "questions.jsonl", folder / f"a{ending}", scripted_pipeline(scratch / "index", 0.02), block=BLOCK
        )

    def prepare(folder: Path) -> None:
        (folder / "kept").write_text("another file")

    def call_or_done(folder: Path) -> None:
        if not (folder / f"a{ending}").exists():  # where the kill came after the answers were whole
            call(folder)
        elif (folder / f"a{ending}.partial").exists():
            (folder / f"a{ending}").unlink()
            call(folder)

    return Target(f"answers{ending}", call_or_done, prepare)


def killed_workers(scratch: Path, kills: int, seed: int) -> Tally:
    """Kills of workers while a cluster answers."""
    from ray_cluster import RayCluster
    from scripted_reader import scripted_loader

    from rag_ft.answering.bulk.on_ray import RayEngine
    from rag_ft.answering.bulk.run import answer_questions

    tally, chance, log = Tally("workers killed"), random.Random(seed), scratch / "log.txt"
    count = 60 * kills
    make_questions(scratch / "many.jsonl", count)
    killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        while len(killed) < kills and not done.wait(chance.uniform(1, 4)):
            readers = (
                [int(line.partition(" ")[0]) for line in log.read_text().splitlines()[-20:]] if log.exists() else []
            )
            alive = sorted(set(readers) - set(killed))
            if alive:
                killed.append(chance.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    cluster = RayCluster(cpus=2)
    killer = threading.Thread(target=kill)
    try:
        killer.start()
        with RayEngine(scripted_loader(scratch / "index", 0.3, log), address=cluster.address) as engine:
            answer_questions(scratch / "many.jsonl", scratch / "many-answers.jsonl", engine, block=BLOCK)
    finally:
        done.set()
        killer.join()
        cluster.stop()
    ids = [json.loads(line)["id"] for line in (scratch / "many-answers.jsonl").read_text().splitlines()]
    read = Counter(line.partition(" ")[2] for line in log.read_text().splitlines())
    again = sum(read.values()) - len(read)
    print(f"{len(killed)} workers killed, {count} questions, {again} read again")
    for wrong, what in (
        (ids != [f"q{i}" for i in range(count)], "questions are lost or twice"),
        (again > BLOCK * len(killed), f"{again} questions were read again"),
        (len(killed) < kills, f"only {len(killed)} workers were killed"),
    ):
        tally.failed(what) if wrong else tally.held()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        from scripted_questions import build

        build(scratch / "index")
        make_questions(scratch / "questions.jsonl", 60)
        tallies = []
        for ending in (".jsonl", ".parquet"):
            attack = Attack(make_target(scratch, ending), scratch, options.count, options.seed, slice(None))
            tallies += [*attack.kills(), attack.full_disks()]
        if options.workers:
            tallies.append(killed_workers(scratch, options.workers, options.seed))
    return show(tallies)


if __name__ == "__main__":
    sys.exit(main())
