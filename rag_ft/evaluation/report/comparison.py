"""Two finished runs compared question by question: what got better, and what got worse."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.error_budget import GOOD, Bin, bin_of
from rag_ft.evaluation.figures import f1_of
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.report.cells import accepted, stated
from rag_ft.evaluation.report.results import QUESTIONS_FILE, differences, is_own_page, read_results
from rag_ft.evaluation.runner import PREDICTIONS, read_predictions
from rag_ft.files import full_disk_as, write_atomic
from rag_ft.questions.records import read_questions
from rag_ft.schema import Question

COMPARISON_PAGE = "compare.html"
_TEMPLATE = Path(__file__).with_name("compare.html.jinja")
_MAX_CHANGES_SHOWN = 500
"""Number of changed answers that a page shows; the rest are counted."""

_MAX_ANSWER_CHARS_SHOWN = 160
"""Number of characters of an answer that are shown."""


class Changed(NamedTuple):
    """A question that an arm answered differently in the second run."""

    arm: str
    question_id: str
    question: Question | None
    """The question; None where neither run keeps its questions."""
    first: Prediction
    second: Prediction

    @property
    def gain(self) -> float | None:
        """F1 of the second reply minus F1 of the first; None without accepted answers, or if a reply failed."""
        if self.question is None or self.first.failed or self.second.failed:
            return None
        return f1_of(self.second, self.question) - f1_of(self.first, self.question)

    @property
    def line(self) -> str:
        """The change in one line, for the terminal."""
        change = "" if self.gain is None else f" (F1 {self.gain:+.2f})"
        return f"{self.arm}, question {self.question_id}: {_reply(self.first)} → {_reply(self.second)}{change}"


def changed_answers(first: str | Path, second: str | Path) -> list[Changed]:
    """The questions that an arm of both runs answered differently, by arm and question id. Raises EvaluationError."""
    questions, later_questions = (_questions(Path(folder)) for folder in (first, second))
    # An id may name another question in the second run: questions are matched by their words and evidence.
    id_by_identity = {_identity(question): name for name, question in later_questions.items()}
    later_id = {
        name: id_by_identity.get(_identity(question), "") if later_questions else name
        for name, question in questions.items()
    }
    replies, later_replies = (_last_predictions(Path(folder) / PREDICTIONS) for folder in (first, second))
    changed = []
    for arm, name in sorted(replies):
        before, after = replies[arm, name], later_replies.get((arm, later_id.get(name, name)))
        if after is not None and _said(before) != _said(after):
            changed.append(Changed(arm, name, questions.get(name) or later_questions.get(name), before, after))
    return changed


def _said(prediction: Prediction) -> tuple[str | None, bool | None, str]:
    """What makes two replies the same."""
    return prediction.answer, prediction.yes, prediction.failed


def _identity(question: Question) -> tuple[str, tuple[str, ...]]:
    """What makes two questions the same: their words and their evidence."""
    return question.question, tuple(f"{piece.document_id} {piece.start} {piece.end}" for piece in question.evidence)


def compare_page(first: str | Path, second: str | Path, output: str | Path) -> Path:
    """Write a page, which opens offline, with every difference between two runs; returns its path.

    Answers that got worse come first, then those that got better, the largest change first. Raises EvaluationError.
    """
    from jinja2 import Environment

    results = [read_results(folder) for folder in (first, second)]
    changed = changed_answers(first, second)
    ordered = sorted(changed, key=lambda change: (*_rank(change), change.arm, change.question_id))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        titles=[result.title for result in results],
        names=[Path(folder).name for folder in (first, second)],
        differences=differences(*results),
        arms=_by_arm(changed),
        changed=[_row(change) for change in ordered[:_MAX_CHANGES_SHOWN]],
        more=max(0, len(ordered) - _MAX_CHANGES_SHOWN),
    )
    output = Path(output)
    if os.path.lexists(output / COMPARISON_PAGE) and not is_own_page(output / COMPARISON_PAGE):
        raise EvaluationError(
            f"{output / COMPARISON_PAGE} is not a comparison of rag_ft, and is not overwritten: give another folder"
        )
    with full_disk_as(EvaluationError, output):
        output.mkdir(parents=True, exist_ok=True)
        write_atomic(output / COMPARISON_PAGE, page)
    return output / COMPARISON_PAGE


def _rank(change: Changed) -> tuple[int, float]:
    """Sort key: worse, better, other words, unknown; the largest change first."""
    gain = change.gain
    if gain is None:
        return (3, 0.0)
    return (0, gain) if gain < 0 else (1, -gain) if gain > 0 else (2, 0.0)


def _by_arm(changed: Sequence[Changed]) -> list[dict[str, Any]]:
    rows = []
    for arm in dict.fromkeys(change.arm for change in changed):
        gains = [change.gain for change in changed if change.arm == arm]
        rows.append(
            {
                "name": arm,
                "worse": sum(gain is not None and gain < 0 for gain in gains),
                "better": sum(gain is not None and gain > 0 for gain in gains),
                "other": sum(gain is None or gain == 0 for gain in gains),
            }
        )
    return rows


def _row(change: Changed) -> dict[str, Any]:
    sides = []
    question = change.question
    for prediction in (change.first, change.second):
        bin_name: Bin | None = None if question is None else bin_of(prediction, question)
        quote = prediction.citations[0].quote if prediction.citations else ""
        sides.append({"reply": _reply(prediction), "bin": bin_name, "good": bin_name in GOOD, "quote": quote[:400]})
    return {
        "arm": change.arm,
        "id": change.question_id,
        "question": "" if question is None else question.question,
        "accepted": "" if question is None else accepted(question),
        "gain": change.gain,
        "sides": sides,
    }


def _reply(prediction: Prediction) -> str:
    if prediction.failed:
        return f"failed: {prediction.failed}"
    answer = prediction.answer
    if answer is None:
        return "no answer" if prediction.usable else "no usable reply"
    answer = answer if len(answer) <= _MAX_ANSWER_CHARS_SHOWN else answer[:_MAX_ANSWER_CHARS_SHOWN] + "…"
    return f"“{stated(answer, prediction.yes)}”"


def _questions(folder: Path) -> dict[str, Question]:
    path = folder / QUESTIONS_FILE
    return {question.id: question for question in read_questions(path)} if path.is_file() else {}


def _last_predictions(path: Path) -> dict[tuple[str, str], Prediction]:
    if not path.is_file():
        raise EvaluationError(f"{path} is missing: give the folder of a run")
    return {(prediction.arm, prediction.question_id): prediction for prediction in read_predictions(path)}
