"""`rag-ft eval`: the arms of a recipe, resumable, to a report; two reports compared; a report made again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

from rag_ft.errors import UsageError

if TYPE_CHECKING:
    from rag_ft.evaluation.recipe import Recipe


Limit: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Ask at most N questions, for a quick look.")]
Questions: TypeAlias = Annotated[Path | None, typer.Option(help="Question records, instead of the recipe's.")]
Documents: TypeAlias = Annotated[Path | None, typer.Option(help="Documents, instead of the recipe's.")]


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
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, a .toml file.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results. Default: beside the recipe.")
    ] = None,
    limit: Limit = None,
    questions: Questions = None,
    documents: Documents = None,
) -> int:
    """Ask every arm every question and write the report; re-running resumes."""
    from rag_ft.cli.render import EvaluationLine, stderr, stdout
    from rag_ft.evaluation.evaluate import evaluate
    from rag_ft.evaluation.report.pages import verdict
    from rag_ft.extras import require_extra

    require_extra("eval", "an evaluation")
    folder = output or recipe.with_suffix("") if limit is None else output or Path(f"{recipe.with_suffix('')}-{limit}")
    console = stdout()
    with EvaluationLine(stderr()) as live:
        report = evaluate(
            _recipe(recipe, questions, documents),
            folder,
            limit=limit,
            say=lambda line: console.print(line),
            on_progress=live.update,
        )
    for line in verdict(report):
        console.print(line)
    console.print(f"report: {folder / 'report.html'}")
    return 1 if any(arm.failed for arm in report.results.arms) else 0


@eval_app.command("compare")
def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    second: Annotated[Path, typer.Argument(help="Folder of another.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the comparison as a page, question by question.")
    ] = None,
) -> int:
    """Say what two runs were made from, which figures differ, and which answers."""
    from rag_ft.cli.render import stdout
    from rag_ft.evaluation.report.comparison import changed_answers, compare_page
    from rag_ft.evaluation.report.results import differences, read_results

    found = differences(read_results(first), read_results(second))
    found += [one.line for one in changed_answers(first, second)]
    for line in found or ["no difference"]:
        stdout().print(line)
    if output is not None:
        stdout().print(f"page: {compare_page(first, second, output)}")
    return 0


@eval_app.command("reproduce")
def reproduce(
    report: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    recipe: Annotated[Path, typer.Argument(help="The recipe that it was made by.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the new run. Default: a temporary one.")
    ] = None,
    limit: Limit = None,
    questions: Questions = None,
    documents: Documents = None,
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
        raise UsageError(f"{output} holds a run already, and a run that goes on repeats nothing: give a new folder")
    with tempfile.TemporaryDirectory() as scratch, EvaluationLine(stderr()) as live:
        again = evaluate(
            _recipe(recipe, questions, documents), output or Path(scratch), limit=limit, on_progress=live.update
        )
    moved = moved_figures(before, again.results)
    for line in [*made_differently(before, again.results), *(moved or ["every figure is the same"])]:
        stdout().print(line)
    return 1 if moved else 0


def _recipe(path: Path, questions: Path | None, documents: Path | None) -> Recipe:
    from rag_ft.evaluation.recipe import read_recipe

    given = {"questions": questions, "documents": documents}
    return read_recipe(path).model_copy(
        update={name: str(place.resolve()) for name, place in given.items() if place is not None}
    )
