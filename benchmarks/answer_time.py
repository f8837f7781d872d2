"""How long a question takes, by kind of question, with words of a sentence and with whole sentences.

    python benchmarks/answer_time.py [--questions 60] [--rounds 3] [--k 3] [--processor-time]

Questions of the bundled handbook: facts (`questions.jsonl`) and what people ask (`asked.jsonl`), equally many of each
kind. A question is answered by a list where its evidence is one. Each is asked alone from start to end, both ways in
turns, with no passage read before; its time is the least of the rounds. Printed for each kind: how many answers are
whole sentences, the median of prompt tokens, the median time with words, its ratio to that of facts, and the ratio of
the median with whole sentences to it. `--processor-time`: the time of this process alone, where others use the machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.indexing.index import Index
from rag_ft.models.loading import load_model
from rag_ft.models.weights import chosen_adapter
from rag_ft.questions.records import read_questions
from rag_ft.schema import Question
from rag_ft.text.parts import is_item, passage_units

WAYS = {"words": False, "sentences": True}
FACT = "fact"


def kind(question: Question) -> str:
    """What a question asks for: a list where its evidence is one, else as its record is tagged."""
    if not question.answerable:
        return "unanswerable"
    accepted = question.answers[0]
    if sum(is_item(accepted, unit) for unit in passage_units(accepted)) > 1:
        return "list"
    return "yes/no" if question.yes is not None else question.tags[-1]


def chosen(count: int) -> dict[str, list[Question]]:
    """About `count` questions, equally many of each kind as far as there are."""
    kinds: dict[str, list[Question]] = {FACT: read_questions(handbook_questions_path())}
    kinds[FACT] = [question for question in kinds[FACT] if question.answerable]
    for question in read_questions(handbook_path() / "asked.jsonl"):
        kinds.setdefault(kind(question), []).append(question)
    draw = random.Random(0)
    each = max(1, round(count / len(kinds)))
    return {name: draw.sample(known, min(each, len(known))) for name, known in kinds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--processor-time", action="store_true")
    given = parser.parse_args()
    clock = time.process_time if given.processor_time else time.perf_counter
    questions = chosen(given.questions)
    loaded = load_model("default", adapter=chosen_adapter("default", None))
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(handbook_path(), Path(folder) / "index")
        pipelines = {
            way: Pipeline(index.as_retriever(k=given.k), Reader(loaded, whole_sentences=whole, passage_cache_mb=0))
            for way, whole in WAYS.items()
        }
        times: dict[str, dict[str, list[float]]] = defaultdict(lambda: {way: [] for way in WAYS})
        tokens: dict[str, list[int]] = defaultdict(list)
        given_whole: dict[str, int] = defaultdict(int)
        for pipeline in pipelines.values():
            pipeline.ask("What is read first?")  # what is made once is made now
        order = list(WAYS)
        for name, asked in questions.items():
            for question in asked:
                seconds = {way: float("inf") for way in WAYS}
                for _ in range(given.rounds):
                    order.reverse()
                    for way in order:
                        start = clock()
                        answer = pipelines[way].ask(question.question)
                        seconds[way] = min(seconds[way], clock() - start)
                        if way == "sentences":
                            whole = answer.kind == "part"
                for way in WAYS:
                    times[name][way].append(seconds[way])
                tokens[name].append(answer.usage.prompt_tokens)
                given_whole[name] += whole
    facts = statistics.median(times[FACT]["words"])
    heads = ("asked", "whole", "tokens", "p50, s", "to facts", "with sentences")
    print(f"{'':14}" + "".join(f"{head:>16}" for head in heads))
    for name, ways in times.items():
        p50 = {way: statistics.median(known) for way, known in ways.items()}
        cells = (
            str(len(ways["words"])),
            str(given_whole[name]),
            f"{statistics.median(tokens[name]):.0f}",
            f"{p50['words']:.2f}",
            f"{p50['words'] / facts:.2f}",
            f"{p50['sentences'] / p50['words']:.3f}",
        )
        print(f"{name:14}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
