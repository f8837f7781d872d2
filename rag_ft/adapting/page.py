"""The verdict as one HTML page that opens offline, and as JSON: the conclusion first, then what it rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rag_ft.adapting.stages import EVALUATION
from rag_ft.adapting.verdict import Verdict
from rag_ft.evaluation.figures import MEASURES
from rag_ft.evaluation.report.cells import share, with_interval
from rag_ft.evaluation.report.results import REPORT_PAGE, Results

_TEMPLATE = Path(__file__).with_name("verdict.html.jinja")
_COLUMNS = ("f1", "f1_answerable", "f1_retrieved")


def verdict_page(verdict: Verdict, results: Results | None, made_from: Sequence[str]) -> str:
    """The page of a verdict. `results`: of the comparison, where one was made. `made_from`: what it rests on."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        verdict=verdict,
        heads=[*(MEASURES[key] for key in _COLUMNS), MEASURES["abstention_recall"]],
        rows=_rows(results),
        bins=[name for name in results.arms[0].budget if any(arm.budget.get(name) for arm in results.arms)]
        if results is not None
        else [],
        arms=[] if results is None else results.arms,
        report=f"{EVALUATION}/{REPORT_PAGE}",
        made_from=made_from,
    )


def verdict_json(verdict: Verdict) -> str:
    """The verdict as JSON, with paths relative to its folder: equal inputs give equal bytes."""
    inside = Path(verdict.chosen)
    relative = inside.is_relative_to(verdict.output)
    content: dict[str, Any] = {
        "outcome": verdict.outcome,
        "worth_it": verdict.worth_it,
        "difference": verdict.difference,
        "interval": None if verdict.interval is None else list(verdict.interval),
        "chosen": inside.relative_to(verdict.output).as_posix() if relative else verdict.chosen,
        "questions": verdict.questions,
        "origins": dict(verdict.origins),
        "f1": {name: figure.model_dump(mode="json") for name, figure in verdict.figures.items()},
        "headline": verdict.headline,
        "sentences": list(verdict.sentences),
        "mend": [passage.model_dump(mode="json") for passage in verdict.mend],
        "label": [{"id": name, "question": question, "why": list(why)} for name, question, why in verdict.label],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _rows(results: Results | None) -> list[tuple[str, list[str]]]:
    """Each reader with its figures."""
    if results is None:
        return []
    return [
        (
            arm.name,
            [*(with_interval(arm.figures.get(key)) for key in _COLUMNS), share(arm.abstention_recall)],
        )
        for arm in results.arms
    ]


def basis(records: Mapping[str, Any], plan_lines: Sequence[str], versions: Mapping[str, str]) -> list[str]:
    """What a verdict rests on, a line each."""
    return [
        f"{records['questions']:,} question records about {records['documents']:,} documents",
        *plan_lines,
        "versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
