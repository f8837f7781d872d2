"""The tables of a report that show each kind and each origin of questions apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rag_ft.evaluation.figures import MEASURES, ArmFigures, KindFigures
from rag_ft.evaluation.report.cells import number, with_interval
from rag_ft.metrics.kinds import KINDS, WHAT_IS_RIGHT, JudgedKind
from rag_ft.questions.records import ORIGINS
from rag_ft.schema import Origin


class KindTable(NamedTuple):
    """How each arm does on the questions of one kind or origin."""

    title: str
    words: str
    """What counts as right, and what the measures are taken over."""
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The name of an arm, then a cell for each head."""


_NAMES: dict[JudgedKind, str] = {"span": "Spans", "part": "Parts of passages", "yes/no": "Yes or no"}

_MEASURES: dict[JudgedKind, tuple[str, ...]] = {
    "span": ("right", "f1", "f1_answerable", "exact_match_answerable"),
    "part": ("right", "precision", "recall", "f1_answerable", "cited_part"),
    "yes/no": ("accuracy", "decided", "cited_part"),
}
"""Measures with intervals, by kind."""

_PLAIN: dict[JudgedKind, tuple[str, ...]] = {
    "span": ("risk_area", "calibration_error"),
    "part": ("risk_area", "calibration_error"),
    "yes/no": ("surest_half", "risk_area", "calibration_error"),
}
"""Measures without intervals, by kind."""

_MORE: dict[JudgedKind, str] = {
    "span": "",
    "part": " Precision is over the answers given; recall and F1 are over all answerable questions, 0 where declined."
    " “Cites the right part” is the share whose citation overlaps the evidence: a whole passage does that easily, so"
    " read it beside precision. A passage counts as retrieved, or cited rightly, if it holds the evidence or shares at"
    " least half of the shorter of the two with it.",
    "yes/no": " Accuracy is over the decisions made, “decided” is their share of the questions. The surest half is the"
    " half of the questions answered with the highest confidence; one that is not decided counts as wrong. In F1 and"
    " exact match over all questions, a right decision counts as 1 and a wrong one as 0.",
}


_ABOUT_ORIGINS: dict[Origin, str] = {
    "human": "Written by people who looked at the documents.",
    "made": "Written by a program: they may be easier or harder than what people ask.",
    "feedback": "What people asked, with the answer that they called right: one that the reader did not find is missing"
    " unless somebody marked it, so that these questions favour the reader that was asked.",
}


def kind_tables(arms: Sequence[ArmFigures]) -> list[KindTable]:
    """A table for each kind of question that was asked; none where all questions ask for spans."""
    tables = []
    for kind in KINDS:
        asked = [(arm.name, arm.kinds[kind]) for arm in arms if kind in arm.kinds]
        if not asked:
            continue
        most = max((figures for _, figures in asked), key=lambda figures: figures.questions)
        answerable = "" if most.answerable == most.questions else f" ({most.answerable:,} answerable)"
        tables.append(
            KindTable(
                title=f"{_NAMES[kind]}: {most.questions:,} questions{answerable}",
                words=WHAT_IS_RIGHT[kind] + _MORE[kind] + (_guessing(most) if kind == "yes/no" else ""),
                heads=tuple(MEASURES[name] for name in (*_MEASURES[kind], *_PLAIN[kind])),
                rows=tuple((name, *_cells(kind, figures)) for name, figures in asked),
            )
        )
    return tables


_BY_ORIGIN = ("right", "f1", "exact_match", "f1_answerable")


def origin_tables(arms: Sequence[ArmFigures]) -> list[KindTable]:
    """A table for each origin of the questions that were asked; none where people wrote all of them."""
    tables = []
    for origin, words in ORIGINS.items():
        asked = [(arm.name, arm.origins[origin]) for arm in arms if origin in arm.origins]
        if not asked:
            continue
        most = max((figures for _, figures in asked), key=lambda figures: figures.questions)
        tables.append(
            KindTable(
                title=f"{most.questions:,} questions {words} ({most.answerable:,} answerable)",
                words=_ABOUT_ORIGINS[origin],
                heads=tuple(MEASURES[name] for name in _BY_ORIGIN),
                rows=tuple(
                    (name, *(with_interval(figures.figures.get(measure)) for measure in _BY_ORIGIN))
                    for name, figures in asked
                ),
            )
        )
    return tables


def _guessing(figures: KindFigures) -> str:
    """What an arm would get that reads nothing."""
    more = max(figures.yes, figures.questions - figures.yes)
    word = "yes" if more == figures.yes else "no"
    return f" Always saying {word} would be right for {more:,} of {figures.questions:,}."


def _cells(kind: JudgedKind, figures: KindFigures) -> list[str]:
    return [
        *(with_interval(figures.figures.get(name)) for name in _MEASURES[kind]),
        *(number(getattr(figures, name), ".3f") for name in _PLAIN[kind]),
    ]
