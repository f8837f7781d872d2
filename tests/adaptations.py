"""Adaptations of a small world with a tiny model, and what they give as bytes."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from data import bigger_world
from fakes import HashingEmbedder
from tiny_adapters import make_adapter

from rag_ft.adapting import plan
from rag_ft.adapting.adapt import adapt
from rag_ft.adapting.plan import Speed
from rag_ft.errors import DatasetError, UsageError
from rag_ft.questions.records import write_questions


class ScriptedMaker:
    """Stands for `make_questions`: keeps scripted records, and leaves the files that it leaves."""

    def __init__(self, records, rejected=()):
        self.records, self.rejected, self.calls, self.stops = list(records), list(rejected), 0, 0
        self.writers = []
        """`stops`: how many of the next calls are stopped half-way."""

    def __call__(self, index, count, output, *, source=None, writer=None, seed=0, on_progress=None):
        self.writers.append(writer)
        work = output.with_name(f"{output.name}.partial")
        rejected = output.with_name("made.rejected.jsonl")
        if not work.exists() and (output.exists() or rejected.exists()):
            raise UsageError(f"{output} or {rejected} already exists")
        self.calls += 1
        work.mkdir(exist_ok=True)
        (work / "run.json").write_text(json.dumps([count, seed]))
        if self.stops:
            self.stops -= 1
            raise KeyboardInterrupt
        rejected.write_text("".join(json.dumps(row) + "\n" for row in self.rejected))
        kept = [record.model_copy(update={"origin": "made"}) for record in self.records[:count]]
        if kept:
            write_questions(kept, output)
        shutil.rmtree(work)
        if not kept:
            raise DatasetError("no question was kept")


def fixed_speed(*_given):
    """Stands for the probe, whose figures differ from run to run."""
    return Speed(5000.0, 0.05)


def tiny_world(folder, llama):
    """Documents, a file of their records, and the adapter to start from."""
    documents, questions = bigger_world()
    write_questions(questions, folder / "qa.jsonl")
    start = folder / "start"
    if not start.exists():
        make_adapter(start, llama, 1)
    return documents, folder / "qa.jsonl", start


def adapt_tiny(documents, output, llama, start, **options):
    """Adapt the tiny model, with a hashing embedder."""
    given = {"reader": str(llama), "start_from": start, "embedder": HashingEmbedder(), "minutes": 1, **options}
    return adapt(documents, output, **given)


RESULTS = ("questions.jsonl", "held-out.jsonl", "adapter/adapter_model.safetensors", "verdict.json")


def results_of(output):
    """The content of the files that are results, by name."""
    return {name: (Path(output) / name).read_bytes() for name in RESULTS}


def adapt_until(folder, llama, part, count):
    """Adapt, and end this process without any clean-up at the n-th sign of a part."""
    plan.measure_speed = fixed_speed
    seen = 0

    def kill(progress):
        nonlocal seen
        seen += progress.stage == part
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

    documents, questions, start = tiny_world(folder, llama)
    adapt_tiny(documents, folder / "killed", llama, start, questions=questions, on_progress=kill)


if __name__ == "__main__":  # FOLDER LLAMA, then PART COUNT for each process: they are forked, so that all import once
    folder, llama, *kills = Path(sys.argv[1]), *sys.argv[2:]
    for part, count in zip(kills[::2], map(int, kills[1::2]), strict=True):
        child = os.fork()
        if not child:
            adapt_until(folder, llama, part, count)
            os._exit(1)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            sys.exit(f"the process that was to be killed in {part} ended by itself")
