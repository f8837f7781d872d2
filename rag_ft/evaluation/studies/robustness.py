"""How a reader hangs on what retrieval brings: how many passages, where the gold one stands, if at all, and how hard
the others are to tell from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.arms.base import Asked, gold_passages
from rag_ft.evaluation.arms.readers import ReaderArm
from rag_ft.evaluation.figures import Figure, f1_of, figure_of
from rag_ft.evaluation.runner import Progress, run_arms
from rag_ft.schema import Hit, Passage

if TYPE_CHECKING:
    from rag_ft.indexing.index import Index

Condition: TypeAlias = Literal["as retrieved", "gold first, easy others", "gold first", "gold last", "gold absent"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
COUNTS = (1, 3, 5)
"""Passages before the reader."""


class Cell(BaseModel):
    """One cell of the heat map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int
    condition: Condition
    score: Figure
    """F1 of the answerable questions; with the gold passage absent, where null is right, the share declined."""


def variant(one: Asked, gold: Sequence[Passage], k: int, condition: Condition, easy: Sequence[Passage] = ()) -> Asked:
    """The question with k passages under a condition; the others are those that retrieval ranks highest, the hardest
    distractors that the index has, or the `easy` ones where the condition asks for them.
    """
    names = {passage.id for passage in gold}
    others = [hit.passage for hit in one.hits if hit.passage.id not in names]
    if condition == "as retrieved":
        chosen = [hit.passage for hit in one.hits][:k]
    elif condition == "gold absent":
        chosen = others[:k]
    else:
        first = list(gold[:1])
        rest = (list(easy) if condition == "gold first, easy others" else others)[: k - len(first)]
        chosen = [*rest, *first] if condition == "gold last" else [*first, *rest]
    hits = tuple(Hit(passage=passage, score=1 / rank, rank=rank) for rank, passage in enumerate(chosen, start=1))
    return one._replace(hits=hits)


def easy_distractors(one: Asked, asked: Sequence[Asked], seed: int) -> list[Passage]:
    """Passages of other documents that were retrieved for other questions and not for this one, drawn by the seed."""
    own = {hit.passage.id for hit in one.hits}
    about = {piece.document_id for piece in one.question.evidence}
    pool = {
        hit.passage.id: hit.passage
        for other in asked
        for hit in other.hits
        if hit.passage.id not in own and hit.passage.document_id not in about
    }
    names = sorted(pool)
    chosen = random.Random(f"{seed} {one.question.id}").sample(names, min(max(COUNTS), len(names)))
    return [pool[name] for name in chosen]


def robustness(
    arm: ReaderArm,
    asked: Sequence[Asked],
    index: Index,
    output: Path,
    *,
    seed: int = 0,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Cell]:
    """The heat map of one reader over the answerable questions whose gold passage the index has; empty without any.

    `asked` must hold more passages than the largest of `COUNTS`. Resumable, as all runs are.
    """
    gold = {one.question.id: gold_passages(index, one.question) for one in asked if one.question.answerable}
    usable = [one for one in asked if gold.get(one.question.id)]
    easy = {one.question.id: easy_distractors(one, asked, seed) for one in usable}
    cells = []
    for k in COUNTS:
        for condition in CONDITIONS if usable else ():
            changed = [variant(one, gold[one.question.id], k, condition, easy[one.question.id]) for one in usable]
            folder = output / f"{k}-{condition.replace(',', '').replace(' ', '-')}"
            made = run_arms([replace(arm, k=k, perfect=None)], changed, folder, on_progress=on_progress)[arm.name]
            pairs = [
                (prediction, one.question)
                for prediction, one in zip(made, usable, strict=True)
                if not prediction.failed
            ]
            if not pairs:
                continue
            absent = condition == "gold absent"
            score = figure_of(pairs, (lambda one, _: float(one.declined)) if absent else f1_of, seed)
            cells.append(Cell(k=k, condition=condition, score=score))
    return cells
