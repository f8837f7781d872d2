"""What the second look at an answer's sentence costs: the same questions with and without it, in turn.

    python benchmarks/second_look.py [--questions 16]

Questions of the bundled handbook with three retrieved passages, one by one and eight together, with all passages kept
from before and with none kept. The ratio is the time with the look to the time without.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions
from rag_ft.training.scoring import retrieved_requests

ROUNDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=16)
    given = parser.parse_args()
    questions = [one.question for one in read_questions(handbook_path() / "questions.jsonl")]
    questions = random.Random(1).sample(questions, given.questions)
    with tempfile.TemporaryDirectory() as folder:
        asked = retrieved_requests(questions, Index.build(handbook_path(), Path(folder) / "index", progress=False))
    for kept, megabytes in (("kept", 2000), ("not kept", 0)):
        reader = Reader.from_pretrained(passage_cache_mb=megabytes)
        reader.read_batch(asked)
        for size in (8, 1):
            ratios = []
            for _ in range(ROUNDS):
                seconds = []
                for second_look in (True, False):
                    reader.batches.second_look = second_look
                    begin = time.perf_counter()
                    for start in range(0, len(asked), size):
                        reader.read_batch(asked[start : start + size])
                    seconds.append(time.perf_counter() - begin)
                ratios.append(seconds[0] / seconds[1])
            print(f"passages {kept}, {size} together: {statistics.median(ratios):.2f} times", flush=True)
        print(reader.loaded.plan.line)


if __name__ == "__main__":
    main()
