"""`rag-ft eval`: run a recipe to a report, compare two reports, reproduce one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

from rag_ft.cli.terminal import printed_lines
from rag_ft.errors import UsageError

if TYPE_CHECKING:
    from rag_ft.evaluation.recipe import Recipe


LimitOption: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Ask at most N questions, for a quick look.")]
QuestionsOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="Question records to use instead of the recipe's.")
]
FeedbackOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="INDEX", help="Also ask the questions of the feedback kept beside this index.", show_default=False
    ),
]
OnlyFeedbackOption: TypeAlias = Annotated[
    bool, typer.Option("--only-feedback", help="Ask those of --feedback instead of the recipe's questions.")
]
DocumentsOption: TypeAlias = Annotated[Path | None, typer.Option(help="Documents to use instead of the recipe's.")]


class _RunByDefault(TyperGroup):
    """`rag-ft eval RECIPE` is `rag-ft eval run RECIPE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


eval_app = typer.Typer(
    cls=_RunByDefault,
    help="Compare prompting, retrieval, tuning and both on your own questions: rag-ft eval RECIPE.",
    no_args_is_help=True,
)


@eval_app.command("run")
def eval_run(
    recipe: Annotated[Path, typer.Argument(help="Recipe: a .toml file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the results. Default: beside the recipe.", show_default=False),
    ] = None,
    limit: LimitOption = None,
    questions: QuestionsOption = None,
    feedback: FeedbackOption = None,
    only_feedback: OnlyFeedbackOption = False,
    documents: DocumentsOption = None,
) -> int:
    """Ask every arm every question and write the report. Run it again to resume."""
    from rag_ft.cli.render import EvaluationLine, stderr, stdout
    from rag_ft.evaluation.evaluate import evaluate
    from rag_ft.evaluation.report.pages import verdict
    from rag_ft.extras import require_extra

    require_extra("eval", "an evaluation")
    folder = output or Path(str(recipe.with_suffix("")) + ("" if limit is None else f"-{limit}"))
    chosen = _recipe(recipe, questions, documents, feedback, only_feedback)
    console = stdout()
    with EvaluationLine(stderr()) as live, printed_lines("rag_ft.evaluation", console.print):
        report = evaluate(chosen, folder, limit=limit, on_progress=live.update)
    for line in verdict(report):
        console.print(line)
    console.print(f"report: {folder / 'report.html'}")
    return 1 if any(arm.failed for arm in report.results.arms) else 0


@eval_app.command("compare")
def eval_compare(
    first: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    second: Annotated[Path, typer.Argument(help="Folder of another finished run.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for a page that compares the answers question by question."),
    ] = None,
) -> int:
    """Report which inputs, figures and answers differ between two runs."""
    from rag_ft.cli.render import stdout
    from rag_ft.evaluation.report.comparison import changed_answers, compare_page
    from rag_ft.evaluation.report.results import differences, read_results

    lines = differences(read_results(first), read_results(second))
    lines += [change.line for change in changed_answers(first, second)]
    for line in lines or ["no difference"]:
        stdout().print(line)
    if output is not None:
        stdout().print(f"page: {compare_page(first, second, output)}")
    return 0


@eval_app.command("reproduce")
def eval_reproduce(
    report: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    recipe: Annotated[Path, typer.Argument(help="Recipe that the run was made with.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the new run. Default: a temporary one.", show_default=False),
    ] = None,
    limit: LimitOption = None,
    questions: QuestionsOption = None,
    feedback: FeedbackOption = None,
    only_feedback: OnlyFeedbackOption = False,
    documents: DocumentsOption = None,
) -> int:
    """Run a recipe again and report which inputs and figures changed; exit status 1 if a figure did."""
    from rag_ft.cli.render import EvaluationLine, stderr, stdout
    from rag_ft.evaluation.evaluate import evaluate
    from rag_ft.evaluation.report.results import made_differently, moved_figures, read_results
    from rag_ft.evaluation.runner import PREDICTIONS
    from rag_ft.extras import require_extra

    require_extra("eval", "an evaluation")
    before = read_results(report)
    if output is not None and (output / PREDICTIONS).exists():
        raise UsageError(f"{output} already holds a run, and resuming it would repeat nothing: give a new folder")
    chosen = _recipe(recipe, questions, documents, feedback, only_feedback)
    with tempfile.TemporaryDirectory() as scratch, EvaluationLine(stderr()) as live:
        again = evaluate(
            chosen,
            output or Path(scratch),
            limit=limit,
            on_progress=live.update,
        )
    moved = moved_figures(before, again.results)
    for line in [*made_differently(before, again.results), *(moved or ["every figure is the same"])]:
        stdout().print(line)
    return 1 if moved else 0


def _recipe(
    path: Path, questions: Path | None, documents: Path | None, feedback: Path | None, only_feedback: bool
) -> Recipe:
    """The recipe of a file with what the options replace in it. Raises EvaluationError, UsageError."""
    from rag_ft.evaluation.recipe import read_recipe

    recipe = read_recipe(path)
    if only_feedback:
        if questions is not None:
            raise UsageError("--only-feedback asks no other questions: drop it, or --questions")
        if feedback is None and not recipe.feedback:
            raise UsageError("--only-feedback needs the index that has the feedback: give it with --feedback INDEX")
    replaced = {"questions": questions, "documents": documents, "feedback": feedback}
    update = {name: str(source.resolve()) for name, source in replaced.items() if source is not None}
    return recipe.model_copy(update={**update, **({"questions": ""} if only_feedback else {})})
