"""Seconds a question takes to be read, without retrieval: prompts padded to one length, flat rows with every passage
searched to the end, flat rows through PEFT's own LoRA layers, flat rows that all processors share, flat rows with a
batch's questions side by side, and the same with passages that were read before; one question after another and in
batches of eight.

    python benchmarks/reading_speed.py [--questions 24]

The same questions of the bundled handbook, with their three passages, in every way; the ways take turns, so that all
see the same machine. The answers are compared: each way must give the same ones.
"""

import argparse
import contextlib
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from rag_ft.answering.decoding import batch as batching
from rag_ft.answering.decoding import quote, span_search
from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.models.loading import load_model
from rag_ft.models.weights import chosen_adapter
from rag_ft.questions.records import read_questions
from rag_ft.training.scoring import retrieved_requests

BATCHES = (1, 8)


@contextlib.contextmanager
def searching_all(wanted: bool):
    """While this lasts, if wanted, passages do not compete: each is searched until its own best span is proved."""
    if not wanted:
        yield
        return

    def apart(scorer, groups):
        return span_search.search_spans(scorer, [[search] for group in groups for search in group])

    quote.search_spans = apart
    try:
        yield
    finally:
        quote.search_spans = span_search.search_spans


@contextlib.contextmanager
def pefts_layers(reader: Reader, wanted: bool):
    """While this lasts, if wanted, the adapter's updates are made and added by PEFT's own code."""
    layers = [one for one in reader.loaded.model.modules() if wanted and "forward" in one.__dict__]
    quick = [one.__dict__.pop("forward") for one in layers]
    try:
        yield
    finally:
        for one, forward in zip(layers, quick, strict=True):
            one.forward = forward


@contextlib.contextmanager
def sharing_products(wanted: bool):
    """While this lasts, if wanted, a batch is read in one, on all processors."""
    most = batching.MOST_THREADS
    batching.MOST_THREADS = 1 if wanted else most
    try:
        yield
    finally:
        batching.MOST_THREADS = most


@contextlib.contextmanager
def changed_for(name: str, reader: Reader):
    """What a way needs changed."""
    with (
        searching_all(name == "flat, all searched"),
        pefts_layers(reader, name == "flat, PEFT's layers"),
        sharing_products(name == "flat, not side by side"),
    ):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    asked = [one.question for one in read_questions(handbook_path() / "questions.jsonl")]
    asked = random.Random(0).sample(asked, given.questions)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder) / "index", progress=False)
        requests = retrieved_requests(asked, index)
    loaded = load_model(adapter=chosen_adapter("default", None))  # with PEFT's layers, which one way needs
    padded, flat, cached = (Reader(loaded, passage_cache_mb=size) for size in (0, 0, 512))
    padded.decoder.__dict__["flat"] = False
    readers = {
        "padded": padded,
        "flat, all searched": flat,
        "flat, PEFT's layers": flat,
        "flat, not side by side": flat,
        "flat": flat,
        "flat, passages read before": cached,
    }
    seconds: dict[tuple[str, int], list[float]] = {}
    answers = {}
    for name, reader in readers.items():
        with changed_for(name, reader):
            answers[name] = [reading.answer for reading in reader.read_batch(requests)]
    for _ in range(given.repeats):
        for batch in BATCHES:
            for name, reader in readers.items():
                with changed_for(name, reader):
                    begin = time.perf_counter()
                    for start in range(0, len(requests), batch):
                        reader.read_batch(requests[start : start + batch])
                seconds.setdefault((name, batch), []).append((time.perf_counter() - begin) / len(requests))
    base = {batch: statistics.median(seconds["padded", batch]) for batch in BATCHES}
    for (name, batch), values in seconds.items():
        middle = statistics.median(values)
        print(
            json.dumps(
                {
                    "way": name,
                    "batch": batch,
                    "seconds_per_question": round(middle, 3),
                    "times_as_fast_as_padded": round(base[batch] / middle, 2),
                    "same_answers": sum(a == b for a, b in zip(answers[name], answers["padded"], strict=True)),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
