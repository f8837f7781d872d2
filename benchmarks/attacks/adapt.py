"""Kills and full disks against `adapt`, over all of its stages.

    TMPDIR=/dev/shm OMP_NUM_THREADS=1 python benchmarks/attacks/adapt.py [--count 14]

A small world of documents and records, the two-layer model of the tests, and a fixed speed in place of the probe, whose
figure differs from run to run. A killed run is called again, and must end with the records, the adapter and the verdict
of one that was not disturbed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(Path(__file__).parent)]

from runs import Attack, Target  # noqa: E402
from table import show  # noqa: E402


def make_target(scratch: Path) -> Target:
    """An adaptation from the index to the verdict page."""
    from adaptations import adapt_tiny, fixed_speed, results_of, tiny_world
    from tiny_llama import make_tiny_llama

    from rag_ft.adapting import plan

    plan.measure_speed = fixed_speed
    make_tiny_llama(scratch / "llama")
    documents, questions, start = tiny_world(scratch, scratch / "llama")

    def call(folder: Path) -> None:
        adapt_tiny(documents, folder / "out", scratch / "llama", start, questions=questions)

    def results(folder: Path) -> dict[str, Any]:
        return results_of(folder / "out")

    return Target("adapt", call, results=results)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        attack = Attack(make_target(Path(scratch)), Path(scratch), options.count, options.seed, slice(None))
        return show([*attack.kills(), attack.full_disks()])


if __name__ == "__main__":
    sys.exit(main())
