"""How a reader depends on retrieval: number of passages, position of the gold one, difficulty of the others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.arms.base import Case, gold_passages
from rag_ft.evaluation.arms.readers import ReaderArm
from rag_ft.evaluation.figures import Figure, f1_of, figure_of
from rag_ft.evaluation.runner import run_arms
from rag_ft.progress import OnProgress
from rag_ft.schema import Hit, Passage

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

Condition: TypeAlias = Literal["as retrieved", "gold first, easy others", "gold first", "gold last", "gold absent"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
COUNTS = (1, 3, 5)
"""Numbers of passages given to the reader."""


class Cell(BaseModel):
    """One cell of the heat map: k passages under a condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int
    condition: Condition
    score: Figure
    """F1 on answerable; with the gold passage absent, where null is right, the share declined."""


def variant(case: Case, gold: Sequence[Passage], k: int, condition: Condition, easy: Sequence[Passage] = ()) -> Case:
    """The case with k passages under a condition.

    Besides the gold passage these are the ones that retrieval ranks highest, the hardest distractors that the index
    has, or the `easy` ones where the condition says so.
    """
    gold_ids = {passage.id for passage in gold}
    others = [hit.passage for hit in case.hits if hit.passage.id not in gold_ids]
    if condition == "as retrieved":
        chosen = [hit.passage for hit in case.hits][:k]
    elif condition == "gold absent":
        chosen = others[:k]
    else:
        first = list(gold[:1])
        rest = (list(easy) if condition == "gold first, easy others" else others)[: k - len(first)]
        chosen = [*rest, *first] if condition == "gold last" else [*first, *rest]
    hits = tuple(Hit(passage=passage, score=1 / rank, rank=rank) for rank, passage in enumerate(chosen, start=1))
    return case._replace(hits=hits)


def easy_distractors(case: Case, cases: Sequence[Case], seed: int) -> list[Passage]:
    """Passages of other documents that were retrieved for other questions only, drawn at random by the seed."""
    retrieved = {hit.passage.id for hit in case.hits}
    documents = {piece.document_id for piece in case.question.evidence}
    pool = {
        hit.passage.id: hit.passage
        for other in cases
        for hit in other.hits
        if hit.passage.id not in retrieved and hit.passage.document_id not in documents
    }
    names = sorted(pool)
    chosen = random.Random(f"{seed} {case.question.id}").sample(names, min(max(COUNTS), len(names)))
    return [pool[name] for name in chosen]


def robustness(
    arm: ReaderArm,
    cases: Sequence[Case],
    index: Index,
    output: Path,
    *,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> list[Cell]:
    """The heat map of one reader over the answerable questions whose gold passage the index has; empty without any.

    The cases must have more passages than the largest of `COUNTS`. A call with the same `output` resumes.
    """
    gold = {case.question.id: gold_passages(index, case.question) for case in cases if case.question.answerable}
    usable = [case for case in cases if gold.get(case.question.id)]
    easy = {case.question.id: easy_distractors(case, cases, seed) for case in usable}
    cells = []
    for k in COUNTS:
        for condition in CONDITIONS if usable else ():
            changed = [variant(case, gold[case.question.id], k, condition, easy[case.question.id]) for case in usable]
            folder = output / f"{k}-{condition.replace(',', '').replace(' ', '-')}"
            predictions = run_arms([replace(arm, k=k, perfect=None)], changed, folder, on_progress=on_progress)[
                arm.name
            ]
            pairs = [
                (prediction, case.question)
                for prediction, case in zip(predictions, usable, strict=True)
                if not prediction.failed
            ]
            if not pairs:
                continue
            absent = condition == "gold absent"
            score = figure_of(pairs, (lambda prediction, _: float(prediction.declined)) if absent else f1_of, seed)
            cells.append(Cell(k=k, condition=condition, score=score))
    return cells
