"""What a GPU answers and learns in a second, with the default models and the bundled handbook.

    python benchmarks/gpu.py

Reading: the handbook's questions with their three passages each, alone and in batches, in the GPU's 16-bit type; no
retrieval. Training: tokens a second of forward and backward passes by rank 16 on all projections, steps of 1,280 (the
default) and of 5,120 tokens, for each way of holding the base; peak memory beside it.
"""

import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch

from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.scoring import retrieved_requests
from rag_ft.training.steps.probe import tokens_per_second


def reading(batches=(1, 8, 64), most=64) -> list[dict]:
    asked = [one.question for one in read_questions(handbook_questions_path())]
    asked = random.Random(0).sample(asked, most)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder) / "index", progress=False)
        requests = retrieved_requests(asked, index)
    reader = Reader.from_pretrained()
    reader.read_batch(requests[:8])  # sets things up
    rows = []
    for batch in batches:
        torch.cuda.reset_peak_memory_stats()
        times = []
        for begin in range(0, most if batch > 1 else 16, batch):
            start = time.perf_counter()
            reader.read_batch(requests[begin : begin + batch])
            times.append(time.perf_counter() - start)
        rows.append(
            {
                "batch": batch,
                "seconds_each_batch": statistics.median(times),
                "questions_per_second": batch / statistics.median(times),
                "peak_mb": torch.cuda.max_memory_allocated() / 1e6,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def training() -> list[dict]:
    rows = []
    for bits in (4, 16, 32):
        for tokens in (1280, 5120):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            speed = tokens_per_second("default", AdapterConfig(), tokens, 4.0, bits=bits)
            peak = torch.cuda.max_memory_allocated() / 1e6
            rows.append({"bits": bits, "tokens": tokens, "tokens_per_second": speed, "peak_mb": peak})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    print(torch.cuda.get_device_name(0), torch.__version__, flush=True)
    print(json.dumps({"reading": reading(), "training": training()}))


if __name__ == "__main__":
    main()
