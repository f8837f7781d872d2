"""Hostile files, each in a folder beside good ones: does the build end, name the file, and take in the others?

    python benchmarks/attacks/files.py --seconds 10 --memory 1000

makes the files of `hostile.py` (all, or those whose name holds `--only`), builds an index of each folder with an
embedder that is a hash, and prints for each what came of it, the seconds, and the most memory of this process and of
the one that reads. Held: the build ended within `--bound` seconds, the good files are in the index, the hostile one is
named or was read, and no process is left. In the end all of them stand in one folder.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import threading
import time
from pathlib import Path

import hostile_text  # noqa: F401  # puts its files into MAKERS
import psutil
from hostile import MAKERS
from table import Tally, show

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from fakes import HashingEmbedder

from rag_ft.errors import CorpusError
from rag_ft.indexing.formats import ReadLimits
from rag_ft.indexing.index import Index
from rag_ft.indexing.storage.manifest import BuildReport

GOOD = {"before.txt": "A good text.", "z-after.md": "# Good\n\nAnother good text.\n"}


class Peaks:
    """The most memory that this process and its children hold while a block runs, looked at every 20 ms."""

    def __enter__(self) -> Peaks:
        self.own = self.children = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        process = psutil.Process()
        while not self._done.wait(0.02):
            self.own = max(self.own, process.memory_info().rss)
            try:
                self.children = max([self.children, *(one.memory_info().rss for one in process.children())])
            except psutil.Error:
                continue


def build(folder: Path, limits: ReadLimits) -> tuple[Index, BuildReport, float]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        index = Index.build(
            folder, Path(made) / "i", embedder=HashingEmbedder(), limits=limits, source_code=True, progress=False
        )
        seconds = time.monotonic() - started
        assert index.build_report is not None
        return index, index.build_report, seconds


def attack(name: str, limits: ReadLimits, bound: float, tally: Tally) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for good, text in GOOD.items():
            (folder / good).write_text(text)
        MAKERS[name](folder / name)
        gc.collect()
        try:
            with Peaks() as peaks:
                index, report, seconds = build(folder, limits)
        except (CorpusError, MemoryError) as error:
            tally.failed(f"{name}: {error}")
            return
    taken = set(index.documents())
    reasons = [failure.reason for failure in report.failures if name in failure.source]
    skipped = [skip.reason for skip in report.skipped if name in skip.source]
    outcome = "; ".join(sorted({*reasons, *skipped})) or ("read" if any(name in one for one in taken) else "LOST")
    print(
        f"{name:<52} {seconds:6.1f} s  {peaks.own / 1e6:6.0f} MB  {peaks.children / 1e6:6.0f} MB  {outcome[:110]}",
        flush=True,
    )
    problems = [good for good in GOOD if good not in taken]
    problems += [f"{seconds:.1f} s"] * (seconds > bound) + ["not named"] * (outcome == "LOST")
    problems += ["a process is left"] * bool(psutil.Process().children())
    if problems:
        tally.failed(f"{name}: {', '.join(problems)}")
    else:
        tally.held()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="limit for one file")
    parser.add_argument("--memory", type=int, default=1_000, help="limit for one file, in megabytes")
    parser.add_argument("--max-chars", type=int, default=5_000_000, help="limit for one document")
    parser.add_argument("--bound", type=float, default=60.0, help="seconds in which a build must end")
    parser.add_argument("--only", default="", help="files whose name holds this")
    parser.add_argument("--together", action="store_true", help="also all in one folder")
    given = parser.parse_args()
    limits = ReadLimits(seconds=given.seconds, memory_bytes=given.memory * 1_000_000, max_chars=given.max_chars)
    names = [name for name in MAKERS if given.only in name]
    tallies = {suffix: Tally(f"hostile {suffix}") for suffix in dict.fromkeys(Path(name).suffix for name in names)}
    print(f"{'file':<52} {'time':>8}  {'parent':>9}  {'reader':>9}  what came of it")
    for name in names:
        attack(name, limits, given.bound, tallies[Path(name).suffix])
    if given.together:
        tallies["all"] = tally = Tally("all in one folder")
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            for good, text in GOOD.items():
                (folder / good).write_text(text)
            for name in names:
                MAKERS[name](folder / name)
            index, report, seconds = build(folder, limits)
        print(f"{'all together':<52} {seconds:6.1f} s  {len(report.failures)} failures")
        if set(GOOD) <= set(index.documents()):
            tally.held()
        else:
            tally.failed("a good file is not in the index")
    return show(list(tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
