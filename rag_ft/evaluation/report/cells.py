"""Figures as the text of table cells, in one form for all tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from rag_ft.evaluation.figures import Figure
from rag_ft.schema import Question


def with_interval(figure: Figure | None) -> str:
    """A mean with its interval in brackets; a dash for None."""
    if figure is None:
        return "–"
    interval = f" [{figure.low:.3f}, {figure.high:.3f}]" if figure.low is not None and figure.high is not None else ""
    return f"{figure.mean:.3f}{interval}"


def signed(figure: Figure) -> str:
    """A difference with its sign, and its interval in brackets."""
    interval = f" [{figure.low:+.3f}, {figure.high:+.3f}]" if figure.low is not None and figure.high is not None else ""
    return f"{figure.mean:+.3f}{interval}"


def share(value: float | None) -> str:
    """A share as a percentage; a dash for None."""
    return "–" if value is None else f"{value:.0%}"


def number(value: float | None, form: str, unit: float = 1.0) -> str:
    """A number in units, by a format specification; a dash for None."""
    return "–" if value is None else format(value / unit, form)


def stated(text: str, yes: bool | None) -> str:
    """An answer's text after what it decides, where it does: "Yes: ..."."""
    return {True: "Yes: ", False: "No: ", None: ""}[yes] + text


def accepted(question: Question) -> str:
    """The accepted answers of a question in one line, or that there are none."""
    return stated(" · ".join(question.answers), question.yes) if question.answers else "no answer"


def escaped(text: str) -> str:
    """Text that a Markdown table can hold."""
    return text.replace("|", "\\|").replace("\n", " ")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; cells must be escaped."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
