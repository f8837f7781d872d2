"""Changed files for each parser, for as long as there is time: does one end the process that reads it?

    python benchmarks/attacks/fuzz.py --minutes 60 --parser docx

What fails is kept in `tests/indexing/formats/corpus/`, where a test reads it again. Held: documents within the limits,
or a reason in words. Failed: a crash, more time or memory than allowed, text or offsets that are not those of the file.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from pathlib import Path

from table import Tally, show

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from indexing.formats.fuzzing import CORPUS, KINDS, LIMITS, PARSERS, Change, changed, read

from rag_ft.indexing.parsing.worker import Worker, WorkerFailed


def fuzz(parser: str, seconds: float, count: int, seed: int, corpus: Path) -> Tally:
    """Try changed files of a parser until the time or the count is over."""
    tally = Tally(f"fuzz {parser}")
    draw = random.Random(f"{seed}-{parser}")
    deadline = time.monotonic() + seconds
    with Worker(LIMITS) as worker:
        for number in range(count):
            if time.monotonic() > deadline:
                break
            changes = [
                Change(*(draw.randrange(most) for most in (KINDS * 29, 2**16, 2**16, 2**16)))
                for _ in range(draw.randrange(1, 9))
            ]
            data = changed(parser, draw.randrange(4), changes)
            try:
                read(worker, parser, data)
            except (WorkerFailed, AssertionError) as error:
                corpus.mkdir(parents=True, exist_ok=True)
                path = corpus / f"{hashlib.sha256(data).hexdigest()[:12]}.{parser}"
                path.write_bytes(data)
                tally.failed(f"example {number}, kept as {path.name}: {error!s:.200}")
            else:
                tally.held()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="for all parsers together")
    parser.add_argument("--count", type=int, default=10**9, help="most examples of a parser")
    parser.add_argument("--parser", choices=PARSERS, help="this one alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="where to keep what fails")
    given = parser.parse_args()
    parsers = [given.parser] if given.parser else [*PARSERS]
    share = given.minutes * 60 / len(parsers)
    return show([fuzz(name, share, given.count, given.seed, given.corpus) for name in parsers])


if __name__ == "__main__":
    sys.exit(main())
