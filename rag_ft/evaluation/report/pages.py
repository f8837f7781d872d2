"""A report as one HTML file that opens offline, and as Markdown: the verdict first, then the figures behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.advice import break_even, role_of
from rag_ft.evaluation.error_budget import BINS, GOOD, Bin, bin_of
from rag_ft.evaluation.figures import MEASURES, Contrast
from rag_ft.evaluation.predictions import Prediction
from rag_ft.evaluation.report.cells import (
    accepted,
    escaped,
    markdown_table,
    number,
    share,
    signed,
    stated,
    with_interval,
)
from rag_ft.evaluation.report.kinds import KindTable, kind_tables, origin_tables
from rag_ft.evaluation.report.plots import curve_plot, flow_plot, plots
from rag_ft.evaluation.report.results import (
    QUESTIONS_FILE,
    REPORT_PAGE,
    REPORT_TEXT,
    RESULTS,
    SPEED,
    ReportData,
    Results,
    check_report,
    check_run_folder,
)
from rag_ft.evaluation.runner import RunFolder
from rag_ft.files import full_disk_as, replacing_together
from rag_ft.metrics.kinds import score_of
from rag_ft.questions.records import origin_words
from rag_ft.schema import Question

COLUMNS = ("f1", "exact_match", "f1_answerable", "f1_retrieved", "citation_precision")
"""Measures with intervals in the table of arms."""


_TEMPLATE = Path(__file__).with_name("report.html.jinja")


_SHOWN = 20
"""Number of questions shown side by side."""


_LONGEST = 160
"""Number of characters of an answer that a table shows; the rest are counted."""


def _apart(results: Results) -> list[tuple[str, list[KindTable]]]:
    """The tables of parts of the questions, with the heading above them."""
    tables = [
        ("By kind of question", kind_tables(results.arms)),
        ("By origin of the questions", origin_tables(results.arms)),
    ]
    return [(heading, shown) for heading, shown in tables if shown]


def markdown(report: ReportData) -> str:
    """The report as Markdown, without plots."""
    results = report.results
    lines = [f"# {results.title}", "", *_paragraphs(verdict(report)), "## Arms", ""]
    lines += [
        *markdown_table(["arm", *_arm_heads()], [[escaped(name), *cells] for name, cells in _arm_rows(report)]),
        "",
    ]
    lines += [line for note in _notes(report) for line in (note, "")]
    for heading, tables in _apart(results):
        lines += [f"## {heading}", ""]
        for table in tables:
            rows = [[escaped(name), *cells] for name, *cells in table.rows]
            lines += [f"### {table.title}", "", table.words, "", *markdown_table(["arm", *table.heads], rows), ""]
    lines += ["## Time, memory and cost", ""]
    lines += markdown_table(
        ["arm", *_cost_heads(report)], [[escaped(name), *cells] for name, cells in _cost_rows(report)]
    )
    lines += ["", COST_NOTE, "", "## Where the questions go", ""]
    lines += markdown_table(
        ["", *(escaped(arm.name) for arm in results.arms)],
        [[name, *(str(arm.budget.get(name, 0)) for arm in results.arms)] for name in _bins(results)],
    )
    plots_with_tables = [flow_plot(results.flow)] if results.flow is not None else []
    plots_with_tables += [curve_plot(results.learning_curve)] if results.learning_curve is not None else []
    for plot in plots_with_tables:
        lines += ["", f"## {plot.title}", "", plot.words, "", *markdown_table(plot.heads, plot.rows)]
    lines += ["", "## Differences", ""]
    lines += markdown_table(
        ["arms", f"difference in {_metric(results.contrasts)}", "Holm's p", "smallest that would show"],
        [
            [
                f"{escaped(contrast.first)} − {escaped(contrast.second)}",
                signed(contrast.difference),
                f"{contrast.p_holm:.3g}",
                number(contrast.detectable, ".3f"),
            ]
            for contrast in results.contrasts
        ],
    )
    lines += ["", "## Beyond these figures", "", *(f"- {rule}" for rule in results.advice.standing), ""]
    lines += ["## How this was made", "", *(f"- {line}" for line in _provenance(report)), ""]
    return "\n".join(lines)


def html(report: ReportData) -> str:
    """The report as one HTML page, without scripts or requests."""
    from jinja2 import Environment

    results = report.results
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        verdict=verdict(report),
        arm_heads=_arm_heads(),
        arm_rows=_arm_rows(report),
        cost_heads=_cost_heads(report),
        cost_rows=_cost_rows(report),
        cost_note=COST_NOTE,
        notes=_notes(report),
        apart=_apart(results),
        plots=plots(report),
        bins=_bins(results),
        contrasts=[
            (contrast, signed(contrast.difference), number(contrast.detectable, ".3f"))
            for contrast in results.contrasts
        ],
        metric=_metric(results.contrasts),
        side_by_side=_side_by_side(report) if results.recipe.get("show_questions", True) else [],
        provenance=_provenance(report),
    )


def _bins(results: Results) -> list[Bin]:
    """The bins that this run's questions can be in."""
    return [name for name in BINS if any(name in arm.budget for arm in results.arms)]


def _arm_heads() -> list[str]:
    return [*(MEASURES[key] for key in COLUMNS), MEASURES["abstention_recall"], "failed"]


def _arm_rows(report: ReportData) -> list[tuple[str, list[str]]]:
    """Each arm with its measures."""
    return [
        (
            arm.name,
            [
                *(with_interval(arm.figures.get(key)) for key in COLUMNS),
                share(arm.abstention_recall),
                str(arm.failed),
            ],
        )
        for arm in report.results.arms
    ]


def verdict(report: ReportData) -> list[str]:
    """The conclusions, a paragraph each: the advice, the declared contrast, the reasons."""
    results = report.results
    roles = {role_of(settings) for settings in results.settings.values()}
    tuned, retrieved = bool(roles & {"tune", "both"}), bool(roles & {"retrieve", "retrieve and prompt", "both"})
    advice = {
        "both": "Tune and retrieve.",
        "retrieve": f"Retrieve; tuning was not {'worth it here' if tuned else 'measured'}.",
        "tune": f"Tune; retrieval was not {'worth it here' if retrieved else 'measured'}.",
        "prompt": "Prompt; "
        + (
            "neither retrieval nor tuning was worth it here."
            if tuned and retrieved
            else f"{'tuning' if tuned else 'retrieval'} was not worth it here, and the other was not measured."
        ),
        "cannot tell": "These questions cannot tell which way is best.",
    }
    primary = results.primary
    declared = []
    if primary is not None:
        clear = primary.p < 0.05 and primary.apart
        unclear = "" if clear else f" No difference was shown; {primary.would_have_shown}."
        declared = [
            f"Declared before the run: the {MEASURES[primary.metric]} of “{primary.first}” minus that of"
            f" “{primary.second}” is {signed(primary.difference)} (p = {primary.p:.2g}).{unclear}"
        ]
    origins = []
    if results.origins:
        origins = [f"People did not write all of the questions that are judged: {origin_words(results.origins)}."]
    return [advice[results.advice.choice], *origins, *declared, *results.advice.reasons]


def _notes(report: ReportData) -> list[str]:
    """What the figures rest on, a paragraph each."""
    results = report.results
    notes = [
        f"{results.questions:,} questions ({results.answerable:,} answerable) about {results.documents:,} documents;"
        f" {results.left_out:,} of the file were not asked. Differences under {results.detectable:.2f} F1 were not"
        " expected to show. Brackets are 95% intervals, from resampling documents.",
        "F1 and exact match count null as the right answer to an unanswerable question. “On answerable” covers only"
        " answerable questions, “where retrieved” only those of them whose gold passage was retrieved. Citation"
        " precision is the share of citations whose passage holds the evidence; abstention recall is the share of"
        " unanswerable questions that were declined.",
    ]
    if results.answerable < results.questions:
        share = 1 - results.answerable / results.questions
        notes.append(f"Declining every question would get F1 {share:.3f}, all of it on unanswerable questions.")
    if results.foreign:
        notes.append(f"{results.foreign:,} questions are about documents that the index does not have.")
    if results.near_duplicates:
        notes.append(
            f"{results.near_duplicates:,} questions repeat another question in nearly the same words, and count twice."
        )
    if results.retrieval:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in results.retrieval.items())
        notes.append(f"Retrieval, shared by all arms: {figures}.")
    if results.development:
        basis = max(results.development.values(), key=lambda chosen: chosen.questions)
        thresholds = ", ".join(f"“{name}” {chosen.threshold:.3g}" for name, chosen in results.development.items())
        notes.append(
            f"Thresholds, the confidence under which an arm declines, were chosen by the rule of rag-ft train on"
            f" {basis.questions:,} other questions ({basis.unanswerable:,} unanswerable) about {basis.documents:,}"
            f" documents that are not judged here: {thresholds}."
        )
    whole = [f"“{name}”" for name, settings in results.settings.items() if settings.get("whole sentences")]
    if whole:
        notes.append(
            "As rag-ft ask does with the packaged adapter, these answer how, why, yes/no and the like with whole"
            f" sentences, and readers give lists to their end: {', '.join(whole)}. The answers of other readers are the"
            " words that these chose."
        )
    for name, study in results.faithfulness.items():
        notes.append(
            f"“{name}” with the answer swapped in the gold passage: of {study.followed.questions:,} answers,"
            f" {study.followed.mean:.0%} follow the passage and {study.remembered.mean:.0%} are still the real answer."
        )
    notes += _earned_back(report)
    for name, count in results.leaks.items():
        notes.append(
            f"{count:,} questions are about documents that the adapter of “{name}” was trained on: its figures measure"
            " memory too."
        )
    for name, count in results.chosen_on.items():
        chosen_here = "development" in str(results.settings[name].get("threshold chosen on", ""))
        notes.append(
            f"{count:,} questions are about held-out documents of the adapter of “{name}”, on which its checkpoint"
            f" {'was' if chosen_here else 'and threshold were'} chosen: its figures are optimistic."
        )
    for arm in results.arms:
        for reason, count in arm.failures.items():
            notes.append(f"“{arm.name}” failed on {count:,} questions, which have no score: {reason}")
    return notes


def _provenance(report: ReportData) -> list[str]:
    """What the report was made with: seed, fingerprints, settings, versions."""
    results = report.results
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    recipe = results.recipe
    lines = [f"seed {recipe.get('seed', 0)}; k {recipe.get('k')}; retrieval {recipe.get('retrieval')}"]
    lines += [f"{name} fingerprint: {value}" for name, value in results.fingerprints.items()]
    for name, settings in results.settings.items():
        lines.append(f"{name}: " + "; ".join(f"{key} {value}" for key, value in settings.items()))
    return [*lines, f"versions: {versions}"]


COST_NOTE = (
    "Measured on the machine of the run, in batches: a passage that several questions share is read once. Memory is the"
    " peak of the whole process, which holds the models of all arms. Energy is an estimate: seconds times watts, by the"
    " recipe's price table or else 65 W."
)


def _cost_heads(report: ReportData) -> list[str]:
    heads = ["s per question, median", "95th percentile", "tokens/s", "memory, MB"]
    heads += ["GPU memory, MB"] if _on_device(report) else []
    heads += ["Wh per 1,000, estimated"]
    return [*heads, f"{report.prices.currency} per 1,000"] if report.prices is not None else heads


def _cost_rows(report: ReportData) -> list[tuple[str, list[str]]]:
    """Each arm that replied with its time, memory, energy and cost."""
    rows = []
    for arm in report.results.arms:
        speed = report.speed.get(arm.name)
        if speed is None:
            continue
        cells = [f"{speed.seconds_p50:.2f}", f"{speed.seconds_p95:.2f}", number(speed.tokens_per_second, ",.0f")]
        cells.append(number(speed.memory_bytes, ",.0f", 1e6))
        if _on_device(report):
            cells.append(number(speed.device_memory_bytes, ",.0f", 1e6))
        cells.append(number(speed.energy_per_thousand, ",.1f"))
        if report.prices is not None:
            cells.append(number(speed.cost_per_thousand, ",.2f"))
        rows.append((arm.name, cells))
    return rows


def _on_device(report: ReportData) -> bool:
    return any(speed.device_memory_bytes is not None for speed in report.speed.values())


def _earned_back(report: ReportData) -> list[str]:
    """When the training has paid for itself against each priced chat model and prompted reader."""
    prices = report.prices
    if prices is None or prices.training is None:
        return []
    roles = {name: role_of(settings) for name, settings in report.results.settings.items()}
    costs = {
        name: speed.cost_per_thousand for name, speed in report.speed.items() if speed.cost_per_thousand is not None
    }
    tuned = next((name for name in costs if roles[name] == "both"), None)
    if tuned is None:
        return []
    lines = []
    for name, cost in costs.items():
        if report.results.settings[name].get("kind") != "chat" and roles[name] != "retrieve and prompt":
            continue
        answers = break_even(prices.training, costs[tuned], cost)
        when = "never pays for itself" if answers is None else f"pays for itself after {answers:,.0f} answers"
        lines.append(
            f"Against “{name}”, a training that cost {prices.training:,.2f} {prices.currency} {when}: “{tuned}” costs"
            f" {costs[tuned]:.2f} per 1,000 answers, “{name}” {cost:.2f}."
        )
    return lines


def _side_by_side(report: ReportData) -> list[dict[str, Any]]:
    """The questions on which arms differ most in F1, then the worst answered: those to read first."""
    by_question: dict[str, list[Prediction]] = {}
    for predictions in report.predictions.values():
        for prediction in predictions:
            by_question.setdefault(prediction.question_id, []).append(prediction)

    def order(question: Question) -> tuple[float, float, str]:
        replies = by_question[question.id]
        scores = [score_of(reply.answer, question, reply.yes) for reply in replies if not reply.failed] or [0.0]
        return min(scores) - max(scores), min(scores), question.id

    chosen = sorted(report.questions, key=order)[:_SHOWN]
    return [
        {
            "question": question.question,
            "accepted": accepted(question),
            "replies": [
                {
                    "arm": reply.arm,
                    "answer": _cut(reply.failed or _answer_text(reply)),
                    "declined": reply.answer is None,
                    "parts": _highlighted(reply),
                    "bin": bin_of(reply, question),
                    "good": bin_of(reply, question) in GOOD,
                }
                for reply in by_question[question.id]
            ],
        }
        for question in chosen
    ]


def _answer_text(reply: Prediction) -> str:
    return "no answer" if reply.answer is None else stated(reply.answer, reply.yes)


def _highlighted(prediction: Prediction) -> tuple[str, str, str]:
    """The quote before, at and after the answer."""
    quote = _cut(prediction.citations[0].quote, 400) if prediction.citations else ""
    answer = prediction.answer or ""
    if not answer or answer not in quote or answer == quote:
        return quote, "", ""
    return quote.partition(answer)


def _cut(text: str, longest: int = _LONGEST) -> str:
    more = len(text) - longest
    return text if more <= 0 else f"{text[:longest]}… ({more:,} more characters)"


def _metric(contrasts: Sequence[Contrast]) -> str:
    return MEASURES[contrasts[0].metric if contrasts else "f1"]


def _paragraphs(sentences: Sequence[str]) -> list[str]:
    return [f"**{sentences[0]}**", "", *(line for sentence in sentences[1:] for line in (sentence, ""))]


class Report(ReportData):
    """Results with what they were computed from, ready to be drawn and saved."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    run: RunFolder | None = Field(default=None, exclude=True, repr=False)
    """Folder of the run's predictions, which `save` copies; None for a report built from stored files."""

    def save(self, folder: str | Path) -> Path:
        """Write the report to a folder, with the run's predictions; returns the path of report.html.

        The files are report.html, report.md, results.json, speed.json, predictions.jsonl and, if the recipe allows
        showing them, questions.jsonl, which `rag-ft eval compare` reads. A kill leaves the former report, this one, or
        files without results.json, which nothing reads as a report. Raises EvaluationError for a file of that name that
        is not from an evaluation, and for a full disk.
        """
        folder = Path(folder)
        copied_run = self.run if self.run is not None and not self.run.is_same(folder) else None
        if copied_run is None:
            check_report(folder)
        else:
            check_run_folder(folder)
        speed = {name: speed.model_dump() for name, speed in self.speed.items()}
        texts = {
            RESULTS: json.dumps(self.results.model_dump(mode="json"), indent=1, allow_nan=False) + "\n",
            REPORT_PAGE: html(self),
            REPORT_TEXT: markdown(self),
            SPEED: json.dumps(speed, indent=1) + "\n",
            QUESTIONS_FILE: "".join(
                question.model_dump_json(exclude_defaults=True) + "\n" for question in self.questions
            ),
        }
        if not self.results.recipe.get("show_questions", True):
            del texts[QUESTIONS_FILE]
        with full_disk_as(EvaluationError, folder, "the replies are kept"):
            folder.mkdir(parents=True, exist_ok=True)
            if copied_run is not None:
                (folder / RESULTS).unlink(missing_ok=True)  # never beside the predictions of another run
                copied_run.copy_to(folder)
            if QUESTIONS_FILE not in texts:
                (folder / QUESTIONS_FILE).unlink(missing_ok=True)  # left by a report that showed them
            with replacing_together([folder / name for name in texts]) as works:
                for work, text in zip(works, texts.values(), strict=True):
                    work.write_text(text, encoding="utf-8")
        return folder / REPORT_PAGE
