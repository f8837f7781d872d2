"""Thresholds of readers, chosen on development questions: the untuned reader gets the best that its prompt can do.

A tuned reader's threshold was chosen on its held-out documents. One that is compared with it and answers at a threshold
that nobody chose would be a strawman.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.arms.base import Arm, Asked
from rag_ft.evaluation.arms.readers import ClosedBookArm, ReaderArm
from rag_ft.evaluation.figures import document_of, f1_of
from rag_ft.evaluation.runner import Progress, run_arms
from rag_ft.metrics.thresholds import best_threshold


class ChosenThreshold(BaseModel):
    """A threshold, and what the reader is worth with it on the questions that it was chosen on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float
    questions: int
    """Development questions with a reply."""
    unanswerable: int
    documents: int
    f1_answerable: float | None
    null_recognised: float | None


def choose_thresholds(
    arms: Sequence[Arm],
    names: Sequence[str],
    asked: Sequence[Asked],
    output: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[list[Arm], dict[str, ChosenThreshold]]:
    """The arms, those of `names` with a threshold chosen on `asked`, by `best_threshold` as in training; and how.

    These must be readers that answer at any confidence. What they reply is kept in `output`, so that an evaluation
    that goes on chooses the same. Arms without a reader are left as they are.
    """
    choosing = [arm for arm in arms if arm.name in names and isinstance(arm, ReaderArm | ClosedBookArm)]
    if not choosing:
        return list(arms), {}

    def tell(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(progress._replace(arm=f"{progress.arm}, choosing its threshold"))

    found = run_arms(choosing, asked, output, on_progress=tell)
    by_id = {one.question.id: one.question for one in asked}
    chosen: dict[str, ChosenThreshold] = {}
    for name, made in found.items():
        pairs = [(one, by_id[one.question_id]) for one in made if not one.failed]
        answered = [(one.confidence or 0.0, f1_of(one, question)) for one, question in pairs if question.answerable]
        null = [one.confidence or 0.0 for one, question in pairs if not question.answerable]
        threshold = round(best_threshold(answered, null), 6)
        chosen[name] = ChosenThreshold(
            threshold=threshold,
            questions=len(pairs),
            unanswerable=len(null),
            documents=len({document_of(question) for _, question in pairs}),
            f1_answerable=_mean([f1 if confidence >= threshold else 0.0 for confidence, f1 in answered]),
            null_recognised=_mean([float(confidence < threshold) for confidence in null]),
        )
    return [_with(arm, chosen[arm.name]) if arm.name in chosen else arm for arm in arms], chosen


def _with(arm: Arm, chosen: ChosenThreshold) -> Arm:
    if not isinstance(arm, ReaderArm | ClosedBookArm):
        return arm
    arm.reader.threshold = chosen.threshold
    return replace(arm, threshold_from=f"{chosen.questions} development questions about {chosen.documents} documents")


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
