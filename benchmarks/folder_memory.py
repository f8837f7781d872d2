"""Memory of `rag-ft index build` over time, on a folder of many small files.

    python benchmarks/folder_memory.py --files 10000

Made Markdown files of one short passage each are built into an index by the command itself, with the default embedder.
The resident memory of the command, and of the process that reads its files, is sampled twice a second. Printed are
tenths of the files that were embedded, with the most memory of either process by then.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

WORDS = "crane rope hook winch load brake cabin signal lift chain motor mast weight stand check oil".split()


def write_files(folder: Path, files: int) -> None:
    """Write files of a heading and a paragraph, all different."""
    folder.mkdir()
    chance = random.Random(0)
    for number in range(files):
        words = " ".join(chance.choices(WORDS, k=12))
        (folder / f"{number:06}.md").write_text(f"# Note {number}\n\nThe {words}, {number} times.\n")


def resident(process: psutil.Process) -> list[float]:
    """Megabytes of a process, and of those that it started."""
    sizes = []
    for one in (process, *process.children(recursive=True)):
        try:
            sizes.append(one.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            continue
    return sizes


def main() -> None:
    """Build in a temporary folder, and print a line for each tenth of the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        source, target = Path(temporary, "files"), Path(temporary, "index")
        write_files(source, options.files)
        command = [sys.executable, "-m", "rag_ft", "index", "build", str(source), str(target)]
        started, samples = time.monotonic(), []
        building = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        process = psutil.Process(building.pid)
        while building.poll() is None:
            sizes = resident(process)
            blocks = sum(path.stat().st_size for path in target.glob(".journal/*/block-*.npy"))
            if sizes:
                samples.append((time.monotonic() - started, blocks / 1e6, sizes[0], max(sizes[1:], default=0.0)))
            time.sleep(0.5)
        assert building.returncode == 0, building.returncode
    print(f"{options.files:,} files in {samples[-1][0]:.0f} s")
    print("| share of the time | vectors written, MB | command, MB | reading process, MB |\n|---|---|---|---|")
    step = max(1, len(samples) // 10)
    for start in range(0, len(samples), step):
        part = samples[start : start + step]
        print(
            f"| {(start + len(part)) / len(samples):.0%} | {part[-1][1]:.1f} | {max(one[2] for one in part):.0f}"
            f" | {max(one[3] for one in part):.0f} |"
        )


if __name__ == "__main__":
    main()
