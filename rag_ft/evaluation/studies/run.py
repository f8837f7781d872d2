"""The studies that a recipe asks for, run on the arms and questions of its main comparison."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_ft.evaluation.advice import role_of
from rag_ft.evaluation.arms.readers import ReaderArm
from rag_ft.evaluation.figures import f1_of, main_document
from rag_ft.evaluation.runner import retrieve_cases, run_arms
from rag_ft.evaluation.studies.faithfulness import Faithfulness, faithfulness, swap_answers
from rag_ft.evaluation.studies.learning_curve import LearningCurve, learning_curve
from rag_ft.evaluation.studies.robustness import COUNTS, Cell, robustness
from rag_ft.progress import OnProgress

if TYPE_CHECKING:
    from rag_ft.evaluation.arms.base import Arm, Case
    from rag_ft.evaluation.predictions import Prediction
    from rag_ft.evaluation.recipe import Recipe
    from rag_ft.indexing.index import Index

_READING_KINDS = ("reader", "cross-encoder", "chat", "extractive", "function")
"""Kinds of arms that read passages."""


def run_faithfulness(
    recipe: Recipe,
    arms: Sequence[Arm],
    cases: Sequence[Case],
    output: Path,
    on_progress: OnProgress | None,
) -> dict[str, Faithfulness]:
    """What each reading arm makes of swapped answers; empty where the recipe does not ask, or nothing can be swapped.

    An arm that is given the gold passage is left out: it takes the passage from the index, where nothing is swapped.
    """
    readers = [arm for arm in arms if arm.settings.get("kind") in _READING_KINDS]
    reading = [arm for arm in readers if getattr(arm, "perfect", None) is None]
    swaps = swap_answers(cases) if recipe.faithfulness and reading else {}
    if not swaps:
        return {}
    predictions = run_arms(reading, [case for case, _ in swaps.values()], output / "swapped", on_progress=on_progress)
    studies = {name: faithfulness(replies, swaps, seed=recipe.seed) for name, replies in predictions.items()}
    return {name: study for name, study in studies.items() if study is not None}


def run_robustness(
    recipe: Recipe,
    arms: Sequence[Arm],
    cases: Sequence[Case],
    index: Index,
    output: Path,
    on_progress: OnProgress | None,
) -> list[Cell]:
    """The heat map of the first tuned reader with passages; empty without one, or where the recipe asks for none."""
    tuned = next((arm for arm in arms if isinstance(arm, ReaderArm) and role_of(arm.settings) == "both"), None)
    answerable = [case.question for case in cases if case.question.answerable]
    sample = random.Random(recipe.seed).sample(answerable, min(recipe.robustness, len(answerable)))
    if tuned is None or not sample:
        return []
    deep_cases = retrieve_cases(sample, recipe.retriever(index, max(COUNTS) + 3))
    return robustness(tuned, deep_cases, index, output / "robustness", seed=recipe.seed, on_progress=on_progress)


def run_learning_curve(
    recipe: Recipe,
    arms: Iterable[tuple[int, Arm]],
    cases: Sequence[Case],
    output: Path,
    on_arm: Callable[[Arm], None],
    on_progress: OnProgress | None,
) -> LearningCurve | None:
    """F1 by number of training records, over the questions that every size replied to; None where there are none.

    `on_arm` gets each arm after it was asked: one adapter is in memory at a time.
    """
    if recipe.learning_curve is None:
        return None
    replies: dict[int, dict[str, Prediction]] = {}
    for records, arm in arms:
        predictions = run_arms([arm], cases, output / "curve" / str(records), on_progress=on_progress)[arm.name]
        replies[records] = {prediction.question_id: prediction for prediction in predictions if not prediction.failed}
        on_arm(arm)
    questions = [case.question for case in cases]
    common = [question for question in questions if replies and all(question.id in size for size in replies.values())]
    if not common:
        return None
    scores = {records: [f1_of(size[question.id], question) for question in common] for records, size in replies.items()}
    documents = [main_document(question) for question in common]
    return learning_curve(scores, documents, worth=recipe.learning_curve.worth, seed=recipe.seed)
