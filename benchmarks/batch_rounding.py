"""How far a question's confidence moves with the company that it is read in: alone, and in batches of eight.

    python benchmarks/batch_rounding.py [--questions 40] [--dtype float32]

The same questions of the bundled handbook, with their three passages, without a passage cache. Prints how many answers
differ and the largest and mean difference of confidence. On a CPU without bfloat16 products `--dtype bfloat16` is slow:
ask for few questions.
"""

import argparse
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.models.compute import compute_plan
from rag_ft.questions.records import read_questions
from rag_ft.training.scoring import retrieved_requests

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    given = parser.parse_args()
    questions = read_questions(handbook_path() / "questions.jsonl")
    questions = random.Random(0).sample(questions, min(given.questions, len(questions)))
    plan = replace(compute_plan(), dtype=given.dtype)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder) / "index", progress=False)
        requests = retrieved_requests([question.question for question in questions], index)
    reader = Reader.from_pretrained(plan=plan, passage_cache_mb=0)
    alone = [reader.read_batch([request])[0] for request in requests]
    together = [
        reading
        for start in range(0, len(requests), BATCH)
        for reading in reader.read_batch(requests[start : start + BATCH])
    ]
    moved = [abs(one.confidence - other.confidence) for one, other in zip(alone, together, strict=True)]
    differ = sum(one.answer != other.answer for one, other in zip(alone, together, strict=True))
    print(
        f"{given.dtype}, {len(requests)} questions alone and in batches of {BATCH}: {differ} answers differ;"
        f" confidence by {max(moved):.6f} at most, {sum(moved) / len(moved):.6f} on average"
    )


if __name__ == "__main__":
    main()
