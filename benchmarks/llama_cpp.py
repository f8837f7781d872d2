"""Seconds until a question is read, without retrieval: this reader, beside llama.cpp and transformers' `generate`.

    python -m venv llama
    CMAKE_ARGS=-DGGML_NATIVE=ON llama/bin/pip install --no-binary llama-cpp-python llama-cpp-python
    OMP_NUM_THREADS=1 python benchmarks/llama_cpp.py llama/bin/python [--questions 12] [--rounds 2] [--processor-time]

llama.cpp is compiled for this processor, in an environment of its own. It reads the packaged reader, merged and in
Q8_0, as `rag-ft adapter export` writes it; transformers reads the merged one in the type that is fast here. Both get
the prompt that this reader gives a model when it reads three passages jointly, and write its JSON greedily, up to the
same number of tokens; llama.cpp also under a grammar of that JSON. Warm means that the passages were read before, with
another question: llama.cpp then keeps all of its prompt up to the question. All sides take turns, question by question.
`--processor-time`: the time of each side's process alone, where others use the machine. OMP_NUM_THREADS is the number
of threads for all sides.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rag_ft.adapters.export import export_adapter
from rag_ft.adapters.merge import merge_adapter
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.benchmarking.asking import MOST_TOKENS, generate
from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.indexing.index import Index
from rag_ft.models.loading import load_model
from rag_ft.questions.records import read_questions
from rag_ft.text.asking import asks_for_sentences
from rag_ft.training.scoring import retrieved_requests

ANOTHER = "Which token ends a turn?"
"""What passages are read for first: a question of facts, which the model reads, and not the cross-encoder."""

GRAMMAR = r"""
root ::= "{\"answer\": " (null | some) "}"
null ::= "null, \"citations\": []"
some ::= "\"" [^"\\\x00-\x1f]+ "\", \"citations\": [" [1-3] (", " [1-3])* "]"
"""
"""The JSON of a completion, with any words: llama.cpp has no grammar of a passage's spans."""

LLAMA = """
import json, sys, time
from llama_cpp import Llama, LlamaGrammar
model, threads, grammar = sys.argv[1], int(sys.argv[2]), sys.argv[3]
llama = Llama(model, n_ctx=2048, n_threads=threads, n_threads_batch=threads, n_batch=512, verbose=False)
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    work = json.loads(line)
    llama.reset()
    llama.eval(work["ids"][: work["known"]])
    compiled = LlamaGrammar.from_string(grammar, verbose=False) if work["grammar"] else None
    start, spent = time.perf_counter(), time.process_time()
    written = []
    for token in llama.generate(work["ids"], temp=0.0, repeat_penalty=1.0, grammar=compiled):
        if token == work["end"] or len(written) == work["most"]:
            break
        written.append(token)
    took = [time.perf_counter() - start, time.process_time() - spent]
    print(json.dumps({"took": took, "ids": written}), flush=True)
"""


class LlamaProcess:
    """llama.cpp in the other environment: a line of JSON in, a line of JSON out."""

    def __init__(self, python: Path, model: Path, threads: int) -> None:
        command = [str(python), "-c", LLAMA, str(model), str(threads), GRAMMAR]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reply()

    def read(self, work: dict[str, Any]) -> dict[str, Any]:
        """What it wrote to a prompt, and the seconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(work) + "\n")
        self._process.stdin.flush()
        return dict(self._reply())

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"llama.cpp's process ended with {self._process.wait()}")
        return json.loads(line)


class Sides:
    """Everything that reads the same questions."""

    def __init__(self, python: Path, folder: Path, probe: ReadRequest, clock: int) -> None:
        """`probe`: measures the merge. `clock`: 0 for seconds on the wall, 1 for seconds of the processor."""
        self._clock = clock
        self.cold, self.warm = Reader.from_pretrained(passage_cache_mb=0), Reader.from_pretrained()
        self.threads = self.cold.loaded.plan.threads
        merged = merge_adapter("packaged", folder / "merged", probes=[probe])
        export_adapter(merged.path, folder / "reader.gguf", format="gguf-q8_0")
        self._merged = load_model(str(merged.path))
        self._llama = LlamaProcess(python, folder / "reader.gguf", self.threads)

    def seconds(self) -> dict[str, Callable[[ReadRequest], float]]:
        """Name → what reads a question and returns its seconds."""
        return {
            "ours, passages new": lambda request: self._timed(lambda: self.cold.read_batch([request])),
            "ours, passages read before": self._ours_warm,
            "transformers, merged": lambda request: self._timed(
                lambda: generate(self._merged, self._prompt(request).ids, MOST_TOKENS)
            ),
            "llama.cpp Q8_0": lambda request: self._llama_cpp(request, warm=False, grammar=False),
            "llama.cpp Q8_0, grammar": lambda request: self._llama_cpp(request, warm=False, grammar=True),
            "llama.cpp Q8_0, passages read before": lambda request: self._llama_cpp(request, warm=True, grammar=False),
        }

    def _timed(self, work: Callable[[], object]) -> float:
        clocks = (time.perf_counter, time.process_time)
        start = clocks[self._clock]()
        work()
        return clocks[self._clock]() - start

    def _ours_warm(self, request: ReadRequest) -> float:
        self.warm.read_batch([request._replace(question=ANOTHER)])
        return self._timed(lambda: self.warm.read_batch([request]))

    def _prompt(self, request: ReadRequest) -> Any:
        return self.cold.prompts.build(request.question, request.passages, self.cold.budget)

    def _llama_cpp(self, request: ReadRequest, *, warm: bool, grammar: bool) -> float:
        prompt = self._prompt(request)
        known = len(prompt.head) + (len(prompt.context) if warm else 0)  # this reader keeps its head, too
        work = {"ids": prompt.ids, "known": known, "grammar": grammar, "most": MOST_TOKENS}
        work["end"] = self.cold.prompts.end_of_turn_id
        return float(self._llama.read(work)["took"][self._clock])


def measured(sides: Sides, requests: Sequence[ReadRequest], rounds: int) -> dict[str, list[list[float]]]:
    """Side → round → seconds of each question."""
    ways = sides.seconds()
    for way in ways.values():
        way(requests[0])  # what is made once is made now
    taken: dict[str, list[list[float]]] = {name: [[] for _ in range(rounds)] for name in ways}
    order = list(ways)
    for turn in range(rounds):
        for request in requests:
            order.append(order.pop(0))
            for name in order:
                taken[name][turn].append(ways[name](request))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path, help="of the environment with llama-cpp-python")
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    asked = [
        one.question
        for one in read_questions(handbook_questions_path())
        if one.answerable and not asks_for_sentences(one.question)  # those are the cross-encoder's
    ]
    asked = random.Random(0).sample(asked, given.questions)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder) / "index", progress=False)
        requests = retrieved_requests(asked, index, k=3)
        sides = Sides(given.python, Path(folder), requests[0], int(given.processor_time))
        taken = measured(sides, requests, given.rounds)
    print(f"{sides.cold.loaded.plan.line}, {len(requests)} questions, {given.rounds} rounds, {os.cpu_count()} cores")
    print(f"{'':40}{'p50, s':>8}{'to ours new':>24}{'to ours read before':>24}")
    ours = [[statistics.median(one) for one in taken[name]] for name in list(taken)[:2]]
    for name, rounds in taken.items():
        medians = [statistics.median(one) for one in rounds]
        cells = [f"{statistics.median(medians):>8.2f}"]
        for mine in ours:
            ratios = [theirs / own for theirs, own in zip(medians, mine, strict=True)]
            middle = statistics.median(medians) / statistics.median(mine)
            cells.append(f"{middle:>10.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"{name:40}" + "".join(cells))


if __name__ == "__main__":
    main()
