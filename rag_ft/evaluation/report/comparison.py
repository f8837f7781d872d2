"""Two finished runs side by side, question by question: what changed, for better and for worse."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.error_budget import GOOD, Bin, bin_of
from rag_ft.evaluation.figures import f1_of
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.report.results import QUESTIONS, differences, is_own_page, read_results
from rag_ft.evaluation.runner import PREDICTIONS, read_predictions
from rag_ft.files import full_disk_as, write_atomic
from rag_ft.questions.records import read_questions
from rag_ft.schema import Question

PAGE = "compare.html"
_TEMPLATE = Path(__file__).with_name("compare.html.jinja")
_SHOWN = 500
"""Changed answers that a page shows; the rest is counted."""

_LONGEST = 160
"""Characters of an answer that a line shows."""


class Changed(NamedTuple):
    """A question that an arm answers differently in the second run."""

    arm: str
    question_id: str
    question: Question | None
    """None where neither run keeps its questions."""
    first: Prediction
    second: Prediction

    @property
    def gain(self) -> float | None:
        """F1 of the second less F1 of the first; None without the accepted answers, or where one of them failed."""
        if self.question is None or self.first.failed or self.second.failed:
            return None
        return f1_of(self.second, self.question) - f1_of(self.first, self.question)

    @property
    def line(self) -> str:
        """In a sentence."""
        change = "" if self.gain is None else f" (F1 {self.gain:+.2f})"
        return f"{self.arm}, question {self.question_id}: {_said(self.first)} and {_said(self.second)}{change}"


def changed_answers(first: str | Path, second: str | Path) -> list[Changed]:
    """What arms of both runs answer differently, by arm and question. Raises EvaluationError where one is no run."""
    asked, questions = (_questions(Path(folder)) for folder in (second, first))
    # The same id may name another question in another file; by its words each is found again.
    renamed = {_words(one): name for name, one in asked.items()}
    same = {name: renamed.get(_words(one), "") if asked else name for name, one in questions.items()}
    one, other = (_last_predictions(Path(folder) / PREDICTIONS) for folder in (first, second))
    found = []
    for arm, question in sorted(one):
        before, after = one[arm, question], other.get((arm, same.get(question, question)))
        if after is not None and (before.answer, before.failed) != (after.answer, after.failed):
            found.append(Changed(arm, question, questions.get(question) or asked.get(question), before, after))
    return found


def _words(question: Question) -> tuple[str, tuple[str, ...]]:
    """What makes two questions the same: their words and the places that they are about."""
    return question.question, tuple(f"{one.document_id} {one.start} {one.end}" for one in question.evidence)


def compare_page(first: str | Path, second: str | Path, output: str | Path) -> Path:
    """Write a page that opens offline with all that differs between two runs; its path.

    Answers that got worse come first, then those that got better, the largest change first. Raises EvaluationError.
    """
    from jinja2 import Environment

    results = [read_results(folder) for folder in (first, second)]
    changed = changed_answers(first, second)
    ordered = sorted(changed, key=lambda one: (*_rank(one), one.arm, one.question_id))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        titles=[one.title for one in results],
        names=[Path(folder).name for folder in (first, second)],
        differences=differences(*results),
        arms=_by_arm(changed),
        changed=[_row(one) for one in ordered[:_SHOWN]],
        more=max(0, len(ordered) - _SHOWN),
    )
    output = Path(output)
    if os.path.lexists(output / PAGE) and not is_own_page(output / PAGE):
        raise EvaluationError(f"{output / PAGE} is no comparison of rag_ft and is not replaced: give another folder")
    with full_disk_as(EvaluationError, output):
        output.mkdir(parents=True, exist_ok=True)
        write_atomic(output / PAGE, page)
    return output / PAGE


def _rank(one: Changed) -> tuple[int, float]:
    """Worse, better, changed without a difference, unknown."""
    gain = one.gain
    if gain is None:
        return (3, 0.0)
    return (0, gain) if gain < 0 else (1, -gain) if gain > 0 else (2, 0.0)


def _by_arm(changed: Sequence[Changed]) -> list[dict[str, Any]]:
    rows = []
    for arm in dict.fromkeys(one.arm for one in changed):
        gains = [one.gain for one in changed if one.arm == arm]
        rows.append(
            {
                "name": arm,
                "worse": sum(gain is not None and gain < 0 for gain in gains),
                "better": sum(gain is not None and gain > 0 for gain in gains),
                "other": sum(gain is None or gain == 0 for gain in gains),
            }
        )
    return rows


def _row(one: Changed) -> dict[str, Any]:
    sides = []
    for made in (one.first, one.second):
        found: Bin | None = None if one.question is None else bin_of(made, one.question)
        quote = made.citations[0].quote if made.citations else ""
        sides.append({"said": _said(made), "bin": found, "good": found in GOOD, "quote": quote[:400]})
    return {
        "arm": one.arm,
        "id": one.question_id,
        "question": "" if one.question is None else one.question.question,
        "accepted": "" if one.question is None else " · ".join(one.question.answers) or "no answer",
        "gain": one.gain,
        "sides": sides,
    }


def _said(one: Prediction) -> str:
    if one.failed:
        return f"failed: {one.failed}"
    if one.answer is None:
        return "no answer" if one.usable else "nothing usable"
    return f"“{one.answer if len(one.answer) <= _LONGEST else one.answer[:_LONGEST] + '…'}”"


def _questions(folder: Path) -> dict[str, Question]:
    path = folder / QUESTIONS
    return {one.id: one for one in read_questions(path)} if path.is_file() else {}


def _last_predictions(path: Path) -> dict[tuple[str, str], Prediction]:
    if not path.is_file():
        raise EvaluationError(f"{path} is missing: give the folder of a run")
    return {(one.arm, one.question_id): one for one in read_predictions(path)}
