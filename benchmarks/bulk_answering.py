"""Questions a second: a file in blocks with common passages together, in the order of the file, and one at a time.

    OMP_NUM_THREADS=1 python benchmarks/bulk_answering.py [--questions 60] [--block 256] [--cache-mb 512]

Questions of the bundled handbook, shuffled, with the default reader; each way has a reader with an empty cache. Seconds
of the processor are told beside those of the clock, for machines that do other work, too. First it is counted, without
reading, how often a passage of all of the handbook's questions is read when the last 250, 60 or 15 passages are kept.
"""

import argparse
import json
import random
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag_ft.answering.bulk.blocks import TOGETHER, LocalEngine, meeting_order
from rag_ft.answering.bulk.run import BLOCK, answer_questions
from rag_ft.answering.config import PASSAGE_CACHE_MB
from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path
from rag_ft.indexing.index import Index
from rag_ft.questions.records import read_questions


def readings(passages: Mapping[int, Sequence[str]], order: Sequence[int], together: int, kept: int) -> int:
    """How often a passage is read: once per batch, unless it is among the last ones that were."""
    cache: OrderedDict[str, None] = OrderedDict()
    count = 0
    for first in range(0, len(order), together):
        for name in dict.fromkeys(name for i in order[first : first + together] for name in passages[i]):
            count += name not in cache
            cache[name] = None
            cache.move_to_end(name)
            if len(cache) > kept:
                cache.popitem(last=False)
    return count


def count_readings(index: Index) -> None:
    """Print how often passages are read by each way, for all questions of the handbook."""
    files = [handbook_path() / name for name in ("questions.jsonl", "asked.jsonl")]
    asked = [record.question for file in files for record in read_questions(file)]
    asked = random.Random(0).sample(asked, len(asked))
    found = index.as_retriever(k=3).retrieve_batch(asked)
    passages = {i: [hit.passage.id for hit in hits] for i, hits in enumerate(found)}
    sorted_in_blocks = [
        i
        for first in range(0, len(asked), BLOCK)
        for i in meeting_order({i: passages[i] for i in range(first, min(first + BLOCK, len(asked)))})
    ]
    needed = sum(map(len, passages.values()))
    print(f"{len(asked)} questions need {needed} passages, {len(set().union(*passages.values()))} different ones")
    print(f"{'read, of last kept':<26}{250:>7}{60:>7}{15:>7}")
    for name, order, together in (
        ("common passages together", sorted_in_blocks, TOGETHER),
        ("in the order of the file", list(passages), TOGETHER),
        ("one at a time", list(passages), 1),
    ):
        print(f"{name:<26}" + "".join(f"{readings(passages, order, together, kept):>7}" for kept in (250, 60, 15)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--block", type=int, default=BLOCK)
    parser.add_argument("--cache-mb", type=int, default=PASSAGE_CACHE_MB)
    given = parser.parse_args()
    asked = [record.question for record in read_questions(handbook_path() / "questions.jsonl")]
    asked = random.Random(0).sample(asked, given.questions)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        index = Index.build(handbook_path(), folder / "index", progress=False)
        count_readings(index)
        if not given.questions:
            return
        file = folder / "questions.txt"
        file.write_text("".join(f"{question}\n" for question in asked))

        def in_blocks(pipeline: Pipeline, in_order: bool) -> list[str | None]:
            output = folder / f"answers-{in_order}.jsonl"
            answer_questions(file, output, LocalEngine(pipeline, in_order=in_order), block=given.block)
            return [json.loads(line)["reply"]["answer"] for line in output.read_text().splitlines()]

        ways = {
            "common passages together": lambda pipeline: in_blocks(pipeline, False),
            "in the order of the file": lambda pipeline: in_blocks(pipeline, True),
            "one at a time": lambda pipeline: [pipeline.ask(question).answer for question in asked],
        }
        answers = {}
        print(f"{given.questions} questions, {len(index)} passages, blocks of {given.block}, {given.cache_mb} MB kept")
        print(f"{'':<26}{'per s':>7}{'per CPU s':>11}{'passages read':>15}{'kept':>6}")
        for name, answer in ways.items():
            reader = Reader.from_pretrained(passage_cache_mb=given.cache_mb)
            pipeline = Pipeline(index.as_retriever(k=3), reader)
            pipeline.ask("What is a rank?")  # the first question sets things up
            cache = reader.passage_cache
            misses, hits = cache.misses, cache.hits
            start, cpu = time.perf_counter(), time.process_time()
            answers[name] = answer(pipeline)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            speeds = f"{given.questions / seconds:>7.2f}{given.questions / cpu:>11.2f}"
            print(f"{name:<26}{speeds}{cache.misses - misses:>15}{cache.hits - hits:>6}", flush=True)
        first, *others = answers.values()
        same = sum(all(other[i] == first[i] for other in others) for i in range(len(asked)))
        print(f"{same} of {len(asked)} answers are the same in all three")


if __name__ == "__main__":
    main()
