"""From the predictions of a run to its results: figures, studies and advice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from rag_ft.evaluation.advice import advise, best_of_roles
from rag_ft.evaluation.arms.base import Case
from rag_ft.evaluation.documents import count_chosen_on, count_leaks
from rag_ft.evaluation.error_budget import BudgetFlow, budget_flow
from rag_ft.evaluation.figures import ArmFigures, Contrast, arm_figures, contrasts, main_document
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.report.results import Results
from rag_ft.evaluation.studies.development import ChosenThreshold
from rag_ft.evaluation.studies.run import run_faithfulness, run_learning_curve, run_robustness
from rag_ft.metrics.retrieval import CUTOFFS, Place, retrieval_metrics
from rag_ft.metrics.statistics import detectable_before
from rag_ft.progress import OnProgress
from rag_ft.questions.records import origin_counts
from rag_ft.questions.wording import question_key
from rag_ft.schema import Question

if TYPE_CHECKING:
    from rag_ft.evaluation.arms.base import Arm
    from rag_ft.indexing.index import Index

LIBRARIES = ("rag-ft", "torch", "transformers", "peft", "faiss-cpu", "bm25s", "ir-measures", "scipy", "numpy")
"""Libraries whose versions a report records."""


@dataclass(frozen=True)
class RunQuestions:
    """Questions of a run: to judge by, and to choose thresholds on."""

    judged: list[Question]
    development: list[Question]
    records: int
    """Number of questions in the file."""
    foreign: int
    """Number of judged questions about documents that the index does not have."""

    @property
    def documents(self) -> int:
        """Number of documents that the judged questions are about."""
        return len({main_document(question) for question in self.judged})

    @property
    def detectable(self) -> float:
        """Smallest difference in F1 that the questions can be expected to show."""
        return detectable_before(len(self.judged), self.documents)


@dataclass(frozen=True)
class FinishedRun:
    """What was asked, and every reply."""

    recipe: Recipe
    index: Index
    questions: RunQuestions
    cases: list[Case]
    arms: list[Arm]
    thresholds: dict[str, ChosenThreshold]
    predictions: dict[str, list[Prediction]]
    folder: Path
    on_progress: OnProgress | None

    @property
    def settings(self) -> dict[str, dict[str, JsonValue]]:
        """Each arm's settings, by its name."""
        return {arm.name: dict(arm.settings) for arm in self.arms}


def compute_results(run: FinishedRun, curve_parts: Iterable[tuple[int, Arm]]) -> Results:
    """Figures and advice of a run, and the studies that its recipe asks for."""
    from rag_ft.environment import library_versions

    recipe, judged, settings = run.recipe, run.questions.judged, run.settings
    by_id = {question.id: question for question in judged}
    closed_book = _closed_book_answers(run.predictions, settings)
    figures = tuple(
        arm_figures(replies, by_id, closed_book.get(_model_of(settings[name])), seed=recipe.seed)
        for name, replies in run.predictions.items()
    )
    pairs = tuple(contrasts(run.predictions, by_id, recipe.primary.metric, seed=recipe.seed))
    leaks = count_leaks(run.arms, judged, run.index)
    curve = run_learning_curve(
        recipe,
        curve_parts,
        run.cases,
        run.folder,
        lambda arm: leaks.update(count_leaks([arm], judged, run.index)),
        run.on_progress,
    )
    questions_json = "".join(question.model_dump_json() for question in judged)
    return Results(
        title=recipe.title,
        recipe=_portable(recipe),
        versions=library_versions(LIBRARIES),
        fingerprints={
            "index": run.index.fingerprint,
            "questions": hashlib.sha256(questions_json.encode()).hexdigest(),
        },
        questions=len(judged),
        answerable=sum(question.answerable for question in judged),
        documents=run.questions.documents,
        near_duplicates=len(judged) - len({question_key(question.question, question.history) for question in judged}),
        foreign=run.questions.foreign,
        origins=origin_counts(judged),
        left_out=run.questions.records - len(judged),
        detectable=round(run.questions.detectable, 6),
        primary=_primary(recipe, pairs),
        retrieval=_retrieval(run.cases),
        arms=figures,
        faithfulness=run_faithfulness(recipe, run.arms, run.cases, run.folder, run.on_progress),
        robustness=tuple(run_robustness(recipe, run.arms, run.cases, run.index, run.folder, run.on_progress)),
        flow=_flow(figures, settings, run.predictions, by_id, closed_book),
        learning_curve=curve,
        leaks=leaks,
        chosen_on=count_chosen_on(run.arms, judged),
        development=run.thresholds,
        settings=settings,
        contrasts=pairs,
        advice=advise(figures, settings, pairs, curve),
    )


def _primary(recipe: Recipe, pairs: Sequence[Contrast]) -> Contrast | None:
    """The contrast that the recipe declares, the way round that it declares it."""
    first, second = recipe.primary.first, recipe.primary.second
    for contrast in pairs:
        if {contrast.first, contrast.second} == {first, second}:
            return contrast if contrast.first == first else contrast.turned()
    return None


def _closed_book_answers(
    predictions: Mapping[str, Sequence[Prediction]], settings: Mapping[str, Mapping[str, JsonValue]]
) -> dict[str, dict[str, str | None]]:
    """What each model answers without passages, by model and question id, where a closed-book arm was run."""
    return {
        _model_of(settings[name]): {
            prediction.question_id: prediction.answer for prediction in replies if not prediction.failed
        }
        for name, replies in predictions.items()
        if settings[name].get("kind") == "closed book"
    }


def _model_of(settings: Mapping[str, JsonValue]) -> str:
    """A name for an arm's model and its knowledge; empty for an arm that is not a reader.

    A tuned model has one prompt; an untuned one is prompted with worked examples or without, which counts as two.
    """
    if settings.get("kind") not in ("reader", "closed book"):
        return ""
    adapter = settings.get("adapter fingerprint") or settings.get("adapter")
    return f"{settings.get('base fingerprint')} {adapter} {'' if adapter else settings.get('shots')}"


def _flow(
    figures: Sequence[ArmFigures],
    settings: Mapping[str, Mapping[str, JsonValue]],
    predictions: Mapping[str, Sequence[Prediction]],
    questions: Mapping[str, Question],
    closed_book: Mapping[str, Mapping[str, str | None]],
) -> BudgetFlow | None:
    """Where tuning moves the questions: from the best prompted reader with passages to the best tuned one."""
    best = best_of_roles(figures, settings)
    if "retrieve and prompt" not in best or "both" not in best:
        return None
    prompted, tuned = best["retrieve and prompt"].name, best["both"].name
    known = (closed_book.get(_model_of(settings[prompted])), closed_book.get(_model_of(settings[tuned])))
    return budget_flow(predictions[prompted], predictions[tuned], questions, known)


def _retrieval(cases: Sequence[Case]) -> dict[str, float]:
    """Mean retrieval metrics of the cases; the run's depth is among the cutoffs."""
    rankings = {case.question.id: [Place.of(hit.passage) for hit in case.hits] for case in cases}
    cutoffs = sorted({*CUTOFFS, max(map(len, rankings.values()))})
    values = retrieval_metrics(rankings, {case.question.id: case.question for case in cases}, cutoffs)
    return {name: round(sum(scores.values()) / len(scores), 6) for name, scores in values.items() if scores}


def _portable(recipe: Recipe) -> dict[str, JsonValue]:
    """The recipe without paths of the machine that ran it."""
    content = recipe.model_dump(mode="json")
    for key in ("questions", "documents", "feedback"):
        if content.get(key):
            content[key] = Path(content[key]).name
    curve = content["learning_curve"] or {"adapter": []}
    adapters = [(table, "adapter") for table in (*content["arm"], *curve["adapter"])]
    for table, key in [(content, "split_adapter"), (curve, "folder"), *adapters]:
        if key in table:
            table[key] = Path(table[key]).name
    return content
