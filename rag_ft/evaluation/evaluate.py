"""The whole evaluation in one call: questions through arms to predictions, figures, advice and a report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

from rag_ft.errors import EvaluationError, UsageError
from rag_ft.evaluation.arms.build import build_arms, check_chat, curve_arms
from rag_ft.evaluation.documents import count_foreign, refuse_moved, training_documents
from rag_ft.evaluation.fair_recipe import fair_recipe
from rag_ft.evaluation.recipe import ChatChoice, Recipe, read_recipe
from rag_ft.evaluation.report.compute import FinishedRun, RunQuestions, compute_results
from rag_ft.evaluation.report.pages import Report
from rag_ft.evaluation.report.results import check_run_folder
from rag_ft.evaluation.resources import measure_speed
from rag_ft.evaluation.runner import RunFolder, read_memory, retrieve_cases, run_arms
from rag_ft.evaluation.selection import choose_questions, development_questions, read_records
from rag_ft.evaluation.studies.development import ChosenThreshold, choose_thresholds
from rag_ft.extras import require_extra
from rag_ft.models.weights import DEFAULT, PACKAGED
from rag_ft.progress import OnProgress
from rag_ft.questions.records import origin_counts, origin_words

if TYPE_CHECKING:
    from rag_ft.evaluation.arms.base import Arm
    from rag_ft.indexing.index import Index

logger = logging.getLogger(__name__)


class AdapterFolder(Protocol):
    """Anything with the path of an adapter, such as what `train_reader` returns."""

    @property
    def path(self) -> Path:
        """The adapter's folder."""
        ...


@overload
def evaluate(
    questions: str | Path,
    index: Index | str | Path,
    *,
    adapter: str | Path | AdapterFolder | None = None,
    reader: str = DEFAULT,
    feedback: bool = False,
    output: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Report: ...


@overload
def evaluate(
    recipe: Recipe | str | Path,
    output: str | Path | None = None,
    /,
    *,
    limit: int | None = None,
    on_progress: OnProgress | None = None,
) -> Report: ...


def evaluate(
    questions: Recipe | str | Path,
    index: Index | str | Path | None = None,
    *,
    adapter: str | Path | AdapterFolder | None = None,
    reader: str = DEFAULT,
    feedback: bool = False,
    output: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Report:
    """Compare prompting, retrieval, tuning and both on your own questions.

    ```python
    from rag_ft import Index, evaluate

    report = evaluate("qa.jsonl", Index.load("indexes/handbook"), adapter="adapters/handbook")
    print(report.results.advice.choice)
    report.save("evals/handbook")
    ```

    `questions`: a file of question records about the documents of the index.
    `index`: an `Index`, or the folder of one.
    `adapter`: the tuned reader; default: the packaged one. Questions about documents that it was trained on are left
    out.
    `reader`: the adapter's base model.
    `feedback`: also ask the questions of the feedback kept beside the index; the report shows each origin apart.
    `output`: folder for the results, where a later call resumes. Without it they are in a temporary folder that lasts
    as long as the report; `report.save` copies them.
    `limit`: ask at most N questions.
    `seed`: draws the questions of `limit`, the documents that thresholds are chosen on, and random passages.
    `on_progress`: gets how far each arm is. The number of questions is logged (logger `rag_ft`, level INFO).

    The declared contrast is tuned against prompted, both with passages. Thresholds are chosen on questions about 30% of
    the documents, which are not judged. For other arms or settings write a recipe: `evaluate("my-recipe.toml",
    "evals/mine")` runs it, as `evaluate_recipe` does. Raises EvaluationError, DatasetError, UsageError, and what
    indexing and loading raise.
    """
    from rag_ft.indexing.index import Index

    if isinstance(questions, Recipe) or Path(questions).suffix == ".toml":
        folder = output if index is None else index
        if (
            isinstance(folder, Index)
            or (index is not None and output is not None)
            or adapter is not None
            or seed
            or reader != DEFAULT
            or feedback
        ):
            raise UsageError(
                "a recipe has its own documents, adapter, reader, feedback and seed: give only an output folder, or"
                " call evaluate_recipe"
            )
        return evaluate_recipe(questions, folder, limit=limit, on_progress=on_progress)
    if index is None:
        raise UsageError(f"{questions} needs the index that its questions are about: evaluate(questions, index)")
    index = index if isinstance(index, Index) else Index.load(index)
    folder_of_adapter = PACKAGED if adapter is None else adapter if isinstance(adapter, str | Path) else adapter.path
    recipe = fair_recipe(questions, index.path, folder_of_adapter, seed=seed)
    if feedback:
        recipe = recipe.model_copy(update={"feedback": str(index.path.resolve())})
    return evaluate_recipe(
        recipe,
        output,
        limit=limit,
        arms=lambda recipe, index: build_arms(recipe, index, reader),
        index=index,
        on_progress=on_progress,
    )


def evaluate_recipe(
    recipe: Recipe | str | Path,
    output: str | Path | None = None,
    *,
    limit: int | None = None,
    arms: Callable[[Recipe, Index], Sequence[Arm]] = build_arms,
    curve: Callable[[Recipe, Index], Iterable[tuple[int, Arm]]] = curve_arms,
    index: Index | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Run a recipe and save its report in `output`; a call with the same output resumes an unfinished run.

    Without `output` the results are in a temporary folder that lasts as long as the report. `limit`: ask at most N
    questions. `arms`, `curve`: build the arms and those of the learning curve; default: from the recipe. `index`: used
    instead of building one from the recipe's documents. How many questions are asked is logged. Raises
    EvaluationError, DatasetError, and what indexing and loading raise.
    """
    from rag_ft.indexing.index import Index

    require_extra("eval", "an evaluation")
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    for arm in recipe.arm:
        if isinstance(arm, ChatChoice):
            check_chat(arm)
    folder = RunFolder(output)
    check_run_folder(folder.path)
    if index is not None and index.incomplete:
        raise EvaluationError(f"an evaluation needs the whole index, but {index.incomplete[0]}")
    index = index or Index.build(recipe.documents, folder.path / "index", progress=False)
    questions = _choose_questions(recipe, index, limit)
    curve_parts = curve(recipe, index)
    logger.info(
        "%s",
        f"{len(questions.judged):,} of {questions.records:,} questions about {questions.documents:,} documents;"
        f" differences under {questions.detectable:.2f} F1 will not show",
    )
    if origins := origin_counts(questions.judged):
        logger.info("%s", f"origins of the questions: {origin_words(origins)}")
    run = _ask(recipe, index, questions, list(arms(recipe, index)), folder.path, on_progress)
    report = Report(
        results=compute_results(run, curve_parts),
        speed=measure_speed(run.predictions, recipe.prices, run.settings, read_memory(folder.path)),
        questions=tuple(questions.judged),
        predictions={name: tuple(replies) for name, replies in run.predictions.items()},
        prices=recipe.prices,
        run=folder,
    )
    report.save(folder.path)
    return report


def _choose_questions(recipe: Recipe, index: Index, limit: int | None) -> RunQuestions:
    """The recipe's questions, checked against the index. Raises EvaluationError."""
    records = read_records(recipe)
    trained_on = training_documents(recipe, index)
    judged = choose_questions(recipe, records, trained_on)
    if limit is not None and limit < len(judged):
        judged = choose_questions(recipe.limited(limit), records, trained_on)
    foreign = count_foreign(judged, index)
    refuse_moved(judged, index)
    development = []
    if recipe.choosing:
        development = development_questions(recipe if limit is None else recipe.limited(limit), records, trained_on)
    return RunQuestions(judged, development, len(records), foreign)


def _ask(
    recipe: Recipe,
    index: Index,
    questions: RunQuestions,
    arms: list[Arm],
    folder: Path,
    on_progress: OnProgress | None,
) -> FinishedRun:
    """Retrieve once for all arms, choose thresholds, and ask every arm every question."""
    retriever = recipe.retriever(index, recipe.deepest_k)
    cases = retrieve_cases(questions.judged, retriever)
    thresholds: dict[str, ChosenThreshold] = {}
    if recipe.choosing:
        development = retrieve_cases(questions.development, retriever)
        arms, thresholds = choose_thresholds(
            arms, recipe.choosing, development, folder / "development", on_progress=on_progress
        )
    predictions = run_arms(arms, cases, folder, on_progress=on_progress)
    return FinishedRun(recipe, index, questions, cases, arms, thresholds, predictions, folder, on_progress)
