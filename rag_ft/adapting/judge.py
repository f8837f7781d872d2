"""The readers compared on documents that nothing was trained on: packaged, tuned, and prompting without tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag_ft.adapting.plan import AdaptPlan, Training
from rag_ft.adapting.sides import Sides
from rag_ft.adapting.stages import EVALUATION, HELD_OUT, INDEX, Folder
from rag_ft.evaluation.arms.build import build_arms
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.figures import Contrast, contrasts
from rag_ft.evaluation.recipe import Development, Primary, ReaderChoice, Recipe
from rag_ft.evaluation.report.results import Results, check_run_folder, read_results
from rag_ft.evaluation.runner import PREDICTIONS, read_predictions
from rag_ft.files import remove_tree
from rag_ft.models.adapter_record import adapter_record
from rag_ft.models.cross_encoder_files import cross_encoder_beside
from rag_ft.models.weights import NO_ADAPTER, PACKAGED, resolve_adapter
from rag_ft.progress import OnProgress
from rag_ft.questions.records import read_questions
from rag_ft.questions.split import documents_of
from rag_ft.schema import Question

if TYPE_CHECKING:
    from rag_ft.evaluation.arms.base import Arm
    from rag_ft.evaluation.predictions import Prediction
    from rag_ft.indexing.index import Index

BEFORE = "before tuning"
"""The reader that tuning starts from, as it comes."""
BEFORE_HERE = "before tuning, threshold chosen here"
TUNED = "after tuning"
PROMPTED = "prompted instead"
"""The base model with worked examples in its prompt."""


def judge_readers(
    folder: Folder,
    index: Index,
    sides: Sides,
    plan: AdaptPlan,
    training: Training,
    adapter: Path,
    *,
    on_progress: OnProgress | None = None,
) -> Results:
    """Ask all readers the questions about the held-out documents, and write the report of that comparison.

    The tuned reader answers with the threshold that its training chose; the one before with its own and, in another
    arm, with one chosen on the same documents, which tells tuning from a better threshold.
    """
    questions = held_out_records(sides)
    folder.write(HELD_OUT, "".join(record.model_dump_json(exclude_defaults=True) + "\n" for record in questions))
    start = str(training.start.weights.path)
    parts = any(question.kind == "part" for question in questions)

    def reads(name: str, adapter: str, **settings: Any) -> ReaderChoice:
        record = {} if adapter == NO_ADAPTER else adapter_record(resolve_adapter(adapter))
        # As `rag-ft ask` answers: an adapter that was tuned on words leaves whole sentences to the cross-encoder.
        chooser = str(cross_encoder_beside(Path(adapter)) or PACKAGED)
        helped = record.get("whole_sentences") is True
        asked = {"whole_sentences": parts, "cross_encoder": chooser} if helped else {}
        return ReaderChoice(name=name, kind="reader", adapter=adapter, **asked, **settings)

    recipe = Recipe(
        title="Was tuning worth it?",
        questions=str(folder.file(HELD_OUT).resolve()),
        documents=str(folder.file(INDEX).resolve()),
        sample=plan.judge,
        seed=training.seed,
        rerank=True,
        primary=Primary(first=TUNED, second=BEFORE),
        development=Development(documents=tuple(sorted(documents_of(sides.choose))), questions=max(1, plan.choose)),
        arm=(
            reads(TUNED, str(adapter.resolve())),
            reads(BEFORE, start),
            reads(BEFORE_HERE, start, threshold="development"),
            reads(PROMPTED, NO_ADAPTER, shots=True, threshold="development"),
        ),
    )

    def arms(recipe: Recipe, index: Index) -> Sequence[Arm]:
        return build_arms(recipe, index, training.reader)

    return evaluate_recipe(recipe, folder.file(EVALUATION), arms=arms, index=index, on_progress=on_progress).results


def held_out_records(sides: Sides) -> list[Question]:
    """The records that readers are judged and chosen on; without evidence, a record to choose on has no document."""
    return [*(record for record in sides.choose if record.evidence), *sides.judge]


def remove_evaluation(folder: Folder) -> None:
    """Remove a comparison of other readers or questions. Raises EvaluationError where it is none of ours."""
    check_run_folder(folder.file(EVALUATION))
    remove_tree(folder.file(EVALUATION), inside=folder.path)


def stored_results(folder: Folder) -> Results:
    """The results of the comparison."""
    return read_results(folder.file(EVALUATION))


def stored_replies(folder: Folder) -> dict[str, dict[str, Prediction]]:
    """Each arm's replies by question."""
    replies: dict[str, dict[str, Prediction]] = {}
    for prediction in read_predictions(folder.file(EVALUATION) / PREDICTIONS):
        replies.setdefault(prediction.arm, {})[prediction.question_id] = prediction
    return replies


def judged_questions(folder: Folder) -> dict[str, Question]:
    """The questions that were asked, by id."""
    replies = stored_replies(folder)
    asked = {name for by_question in replies.values() for name in by_question}
    return {record.id: record for record in read_questions(folder.file(HELD_OUT)) if record.id in asked}


def between(results: Results, first: str, second: str) -> Contrast | None:
    """The comparison of two arms, first minus second; None where they share no reply."""
    for contrast in results.contrasts:
        if {contrast.first, contrast.second} == {first, second}:
            return contrast if contrast.first == first else contrast.turned()
    return None


def by_origin(
    replies: Mapping[str, Mapping[str, Prediction]], questions: Mapping[str, Question], seed: int
) -> dict[str, Contrast]:
    """Tuned minus packaged on the records of each origin; empty where all have one origin."""
    origins = sorted({question.origin for question in questions.values()})
    compared: dict[str, Contrast] = {}
    for origin in origins if len(origins) > 1 else ():
        arms = {
            arm: [reply for name, reply in replies.get(arm, {}).items() if questions[name].origin == origin]
            for arm in (TUNED, BEFORE)
        }
        if all(arms.values()):
            compared[origin] = contrasts(arms, questions, seed=seed)[0]
    return compared
