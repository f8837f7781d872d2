"""Results of an evaluation as stored in a folder: records, reading them, comparing two."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.advice import Advice
from rag_ft.evaluation.error_budget import BudgetFlow
from rag_ft.evaluation.figures import MEASURES, ArmFigures, Contrast
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.recipe import Prices
from rag_ft.evaluation.resources import Speed
from rag_ft.evaluation.runner import PARTS, check_claim
from rag_ft.evaluation.studies.development import ChosenThreshold
from rag_ft.evaluation.studies.faithfulness import Faithfulness
from rag_ft.evaluation.studies.learning_curve import LearningCurve
from rag_ft.evaluation.studies.robustness import Cell
from rag_ft.files import is_plain_file, is_real_folder
from rag_ft.schema import Question

RESULTS = "results.json"


SPEED = "speed.json"


QUESTIONS_FILE = "questions.jsonl"


REPORT_PAGE, REPORT_TEXT = "report.html", "report.md"


REPORT_FILES = (RESULTS, REPORT_PAGE, REPORT_TEXT, SPEED, QUESTIONS_FILE)
"""Files of a report, in the order in which they are replaced: the results, which a reader looks for, are removed first
and written last; the page comes next, because it names its program."""


GENERATOR = '<meta name="generator" content="rag_ft">'


class Results(BaseModel):
    """Everything that a report is drawn from, except times: equal inputs give equal bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    recipe: dict[str, JsonValue]
    versions: dict[str, str]
    fingerprints: dict[str, str]
    """Fingerprints of the index and of the questions."""
    questions: int
    answerable: int
    documents: int
    near_duplicates: int
    """Number of questions that repeat another one, apart from word order and function words."""
    foreign: int = 0
    """Number of questions about documents that the index does not have."""
    origins: Annotated[dict[str, int], Field(exclude_if=lambda counts: not counts)] = {}
    """Number of questions of each origin; empty where people wrote all of them."""
    left_out: int
    """Number of questions in the file that were not asked, because of document, split, sample or limit."""
    detectable: float
    """Smallest difference in F1 that the questions were expected to show."""
    primary: Contrast | None
    """The contrast declared in the recipe; None where its arms share no reply."""
    retrieval: dict[str, float]
    arms: tuple[ArmFigures, ...]
    faithfulness: dict[str, Faithfulness]
    """What each reading arm answers with the answer swapped in the gold passage, by arm."""
    robustness: tuple[Cell, ...]
    """The heat map of the tuned reader with passages; empty where the recipe asks for none."""
    flow: BudgetFlow | None = None
    """Moves from the best prompted reader with passages to the best tuned one; None if the run lacks either."""
    learning_curve: LearningCurve | None = None
    """F1 by number of training records; None where the recipe names no adapters for it."""
    leaks: dict[str, int]
    """Number of questions about documents that an arm's adapter was trained on, by arm; zeros left out."""
    chosen_on: dict[str, int] = {}
    """Number of questions about an adapter's held-out documents, on which it was chosen, by arm; zeros left out."""
    development: dict[str, ChosenThreshold] = {}
    """The threshold chosen for an arm on development questions, by arm."""
    settings: dict[str, dict[str, JsonValue]]
    contrasts: tuple[Contrast, ...]
    advice: Advice


def check_run_folder(folder: Path) -> None:
    """Raise EvaluationError if an evaluation in this folder would overwrite what an evaluation did not write."""
    check_claim(folder)
    check_report(folder)
    for name in PARTS:
        if os.path.lexists(folder / name) and not is_real_folder(folder / name):
            raise EvaluationError(
                f"{folder / name} is a link or a file, but an evaluation keeps a folder there: move it away"
            )


def check_report(folder: Path) -> None:
    """Raise EvaluationError if a report in this folder would overwrite what is not from a report."""
    try:
        before = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        ours = {"recipe", "arms", "fingerprints"} <= before.keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        before, ours = {}, False
    hidden = ours and before["recipe"].get("show_questions") is False
    ours = ours or is_own_page(folder / REPORT_PAGE)
    for name in REPORT_FILES:
        path = folder / name
        theirs = not ours or not is_plain_file(path) or (name == QUESTIONS_FILE and hidden)
        if os.path.lexists(path) and theirs:
            raise EvaluationError(
                f"{path} is not from an evaluation of rag_ft, and is not overwritten: give another folder"
            )


def is_own_page(path: Path) -> bool:
    """Whether a page was written by rag_ft."""
    if not is_plain_file(path):
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


def read_results(folder: str | Path) -> Results:
    """Read the results of a finished evaluation. Raises EvaluationError."""
    path = Path(folder) / RESULTS
    try:
        return Results.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}): give the folder of a finished run") from error
    except ValidationError as error:
        raise EvaluationError(f"{path} does not hold the results of an evaluation: run the evaluation again") from error


def differences(first: Results, second: Results) -> list[str]:
    """Differences between two results, a sentence each: first what they were made from, then every figure."""
    return [*made_differently(first, second), *moved_figures(first, second)]


def made_differently(first: Results, second: Results) -> list[str]:
    """Differences in what two results were made from: index, questions, libraries, arms and their settings."""
    lines = [
        f"{name} fingerprint: {str(before)[:12]} → {str(after)[:12]}"
        for name, before, after in _paired(first.fingerprints, second.fingerprints)
        if before != after
    ]
    lines += [
        f"{name} version: {before} → {after}"
        for name, before, after in _paired(first.versions, second.versions)
        if before != after
    ]
    for name, before, after in _paired(first.settings, second.settings):
        if before is None or after is None:
            lines.append(f"arm {name!r}: only in the {'second' if before is None else 'first'} run")
        elif before != after:
            keys = ", ".join(key for key, old, new in _paired(before, after) if old != new)
            lines.append(f"arm {name!r}: different settings ({keys})")
    return lines


def moved_figures(first: Results, second: Results) -> list[str]:
    """Figures that differ between two results, a line each."""
    lines = [
        f"retrieval, {name}: {_format(before)} → {_format(after)}"
        for name, before, after in _paired(first.retrieval, second.retrieval)
        if before != after
    ]
    arms_before, arms_after = ({arm.name: arm for arm in results.arms} for results in (first, second))
    for name, arm_before, arm_after in _paired(arms_before, arms_after):
        if arm_before is None or arm_after is None:
            continue
        means = ({key: figure.mean for key, figure in arm.figures.items()} for arm in (arm_before, arm_after))
        plain = ({key: getattr(arm, key) for key in _PLAIN_FIGURES} for arm in (arm_before, arm_after))
        bins = (dict(arm.budget) for arm in (arm_before, arm_after))
        kinds = (_by_kind(arm) for arm in (arm_before, arm_after))
        for pair in (means, plain, bins, kinds):
            for key, before, after in _paired(*pair):
                if before != after:
                    lines.append(f"arm {name!r}, {MEASURES.get(key, key)}: {_format(before)} → {_format(after)}")
    return lines


def _by_kind(arm: ArmFigures) -> dict[str, float | None]:
    """An arm's figures on each kind of question, by kind and measure."""
    figures: dict[str, float | None] = {}
    for kind, of_kind in arm.kinds.items():
        figures |= {f"{kind}, {MEASURES[name]}": figure.mean for name, figure in of_kind.figures.items()}
        figures |= {
            f"{kind}, {MEASURES[name]}": getattr(of_kind, name)
            for name in ("surest_half", "risk_area", "calibration_error")
        }
    return figures


_PLAIN_FIGURES = ("replied", "failed", "abstention_precision", "abstention_recall", "risk_area", "calibration_error")


def _format(value: float | None) -> str:
    return "–" if value is None else f"{value}" if isinstance(value, int) else f"{value:.4f}"


def _paired(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Every key of either mapping with its two values, None where it has none."""
    return [(name, before.get(name), after.get(name)) for name in dict.fromkeys((*before, *after))]


class ReportData(BaseModel):
    """Results with what they were computed from: everything that a report is drawn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: Results
    speed: dict[str, Speed]
    questions: tuple[Question, ...]
    predictions: dict[str, tuple[Prediction, ...]]
    prices: Prices | None = None
