"""Results of an evaluation as stored: records, reading them back, comparing two."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.advice import Advice
from rag_ft.evaluation.error_budget import Flow
from rag_ft.evaluation.figures import ArmFigures, Contrast
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.recipe import Prices
from rag_ft.evaluation.studies.development import ChosenThreshold
from rag_ft.evaluation.studies.faithfulness import Faithfulness
from rag_ft.evaluation.studies.learning_curve import LearningCurve
from rag_ft.evaluation.studies.robustness import Cell
from rag_ft.files import is_plain_file
from rag_ft.schema import Question

RESULTS = "results.json"


SPEED = "speed.json"


QUESTIONS = "questions.jsonl"


PAGE, TEXT = "report.html", "report.md"


FILES = (RESULTS, PAGE, TEXT, SPEED, QUESTIONS)
"""Of a report, in the order in which they are put in place: the results, which a reader looks for, go first and come
back last; the page next, because it says whose it is."""


GENERATOR = '<meta name="generator" content="rag_ft">'


PARTS = ("development", "swapped", "robustness", "curve")
"""Folders of an evaluation with more predictions."""


class Speed(BaseModel):
    """What one arm took on the machine of the run; not part of `results.json`, which two runs must agree on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds_p50: float
    seconds_p95: float
    tokens_per_second: float | None
    cost_per_thousand: float | None = None
    """Of a thousand questions, by the recipe's prices; None without a price for the arm."""
    energy_per_thousand: float | None = None
    """Watt-hours of a thousand questions, estimated: seconds times the recipe's watts; None for a model elsewhere."""
    memory_bytes: int | None = None
    """Peak of the process, which holds the models of all arms, while this one answered."""
    device_memory_bytes: int | None = None
    """Peak of what torch allocated on the GPU."""


class Results(BaseModel):
    """Everything that a report is drawn from, and nothing that a clock says: equal inputs give equal bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    recipe: dict[str, JsonValue]
    versions: dict[str, str]
    fingerprints: dict[str, str]
    """index, questions, and for each arm what it is made of."""
    questions: int
    answerable: int
    documents: int
    near_duplicates: int
    """Questions that another one asks too, word order and little words apart: they count twice."""
    foreign: int = 0
    """Questions about documents that the index does not have, which nothing can retrieve."""
    left_out: int
    """Questions of the file that were not asked, by document, split, sample or limit."""
    detectable: float
    """Smallest difference that so many questions can be expected to show."""
    primary: Contrast | None
    """The contrast declared in the recipe; None where its arms share no reply."""
    retrieval: dict[str, float]
    arms: tuple[ArmFigures, ...]
    faithfulness: dict[str, Faithfulness]
    """For arms that read passages: what they say where the gold passage says something else."""
    robustness: tuple[Cell, ...]
    """Of the tuned reader with passages, where the recipe asks for it."""
    flow: Flow | None = None
    """From the best prompted reader with passages to the best tuned one; None where the run has not both."""
    learning_curve: LearningCurve | None = None
    """F1 by records that the reader was trained on, where the recipe names adapters."""
    leaks: dict[str, int]
    """Arm → questions about documents that its adapter was trained on, where there are any."""
    chosen_on: dict[str, int] = {}
    """The same of documents that it was held out on, by which its step and its own threshold were chosen."""
    development: dict[str, ChosenThreshold] = {}
    """Arm → the threshold that was chosen for it on questions that are not judged."""
    settings: dict[str, dict[str, JsonValue]]
    contrasts: tuple[Contrast, ...]
    advice: Advice


def check_report(folder: Path) -> None:
    """Raise EvaluationError where a report in this folder would write over what is from no report."""
    try:
        before = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        ours = {"recipe", "arms", "fingerprints"} <= before.keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        before, ours = {}, False
    hidden = ours and before["recipe"].get("show_questions") is False
    ours = ours or is_own_page(folder / PAGE)
    for name in FILES:
        path = folder / name
        theirs = not ours or not is_plain_file(path) or (name == QUESTIONS and hidden)
        if os.path.lexists(path) and theirs:
            raise EvaluationError(
                f"{path} is not from an evaluation of rag_ft, and is not written over: give another folder"
            )


def is_own_page(path: Path) -> bool:
    """Whether a page was written by this program."""
    if not is_plain_file(path):
        return False
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


def read_results(folder: str | Path) -> Results:
    """The results of a finished evaluation. Raises EvaluationError."""
    path = Path(folder) / RESULTS
    try:
        return Results.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror}): give the folder of a finished run") from error
    except ValidationError as error:
        raise EvaluationError(f"{path} is not an evaluation's results: run the evaluation again") from error


def differences(first: Results, second: Results) -> list[str]:
    """What two results disagree on, a sentence each: first of what they were made from, then figure by figure."""
    return [*made_differently(first, second), *moved_figures(first, second)]


def made_differently(first: Results, second: Results) -> list[str]:
    """What two results were made from that is not the same: index, questions, libraries, arms and their settings."""
    found = [
        f"made from another {name}: {str(one)[:12]} and {str(other)[:12]}"
        for name, one, other in _both(first.fingerprints, second.fingerprints)
        if one != other
    ]
    found += [
        f"version of {name}: {one} and {other}"
        for name, one, other in _both(first.versions, second.versions)
        if one != other
    ]
    for name, one, other in _both(first.settings, second.settings):
        if one is None or other is None:
            found.append(f"arm {name!r} is in one of the two only")
        elif one != other:
            keys = ", ".join(key for key, was, now in _both(one, other) if was != now)
            found.append(f"arm {name!r} has other settings: {keys}")
    return found


def moved_figures(first: Results, second: Results) -> list[str]:
    """Figures that differ between two results, a sentence each."""
    found = [
        f"retrieval, {name}: {_shown(was)} and {_shown(now)}"
        for name, was, now in _both(first.retrieval, second.retrieval)
        if was != now
    ]
    arms, others = ({arm.name: arm for arm in results.arms} for results in (first, second))
    for name, one, other in _both(arms, others):
        if one is None or other is None:
            continue
        means = ({key: value.mean for key, value in arm.figures.items()} for arm in (one, other))
        plain = ({key: getattr(arm, key) for key in _PLAIN_FIGURES} for arm in (one, other))
        bins = (dict(arm.budget) for arm in (one, other))
        for pair in (means, plain, bins):
            for figure, was, now in _both(*pair):
                if was != now:
                    found.append(f"arm {name!r}, {figure.replace('_', ' ')}: {_shown(was)} and {_shown(now)}")
    return found


_PLAIN_FIGURES = ("replied", "failed", "abstention_precision", "abstention_recall", "risk_area", "calibration_error")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value}" if isinstance(value, int) else f"{value:.4f}"


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))]


class ReportData(BaseModel):
    """Results with what they were computed from: all that a report is drawn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    results: Results
    speed: dict[str, Speed]
    questions: tuple[Question, ...]
    predictions: dict[str, tuple[Prediction, ...]]
    prices: Prices | None = None
