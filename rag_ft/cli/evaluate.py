"""`rag-ft eval`: the arms of a recipe, resumable, to a report; two reports compared; a report made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


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
        Path | None, typer.Option("--output", "-o", help="Folder of the results; left out: beside the recipe.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many questions only, for a quick look.")] = None,
    questions: Annotated[Path | None, typer.Option(help="Question records, instead of the recipe's.")] = None,
    documents: Annotated[Path | None, typer.Option(help="Documents, instead of the recipe's.")] = None,
) -> int:
    """Ask every arm every question and write the report; run again, it goes on where it stopped."""
    from rag_ft.cli.render import EvaluationLine, stderr, stdout
    from rag_ft.evaluation.judge import evaluate
    from rag_ft.evaluation.recipe import read_recipe
    from rag_ft.evaluation.report import verdict

    places = {name: str(path.resolve()) for name, path in (("questions", questions), ("documents", documents)) if path}
    folder = output or recipe.with_suffix("") if limit is None else output or Path(f"{recipe.with_suffix('')}-{limit}")
    console = stdout()
    with EvaluationLine(stderr()) as live:
        report = evaluate(
            read_recipe(recipe).model_copy(update=places),
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
    from rag_ft.evaluation.comparison import changed_answers, compare_page
    from rag_ft.evaluation.judge import differences, read_results

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
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new run.")] = Path("reproduced"),
) -> int:
    """Run a recipe again and say which figure moved; exit code 1 where one did."""
    from rag_ft.cli.render import EvaluationLine, stderr, stdout
    from rag_ft.evaluation.judge import differences, evaluate, read_results

    before = read_results(report)
    with EvaluationLine(stderr()) as live:
        again = evaluate(recipe, output, on_progress=live.update)
    found = differences(before, again.results)
    for line in found or ["every figure is the same"]:
        stdout().print(line)
    return 1 if found else 0
