"""A report as one HTML file that opens offline, and as Markdown: the verdict first, then what it rests on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.advice import break_even, role_of
from rag_ft.evaluation.error_budget import BINS, GOOD, bin_of
from rag_ft.evaluation.figures import Contrast, Figure
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.report.plots import curve_plot, flow_plot, plots
from rag_ft.evaluation.report.results import (
    PAGE,
    QUESTIONS,
    RESULTS,
    SPEED,
    TEXT,
    ReportData,
    check_report,
)
from rag_ft.files import full_disk_as, replacing_together
from rag_ft.metrics.answers import token_f1
from rag_ft.schema import Question

COLUMNS = (
    ("f1", "F1, all"),
    ("exact_match", "exact match, all"),
    ("f1_answerable", "F1, answerable"),
    ("f1_retrieved", "F1 if retrieved"),
    ("citation_precision", "citation precision"),
)


_TEMPLATE = Path(__file__).with_name("report.html.jinja")


_SHOWN = 20
"""Questions side by side."""


_LONGEST = 160
"""Characters of an answer that a table shows; the rest is counted, not hidden."""


def markdown(report: Report) -> str:
    """The report without plots."""
    results = report.results
    lines = [f"# {results.title}", "", *_paragraphs(verdict(report)), "## Arms", ""]
    names = [name for _, name in COLUMNS]
    lines += [
        "| arm | " + " | ".join(names) + " | unanswerable recognised | failed |",
        "|" + "---|" * (len(names) + 3),
    ]
    for arm in results.arms:
        cells = [_shown(arm.figures.get(key)) for key, _ in COLUMNS]
        cells += [_share(arm.abstention_recall), str(arm.failed)]
        lines.append(f"| {_cell(arm.name)} | " + " | ".join(cells) + " |")
    lines += ["", *(line for note in _notes(report) for line in (note, "")), "## What an answer takes", ""]
    heads = _taking_heads(report)
    lines += ["| arm | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    lines += [f"| {_cell(name)} | " + " | ".join(cells) + " |" for name, cells in _taking(report)]
    lines += ["", TAKING, "", "## Where the questions go", ""]
    lines += [
        "| | " + " | ".join(_cell(arm.name) for arm in results.arms) + " |",
        "|---" * (len(results.arms) + 1) + "|",
    ]
    lines += [f"| {name} | " + " | ".join(str(arm.budget[name]) for arm in results.arms) + " |" for name in BINS]
    tables = [flow_plot(results.flow)] if results.flow is not None else []
    tables += [curve_plot(results.learning_curve)] if results.learning_curve is not None else []
    for one in tables:
        lines += ["", f"## {one.title}", "", one.words, ""]
        lines += ["| " + " | ".join(one.heads) + " |", "|---" * len(one.heads) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in one.rows]
    lines += [
        "",
        "## Differences",
        "",
        "| | difference in " + _metric(results.contrasts) + " | Holm's p | shows from |",
    ]
    lines += ["|---|---|---|---|"]
    for contrast in results.contrasts:
        pair, difference = f"{_cell(contrast.first)} − {_cell(contrast.second)}", _signed(contrast.difference)
        lines.append(f"| {pair} | {difference} | {contrast.p_holm:.3g} | {_number(contrast.detectable, '.3f')} |")
    lines += ["", "## What this cannot say", "", *(f"- {said}" for said in results.advice.standing), ""]
    lines += ["## How it was made", "", *(f"- {said}" for said in _made(report)), ""]
    return "\n".join(lines)


def html(report: Report) -> str:
    """One self-contained page: no script, no request to anywhere."""
    from jinja2 import Environment

    results = report.results
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        verdict=verdict(report),
        columns=COLUMNS,
        arms=[
            {
                "name": arm.name,
                "cells": [_shown(arm.figures.get(key)) for key, _ in COLUMNS],
                "recognised": _share(arm.abstention_recall),
                "failed": arm.failed,
            }
            for arm in results.arms
        ],
        taking_heads=_taking_heads(report),
        taking=_taking(report),
        taking_words=TAKING,
        notes=_notes(report),
        plots=plots(report),
        bins=BINS,
        contrasts=[(one, _signed(one.difference), _number(one.detectable, ".3f")) for one in results.contrasts],
        metric=_metric(results.contrasts),
        side_by_side=_side_by_side(report) if results.recipe.get("show_questions", True) else [],
        made=_made(report),
    )


def verdict(report: Report) -> list[str]:
    """What a person should take away, a sentence each, the advice first."""
    results = report.results
    roles = {role_of(one) for one in results.settings.values()}
    tuned, retrieved = bool(roles & {"tune", "both"}), bool(roles & {"retrieve", "retrieve and prompt", "both"})
    said = {
        "both": "Tune and retrieve.",
        "retrieve": f"Retrieve; tuning was not {'worth it here' if tuned else 'measured'}.",
        "tune": f"Tune; retrieval was not {'worth it here' if retrieved else 'measured'}.",
        "prompt": "Prompt; "
        + (
            "neither retrieval nor tuning was worth it here."
            if tuned and retrieved
            else f"{'tuning' if tuned else 'retrieval'} was not worth it here, and the other was not measured."
        ),
        "cannot tell": "These questions cannot tell.",
    }
    first = said[results.advice.choice]
    primary = results.primary
    declared = []
    if primary is not None:
        clear = primary.p < 0.05 and primary.apart
        ends = "." if clear else f": no difference shown; {primary.would_have_shown}."
        declared = [
            f"Declared beforehand: “{primary.first}” against “{primary.second}” differ by"
            f" {_signed(primary.difference)} {primary.metric.replace('_', ' ')} (p {primary.p:.3g}){ends}"
        ]
    return [first, *declared, *results.advice.reasons]


def _notes(report: Report) -> list[str]:
    results = report.results
    notes = [
        f"{results.questions:,} questions ({results.answerable:,} answerable) about {results.documents:,} documents;"
        f" {results.left_out:,} of the file not asked. Differences under {results.detectable:.2f} were not expected to"
        " show. Intervals: 95%, documents drawn again.",
    ]
    if results.answerable < results.questions:
        share = 1 - results.answerable / results.questions
        notes.append(f"Declining every question would get F1 {share:.3f}, all of it on those that have no answer.")
    if results.foreign:
        notes.append(f"{results.foreign:,} questions are about documents that the index does not have.")
    if results.near_duplicates:
        notes.append(
            f"{results.near_duplicates:,} questions ask in other words what another one asks, and count twice."
        )
    if results.retrieval:
        found = ", ".join(f"{name} {value:.3f}" for name, value in results.retrieval.items())
        notes.append(f"Retrieval, for all arms alike: {found}.")
    if results.development:
        most = max(results.development.values(), key=lambda one: one.questions)
        said = ", ".join(f"“{name}” {one.threshold:.3g}" for name, one in results.development.items())
        notes.append(
            f"Confidence from which an arm answers, chosen on {most.questions:,} other questions ({most.unanswerable:,}"
            f" without an answer) about {most.documents:,} documents that are not asked about here, by the rule that"
            f" rag-ft train chooses by: {said}."
        )
    for name, one in results.faithfulness.items():
        notes.append(
            f"“{name}”, the answer swapped in the gold passage: {one.followed.mean:.0%} of {one.followed.questions:,}"
            f" follow the passage, {one.remembered.mean:.0%} still give the real answer."
        )
    notes += _earned_back(report)
    for name, count in results.leaks.items():
        notes.append(
            f"{count:,} questions are about documents that the adapter of “{name}” was trained on: on them its figures"
            " measure memory too."
        )
    for name, count in results.chosen_on.items():
        own = "development" not in str(results.settings[name].get("threshold chosen on", ""))
        notes.append(
            f"{count:,} questions are about documents that the adapter of “{name}” was held out on: the step that was"
            f" kept{' and the threshold' if own else ''} were chosen by such questions, so that its figures are the"
            " better end."
        )
    for arm in results.arms:
        for reason, count in arm.failures.items():
            notes.append(f"“{arm.name}” failed on {count:,} questions, which have no score: {reason}")
    return notes


def _made(report: Report) -> list[str]:
    results = report.results
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    recipe = results.recipe
    lines = [f"seed {recipe.get('seed', 0)}; k {recipe.get('k')}; retrieval {recipe.get('retrieval')}"]
    lines += [f"{name}: {value}" for name, value in results.fingerprints.items()]
    for name, settings in results.settings.items():
        lines.append(f"{name}: " + "; ".join(f"{key} {value}" for key, value in settings.items()))
    return [*lines, versions]


TAKING = (
    "On the machine of the run, many questions at a time: what several share is read once. Memory is the peak of the"
    " whole process, which holds the models of all arms. Energy is an estimate: seconds times the watts of the recipe's"
    " price table."
)


def _taking_heads(report: Report) -> list[str]:
    heads = ["s/question p50", "p95", "tokens/s", "memory, MB"]
    heads += ["GPU memory, MB"] if _on_device(report) else []
    heads += ["Wh a thousand, estimated"]
    return [*heads, f"{report.prices.currency} a thousand"] if report.prices is not None else heads


def _taking(report: Report) -> list[tuple[str, list[str]]]:
    """Time, memory, energy and money of each arm that replied."""
    rows = []
    for arm in report.results.arms:
        speed = report.speed.get(arm.name)
        if speed is None:
            continue
        cells = [f"{speed.seconds_p50:.2f}", f"{speed.seconds_p95:.2f}", _number(speed.tokens_per_second, ",.0f")]
        cells.append(_number(speed.memory_bytes, ",.0f", 1e6))
        if _on_device(report):
            cells.append(_number(speed.device_memory_bytes, ",.0f", 1e6))
        cells.append(_number(speed.energy_per_thousand, ",.1f"))
        if report.prices is not None:
            cells.append(_number(speed.cost_per_thousand, ",.2f"))
        rows.append((arm.name, cells))
    return rows


def _on_device(report: Report) -> bool:
    return any(one.device_memory_bytes is not None for one in report.speed.values())


def _number(value: float | None, shown: str, unit: float = 1.0) -> str:
    return "–" if value is None else format(value / unit, shown)


def _earned_back(report: Report) -> list[str]:
    """When the training has paid for itself, against every arm that has a price and is not the tuned reader's."""
    prices = report.prices
    if prices is None or prices.training is None:
        return []
    roles = {name: role_of(settings) for name, settings in report.results.settings.items()}
    costs = {name: one.cost_per_thousand for name, one in report.speed.items() if one.cost_per_thousand is not None}
    tuned = next((name for name in costs if roles[name] == "both"), None)
    if tuned is None:
        return []
    lines = []
    for name, cost in costs.items():
        if report.results.settings[name].get("kind") != "chat" and roles[name] != "retrieve and prompt":
            continue
        answers = break_even(prices.training, costs[tuned], cost)
        said = f"after {answers:,.0f} answers" if answers is not None else "never: its answers are not the dearer ones"
        lines.append(
            f"A training that cost {prices.training:,.2f} {prices.currency} has paid for itself against “{name}” {said}"
            f" ({costs[tuned]:.2f} against {cost:.2f} a thousand)."
        )
    return lines


def _side_by_side(report: Report) -> list[dict[str, Any]]:
    """The questions on which arms differ most in F1, then the worst answered: what a person should read first."""
    by_question: dict[str, list[Prediction]] = {}
    for made in report.predictions.values():
        for one in made:
            by_question.setdefault(one.question_id, []).append(one)

    def worth(question: Question) -> tuple[float, float]:
        scores = [token_f1(one.answer, question.answers) for one in by_question[question.id] if not one.failed]
        return (max(scores) - min(scores), -min(scores)) if scores else (0.0, 0.0)

    chosen = sorted(report.questions, key=lambda one: (*(-value for value in worth(one)), one.id))[:_SHOWN]
    return [
        {
            "question": question.question,
            "accepted": " · ".join(question.answers) or "no answer",
            "replies": [
                {
                    "arm": one.arm,
                    "answer": _cut(one.failed or (one.answer if one.answer is not None else "no answer")),
                    "declined": one.answer is None,
                    "quote": _cut(one.citations[0].quote, 400) if one.citations else "",
                    "parts": _highlighted(one),
                    "bin": bin_of(one, question),
                    "good": bin_of(one, question) in GOOD,
                }
                for one in by_question[question.id]
            ],
        }
        for question in chosen
    ]


def _highlighted(one: Prediction) -> tuple[str, str, str]:
    """The quote before, at and after the answer."""
    quote = _cut(one.citations[0].quote, 400) if one.citations else ""
    place = quote.find(one.answer) if one.answer else -1
    if place < 0 or one.answer is None or one.answer == quote:
        return (quote, "", "")
    return (quote[:place], one.answer, quote[place + len(one.answer) :])


def _cut(text: str, longest: int = _LONGEST) -> str:
    more = len(text) - longest
    return text if more <= 0 else f"{text[:longest]}… ({more:,} more characters)"


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    interval = f" [{figure.low:.3f}, {figure.high:.3f}]" if figure.low is not None and figure.high is not None else ""
    return f"{figure.mean:.3f}{interval}"


def _signed(figure: Figure) -> str:
    interval = f" [{figure.low:+.3f}, {figure.high:+.3f}]" if figure.low is not None and figure.high is not None else ""
    return f"{figure.mean:+.3f}{interval}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _metric(found: Sequence[Contrast]) -> str:
    return found[0].metric.replace("_", " ") if found else "f1"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _paragraphs(sentences: Sequence[str]) -> list[str]:
    return [f"**{sentences[0]}**", "", *(line for one in sentences[1:] for line in (one, ""))]


class Report(ReportData):
    """Results with what they were computed from, ready to be drawn and saved."""

    def save(self, folder: str | Path) -> Path:
        """Write results.json, speed.json, report.md and report.html; the path of the last.

        The questions with their accepted answers, for `rag-ft eval compare`, are written where the recipe lets them be
        shown. A kill leaves the former report, this one, or files without results.json: no mixture of both can be read
        as a report. Raises EvaluationError for a file of that name that is from no report, and for a full disk.
        """
        folder = Path(folder)
        check_report(folder)
        speed = {name: one.model_dump() for name, one in self.speed.items()}
        texts = {
            RESULTS: json.dumps(self.results.model_dump(mode="json"), indent=1, allow_nan=False) + "\n",
            PAGE: html(self),
            TEXT: markdown(self),
            SPEED: json.dumps(speed, indent=1) + "\n",
            QUESTIONS: "".join(one.model_dump_json(exclude_defaults=True) + "\n" for one in self.questions),
        }
        if not self.results.recipe.get("show_questions", True):
            del texts[QUESTIONS]
        with full_disk_as(EvaluationError, folder, "the replies are kept"):
            folder.mkdir(parents=True, exist_ok=True)
            if QUESTIONS not in texts:
                (folder / QUESTIONS).unlink(missing_ok=True)  # of a report that showed them
            with replacing_together([folder / name for name in texts]) as works:
                for work, text in zip(works, texts.values(), strict=True):
                    work.write_text(text, encoding="utf-8")
        return folder / PAGE
