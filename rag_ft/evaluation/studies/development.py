"""Thresholds of readers, chosen on development questions.

A tuned reader's threshold was chosen on its held-out documents; an untuned reader whose threshold nobody chose would be
a strawman beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rag_ft.evaluation.arms.base import Arm, Case, ChoosingArm
from rag_ft.evaluation.figures import f1_of, main_document
from rag_ft.evaluation.runner import run_arms
from rag_ft.metrics.thresholds import best_threshold
from rag_ft.progress import OnProgress, Progress, notify


class ChosenThreshold(BaseModel):
    """A threshold, with the reader's scores at it on the questions that it was chosen on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float
    questions: int
    """Number of development questions with a reply."""
    unanswerable: int
    """Number of them without an answer."""
    documents: int
    """Number of documents that they are about."""
    f1_answerable: float | None
    """F1 on answerable development questions."""
    null_recognised: float | None
    """Abstention recall: the share of unanswerable development questions declined."""


def choose_thresholds(
    arms: Sequence[Arm],
    names: Sequence[str],
    cases: Sequence[Case],
    output: Path,
    *,
    on_progress: OnProgress | None = None,
) -> tuple[list[Arm], dict[str, ChosenThreshold]]:
    """The arms, those in `names` with a threshold chosen on `cases` by the rule of training; and the choices.

    These must answer at any confidence. Their replies are kept in `output`, so that an evaluation that resumes chooses
    the same. Arms without a threshold are unchanged.
    """
    choosing = [arm for arm in arms if arm.name in names and isinstance(arm, ChoosingArm)]
    if not choosing:
        return list(arms), {}

    def report_progress(progress: Progress) -> None:
        notify(on_progress, progress._replace(stage=f"{progress.stage}, choosing its threshold"))

    predictions = run_arms(choosing, cases, output, on_progress=report_progress)
    by_id = {case.question.id: case.question for case in cases}
    chosen: dict[str, ChosenThreshold] = {}
    for name, replies in predictions.items():
        pairs = [(reply, by_id[reply.question_id]) for reply in replies if not reply.failed]
        answered = [
            (reply.confidence or 0.0, f1_of(reply, question)) for reply, question in pairs if question.answerable
        ]
        null = [reply.confidence or 0.0 for reply, question in pairs if not question.answerable]
        threshold = round(best_threshold(answered, null), 6)
        chosen[name] = ChosenThreshold(
            threshold=threshold,
            questions=len(pairs),
            unanswerable=len(null),
            documents=len({main_document(question) for _, question in pairs}),
            f1_answerable=_mean([f1 if confidence >= threshold else 0.0 for confidence, f1 in answered]),
            null_recognised=_mean([float(confidence < threshold) for confidence in null]),
        )
    return [_with_threshold(arm, chosen[arm.name]) if arm.name in chosen else arm for arm in arms], chosen


def _with_threshold(arm: Arm, chosen: ChosenThreshold) -> Arm:
    if not isinstance(arm, ChoosingArm):
        return arm
    chosen_on = f"{chosen.questions} development questions about {chosen.documents} documents"
    return arm.with_threshold(chosen.threshold, chosen_on)


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
