"""Was tuning worth it, how sure is that, and what to do next: decided by one rule, said in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rag_ft.adapting.judge import BEFORE, BEFORE_HERE, PROMPTED, TUNED, between
from rag_ft.adapting.next_steps import PassageToMend
from rag_ft.evaluation.figures import Contrast, Figure
from rag_ft.evaluation.report.cells import signed
from rag_ft.evaluation.report.results import Results
from rag_ft.models.weights import DEFAULT, PACKAGED
from rag_ft.questions.records import origin_words

Outcome: TypeAlias = Literal["worth it", "not worth it", "cannot be told"]

_LEVER = 0.5
"""Share of wrong answers without the passage that holds the evidence from which retrieval is what to work on."""


@dataclass(frozen=True)
class Verdict:
    """Was tuning worth it, and what to do next."""

    outcome: Outcome
    worth_it: bool
    """Whether the tuned reader is better by more than chance: the lower end of the interval is above zero."""
    difference: float | None
    """F1 of the tuned reader minus that of the one before, on documents that it was not trained on; None if it was not
    measured."""
    interval: tuple[float, float] | None
    """95% interval of the difference."""
    chosen: str
    """The adapter to ask with: `packaged` or a folder."""
    command: str
    """How to ask with it."""
    headline: str
    sentences: tuple[str, ...]
    """How sure it is, and what it rests on."""
    next_steps: tuple[str, ...]
    f1: Mapping[str, float]
    """F1 of each reader."""
    figures: Mapping[str, Figure]
    questions: int
    """Number of questions that were judged."""
    origins: Mapping[str, int]
    """Number of them of each origin; empty where people wrote all of them."""
    mend: tuple[PassageToMend, ...]
    """Passages that questions about them do not find, worst first."""
    label: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Records for a person to look at: id, question, why."""
    output: Path
    """The folder of all results."""

    @property
    def page(self) -> Path:
        """The page to read."""
        return self.output / "verdict.html"

    @property
    def index(self) -> Path:
        """The index of the documents."""
        return self.output / "index"

    @property
    def adapter(self) -> Path | None:
        """The tuned adapter, whether or not it is the chosen one; None if none was trained."""
        folder = self.output / "adapter"
        return folder if (folder / "adapter_config.json").is_file() else None


@dataclass(frozen=True)
class Findings:
    """What a verdict is made from."""

    results: Results
    by_origin: Mapping[str, Contrast]
    wrong: int
    """Number of questions that the reader before tuning gets wrong."""
    not_retrieved: int
    """Number of these whose evidence was not among its passages."""


@dataclass(frozen=True)
class Advised:
    """What to do next, whatever the verdict is."""

    mend: Sequence[PassageToMend]
    label: Sequence[tuple[str, str, tuple[str, ...]]]
    label_file: Path
    unasked: Sequence[str]
    """Documents without a record."""


def ask_command(output: Path, start_from: str, reader: str, tuned: bool) -> str:
    """The command to ask with the chosen adapter."""
    words = ["rag-ft", "ask", "QUESTION", "--index", str(output / "index")]
    words += ["--reader", reader] if reader != DEFAULT else []
    words += ["--adapter", str(output / "adapter")] if tuned else []
    words += ["--adapter", start_from] if not tuned and start_from != PACKAGED else []
    return " ".join(map(shlex.quote, words))


def decide(findings: Findings, advised: Advised, output: Path, start_from: str, reader: str) -> Verdict:
    """The verdict on a comparison that was made."""
    results, contrast = findings.results, findings.results.primary
    low = None if contrast is None else contrast.difference.low
    high = None if contrast is None else contrast.difference.high
    before = _named(start_from)
    worth_it = low is not None and low > 0
    outcome: Outcome = "worth it" if worth_it else "cannot be told" if low is None else "not worth it"
    figures = {arm.name: arm.figures["f1"] for arm in results.arms if "f1" in arm.figures}
    if worth_it:
        headline = "Tuning was worth it: ask with the tuned reader."
    elif low is None:
        headline = f"Whether tuning was worth it cannot be told: {before} stays."
    elif high is not None and high < 0:
        headline = f"Tuning made the answers worse: {before} stays."
    else:
        headline = f"Tuning was not shown to be worth it: {before} stays."
    steps = [*_lever(findings), *_threshold(results, output, start_from, reader, worth_it)]
    return Verdict(
        outcome=outcome,
        worth_it=worth_it,
        difference=None if contrast is None else contrast.difference.mean,
        interval=None if low is None or high is None else (low, high),
        chosen=str(output / "adapter") if worth_it else start_from,
        command=ask_command(output, start_from, reader, worth_it),
        headline=headline,
        sentences=tuple(_how_sure(findings, before)),
        next_steps=(*steps, *_next_steps(advised, output, outcome)),
        f1={name: figure.mean for name, figure in figures.items()},
        figures=figures,
        questions=results.questions,
        origins=results.origins,
        mend=tuple(advised.mend),
        label=tuple(advised.label),
        output=output,
    )


def undecided(
    why: str, records: Mapping[str, Any], advised: Advised, output: Path, start_from: str, reader: str
) -> Verdict:
    """The verdict where the records are too few to judge tuning by, so that nothing was trained; `why`: sentences."""
    files = [shlex.quote(str(output / name)) for name in ("questions.jsonl", "index")]
    train = f"To tune without a verdict: rag-ft train {files[0]} --index {files[1]} --start-from {start_from}"
    return Verdict(
        outcome="cannot be told",
        worth_it=False,
        difference=None,
        interval=None,
        chosen=start_from,
        command=ask_command(output, start_from, reader, False),
        headline=f"Whether tuning is worth it cannot be told: {_named(start_from)} stays.",
        sentences=(why, "Nothing was trained."),
        next_steps=(*_next_steps(advised, output, "cannot be told"), train),
        f1={},
        figures={},
        questions=0,
        origins=dict(records["origins"]),
        mend=tuple(advised.mend),
        label=(),
        output=output,
    )


def _named(start_from: str) -> str:
    return "the packaged reader" if start_from == PACKAGED else f"the reader {start_from}"


def _how_sure(findings: Findings, before: str) -> list[str]:
    """The difference with its interval, and what it rests on."""
    results, contrast = findings.results, findings.results.primary
    if contrast is None:
        reasons = [reason for arm in results.arms for reason in arm.failures]
        return [f"The readers share no reply to compare ({reasons[0] if reasons else 'no reason is known'})."]
    figures = {arm.name: arm.figures.get("f1") for arm in results.arms}
    tuned, untuned = figures.get(TUNED), figures.get(BEFORE)
    difference = contrast.difference
    sentences = [
        f"On {difference.questions:,} questions about {difference.documents:,} documents that it was not trained on,"
        f" F1 is {_f1(untuned)} with {before} and {_f1(tuned)} after tuning: {_signed(contrast)}."
    ]
    if difference.low is None:
        sentences.append("All questions are about one document, so there is no interval to tell chance from effect.")
    elif difference.low > 0:
        sentences.append(
            "The brackets are a 95% interval, which holds the true difference in 95 of 100 such evaluations; all of"
            " it is above zero."
        )
    elif difference.high is not None and difference.high < 0:
        sentences.append("The brackets are a 95% interval, and all of it is below zero.")
    else:
        sentences.append(
            f"The brackets are a 95% interval. It includes zero, so this may be chance; {contrast.would_have_shown}."
        )
    here = between(results, TUNED, BEFORE_HERE)
    if here is not None:
        sentences.append(
            f"A threshold chosen on your documents takes {before} to F1 {_f1(figures.get(BEFORE_HERE))}. The difference"
            f" from that is {_signed(here)}: what tuning does beyond a better threshold."
        )
    prompted = between(results, TUNED, PROMPTED)
    if prompted is not None:
        sentences.append(
            f"Against prompting the untuned base model with worked examples, the difference is {_signed(prompted)}."
        )
    if results.origins:
        only = set(results.origins) == {"made"}
        sentences.append(
            "A program made all of the questions that were judged: people may ask in other words, and of other things."
            if only
            else f"People did not write all of the questions that were judged: {origin_words(results.origins)}."
        )
    for origin, part in findings.by_origin.items():
        words = origin_words({origin: part.difference.questions})
        sentences.append(f"On the {words} alone, the difference is {_signed(part)}.")
    return sentences


def _lever(findings: Findings) -> list[str]:
    if not findings.wrong:
        return []
    wrong, missed = f"{findings.wrong:,} questions that go wrong before tuning", findings.not_retrieved
    if not missed:
        return [f"All {wrong} had their evidence among the passages: what is wrong is the reader's, not retrieval's."]
    words = f"{missed:,} of the {wrong} had no passage with their evidence to read"
    if missed / findings.wrong >= _LEVER:
        return [f"{words}: retrieval, and not tuning, is what to work on. No reader can answer from other passages."]
    return [f"{words}; the others are the reader's, which tuning can help."]


def _threshold(results: Results, output: Path, start_from: str, reader: str, worth_it: bool) -> list[str]:
    """Advice to ask with another threshold, where that alone helps."""
    contrast = between(results, BEFORE_HERE, BEFORE)
    chosen = results.development.get(BEFORE_HERE)
    if worth_it or contrast is None or chosen is None or not (contrast.difference.low or 0.0) > 0:
        return []
    command = f"{ask_command(output, start_from, reader, False)} --threshold {chosen.threshold:.3g}"
    return [f"A threshold chosen on your documents helps by itself, {_signed(contrast)}: {command}"]


def _next_steps(advised: Advised, output: Path, outcome: Outcome) -> list[str]:
    index = shlex.quote(str(output / "index"))
    steps = []
    if advised.label:
        steps.append(
            f"Look at the {len(advised.label)} records on which a person's word is worth most: rag-ft data review"
            f" {shlex.quote(str(advised.label_file))} --index {index}"
        )
    if advised.mend:
        steps.append(
            "Mend the passages below, which questions about them do not find: say in the document what people ask for,"
            " in their words, or give the section a heading that names it."
        )
    if advised.unasked:
        steps.append(f"No record is about {', '.join(advised.unasked)}: write some, as people would ask.")
    if outcome == "not worth it":
        steps.append("Or leave it as it is: the same command judges again when there are more records or documents.")
    return steps


def _f1(figure: Figure | None) -> str:
    return "unknown" if figure is None else f"{figure.mean:.3f}"


def _signed(contrast: Contrast) -> str:
    return signed(contrast.difference)
