"""What a new process takes to embed its first text: seconds and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rag_ft.benchmarking.comparison import Comparison, compared
from rag_ft.errors import RagFtError

if TYPE_CHECKING:
    from rag_ft.models.weights import Weights

PLAIN_START = "a process with SentenceTransformer(...).encode"

_MEASURED = """
import json, sys, time
import psutil
start = time.perf_counter()
{load}
embed(["what?"])
took = time.perf_counter() - start
embed(["The guard locks the server room at night. " * 12] * 64)
print(json.dumps([took, psutil.Process().memory_info().rss / 1e6]))
"""
_OURS = """
from rag_ft.indexing.embedding import load_embedder
embed = load_embedder(sys.argv[1], device="cpu").encode_passages
"""
_PLAIN = """
from sentence_transformers import SentenceTransformer
embed = SentenceTransformer(sys.argv[1], device="cpu", local_files_only=True).encode
"""


def start_and_memory(weights: Weights, name: str, rounds: int) -> Iterator[Comparison]:
    """Seconds to the first vector, and memory after 64 passages. Raises RagFtError if a process fails."""
    ours, plain = [], []
    for _ in range(rounds):
        ours.append(_measured(_OURS, name))
        plain.append(_measured(_PLAIN, str(weights.path)))
    for column, what, unit in ((0, "new process to its first vector", "s"), (1, "memory with 64 passages", "MB")):
        yield compared(what, unit, [one[column] for one in ours], [one[column] for one in plain], PLAIN_START)


def _measured(load: str, name: str) -> list[float]:
    command = [sys.executable, "-c", _MEASURED.format(load=load), name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RagFtError(f"a process that embeds one text ended with {done.returncode} ({reason}): run it with --debug")
    return [float(value) for value in json.loads(done.stdout.splitlines()[-1])]
