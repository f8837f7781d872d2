"""Seconds that the arms of a recipe take: the evaluation's own runner, beside transformers' `generate` of each prompt.

    OMP_NUM_THREADS=1 python benchmarks/judging_time.py [evals/handbook.toml] [--questions 12] [--arms NAME]

Both sides answer the same questions with the same retrieved passages. The other side takes one arm and one question
after another. It writes the completion of the prompt that the arm's reader builds of all passages, greedily, up to as
many tokens as this reader keeps room for. A tuned arm is the merged model there, in the type that is fast here. What
an arm without a model does is the same on both sides. Thresholds and studies are left out: the arms answer, once.

The sides take turns, arm by arm. The first table has seconds of the processor, the second those of the clock; each
ratio comes with the smallest and the largest of a round. The last column tells how many tokens `generate` wrote.
OMP_NUM_THREADS is the number of threads of both sides.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rag_ft.adapters.merge import merge_adapter
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.benchmarking.asking import generate
from rag_ft.benchmarking.comparison import Comparison, Seconds, Work, compared, in_turns, table_head
from rag_ft.evaluation.arms.base import Arm, Case
from rag_ft.evaluation.arms.build import build_arms
from rag_ft.evaluation.arms.readers import ClosedBookArm, ReaderArm
from rag_ft.evaluation.recipe import read_recipe
from rag_ft.evaluation.runner import retrieve_cases, run_arms
from rag_ft.evaluation.selection import choose_questions, read_records
from rag_ft.indexing.index import Index
from rag_ft.models.loading import LoadedModel, load_model


class Taken(NamedTuple):
    """What both sides took for the same work."""

    processor: Seconds
    wall: Seconds


class Plain:
    """The arms through `generate`: one question after another."""

    def __init__(self, folder: Path, probe: Case) -> None:
        """`folder`: for merged models, which are measured on the `probe`."""
        self._folder = folder
        self._probe = ReadRequest.of_hits(probe.question.question, probe.hits)
        self._merged: dict[str, LoadedModel] = {}
        self.tokens = 0
        """Number of tokens written so far."""

    def ask(self, arm: Arm, cases: Sequence[Case]) -> None:
        for case in cases:
            if isinstance(arm, ReaderArm):
                self._write(arm.reader, ReadRequest.of_hits(case.question.question, arm.hits(case)))
            elif isinstance(arm, ClosedBookArm):
                self._write(arm.reader, ReadRequest(case.question.question, ()))
            else:
                arm.reply([case])

    def _write(self, reader: Reader, request: ReadRequest) -> None:
        ids = reader.prompts.build(request.question, request.passages, reader.budget).ids
        self.tokens += len(generate(self._model(reader.loaded), ids, reader.budget.completion))

    def _model(self, loaded: LoadedModel) -> LoadedModel:
        """The model as one would give it to `generate`: merged, where it has an adapter."""
        if loaded.adapter is None:
            return loaded
        name = loaded.adapter.fingerprint
        if name not in self._merged:
            merged = merge_adapter(
                loaded.adapter.path, self._folder / f"merged-{len(self._merged)}", probes=[self._probe]
            )
            self._merged[name] = load_model(str(merged.path))
        return self._merged[name]


def measured(arm: Arm, plain: Plain, cases: Sequence[Case], rounds: int, folder: Path) -> Taken:
    """What an arm takes on both sides; what is made once was made before."""
    run_arms([arm], cases[:1], folder / "first")
    plain.ask(arm, cases[:1])
    runs = iter(range(rounds))
    processor = Seconds([], [])

    def ours() -> None:
        run_arms([arm], cases, folder / str(next(runs)))  # a new folder: else the replies on disk would be kept

    wall = in_turns(counted(ours, processor.ours), counted(lambda: plain.ask(arm, cases), processor.peer), rounds)
    return Taken(processor, wall)


def counted(work: Work, taken: list[float]) -> Work:
    """The work, which also notes the seconds of this process's processor time."""

    def run() -> None:
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)

    return run


def total(parts: Sequence[Seconds]) -> Seconds:
    """Round by round, the sum over the arms."""
    return Seconds(
        [sum(one) for one in zip(*(part.ours for part in parts), strict=True)],
        [sum(one) for one in zip(*(part.peer for part in parts), strict=True)],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("evals/handbook.toml"))
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--arms", nargs="*", help="only arms whose names hold one of these words")
    given = parser.parse_args()
    recipe = read_recipe(given.recipe)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = Index.build(recipe.documents, folder / "index", progress=False)
        questions = choose_questions(recipe.limited(given.questions), read_records(recipe), frozenset())
        cases = retrieve_cases(questions, recipe.retriever(index, recipe.deepest_k))
        plain = Plain(folder, cases[0])
        taken: dict[str, Taken] = {}
        written: dict[str, float] = {}
        for number, arm in enumerate(build_arms(recipe, index)):
            if given.arms and not any(word in arm.name for word in given.arms):
                continue
            before = plain.tokens
            taken[arm.name] = measured(arm, plain, cases, given.rounds, folder / str(number))
            written[arm.name] = (plain.tokens - before) / (given.rounds * len(cases) + 1)
            print(row(arm.name, taken[arm.name].processor, written[arm.name]).line, flush=True)
    print(f"\n{len(cases)} questions, {given.rounds} rounds, seconds of all questions")
    for clock in Taken._fields:
        print("\n".join([f"\n{clock}", *table_head()]))
        of_arms = {name: getattr(both, clock) for name, both in taken.items()}
        for name, seconds in of_arms.items():
            print(row(name, seconds, written[name]).line)
        print(row("all", total(list(of_arms.values())), sum(written.values())).line)


def row(name: str, seconds: Seconds, tokens: float) -> Comparison:
    peer = f"generate, {tokens:.1f} tokens a question" if tokens else "the same, one question at a time"
    return compared(name, "s", seconds.ours, seconds.peer, peer)


if __name__ == "__main__":
    main()
