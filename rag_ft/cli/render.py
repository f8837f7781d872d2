"""How answers, adapters, comparisons and progress look in a terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Span, Text

from rag_ft.cli.terminal import HARMFUL, escaped, shown, shown_lines
from rag_ft.schema import Answer, Citation, DeclinedAnswer

if TYPE_CHECKING:
    from typing_extensions import Self

    from rag_ft.adapters.compare import Comparison, Side
    from rag_ft.adapters.info import AdapterInfo
    from rag_ft.answering.confidence import PlattScale
    from rag_ft.indexing.conservation.record import Conservation
    from rag_ft.indexing.storage.manifest import BuildReport
    from rag_ft.progress import Progress

_VERDICTS = {"supported": "green", "misattributed": "yellow", "unfounded": "red"}


_LINE_SECONDS = 30
"""Seconds between two lines of a stage where there is no terminal."""


class Terminal(Console):
    """A console for lines: square brackets and `:smile:` stay text, and characters that control a terminal are escaped,
    because names of documents can hold all of them.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **settings)

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print each text as one line, and anything else, such as rich's Markdown, as rich renders it."""
        super().print(*map(_harmless, objects), **settings)


def _harmless(content: Any) -> Any:
    if isinstance(content, str):
        return shown(content)
    if not isinstance(content, Text):
        return _Rendered(content)
    if not HARMFUL.search(content.plain):
        return content
    cuts = [cut for match in HARMFUL.finditer(content.plain) for cut in match.span()]
    line = Text(style=content.style, end=content.end)
    for piece in content.divide(cuts):
        if HARMFUL.fullmatch(piece.plain):
            styles = [span.style for span in piece.spans]
            piece.plain = escaped(piece.plain)
            piece.spans = [Span(0, len(piece.plain), style) for style in styles]
        line.append_text(piece)
    return line


class _Rendered:
    """Output of rich, made harmless: Markdown can name characters (`&rlm;`) that are not in its text."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._content, options):
            yield segment if segment.control else Segment(shown_lines(segment.text), segment.style)


def stdout() -> Console:
    """The console for results."""
    return Terminal()


def stderr() -> Console:
    """The console for notes, so that stdout holds only results."""
    return Terminal(stderr=True)


def short(path: str | Path) -> str:
    """A path relative to the current folder, or with `~` for the home folder, if it is below one of them."""
    for base, mark in ((Path.cwd(), ""), (Path.home(), "~/")):
        try:
            return mark + Path(path).relative_to(base).as_posix()
        except ValueError:
            continue
    return str(path)


def print_answer(answer: Answer, console: Console) -> None:
    """Print the answer, each citation with its quote, and what it cost."""
    if answer.answer is not None:
        for line in _answer_lines(answer, answer.answer):
            console.print(Text(line, style="bold"))
    elif not answer.complete:
        console.print(Text("no usable answer: the completion was cut off or is not valid JSON", style="red"))
        console.print(Text(f"  {answer.completion[:200]}", style="dim"))
    elif not answer.passages:
        console.print(Text("no passage was retrieved", style="bold yellow"))
    elif answer.declined is None:
        console.print(Text("no answer in the passages", style="bold yellow"))
    else:
        likely = f"{answer.declined.confidence:.0%} likely to be right"
        console.print(Text(f"not sure enough to answer; the best found is {likely}:", style="bold yellow"))
        for line in _answer_lines(answer.declined, answer.declined.answer):
            console.print(Text(line))
    told = answer if answer.declined is None else answer.declined
    for i, citation in enumerate(told.citations, start=1):
        console.print(_source(i, citation))
        console.print(_quote(citation))
    if not told.citations and answer.passages:
        sources = list(dict.fromkeys(retrieved.passage.document_id for retrieved in answer.passages))
        console.print(Text(f"  read: {', '.join(sources)}", style="dim"))
    for sentence in answer.incomplete:
        console.print(Text(f"  incomplete: {_one_line(sentence)}", style="yellow"))
    if answer.history:
        console.print(Text(f"  searched with: {_one_line(' / '.join(answer.history))}", style="dim"))
    unread = sum(not retrieved.read for retrieved in answer.passages)
    usage = answer.usage
    seconds = usage.retrieve_seconds + usage.read_seconds + usage.verify_seconds
    note = f"  confidence {told.confidence:.2f} · {usage.prompt_tokens} prompt tokens · {seconds:.1f} s"
    if unread:
        note += f" · {unread} of {len(answer.passages)} passages did not fit the prompt"
    if answer.history_left_out:
        note += f" · {answer.history_left_out} earlier questions not searched"
    console.print(Text(note, style="dim"))


_MOST_LINES = 20
"""Lines of an answer that are shown; `--json` has all."""


def _answer_lines(answer: Answer | DeclinedAnswer, text: str) -> list[str]:
    """Words of a sentence in one line; a part of a passage in the lines that it has in its document."""
    polarity = {True: "Yes: ", False: "No: ", None: ""}[answer.yes]
    if answer.kind == "span":
        return [polarity + _one_line(text)]
    lines = [line.rstrip() for line in (polarity + text).split("\n") if line.strip()]
    hidden = len(lines) - _MOST_LINES
    return lines if hidden <= 0 else [*lines[:_MOST_LINES], f"… and {hidden} more lines (--json has them)"]


def _source(i: int, citation: Citation) -> Text:
    where = ""
    if citation.page is not None:
        where = f"page {citation.page}, "
    elif citation.line is not None:
        where = f"line {citation.line}, "
    where += f"{citation.location}, " if citation.location else ""
    line = Text(f"  [{i}] ", style="dim")
    line.append(short(citation.source or citation.document_id), style="cyan")
    line.append(f"  {where}characters {citation.start}-{citation.end}  ", style="dim")
    line.append(citation.verdict, style=_VERDICTS[citation.verdict])
    if citation.supported_by:
        line.append(f" (supported by {citation.supported_by})", style="dim")
    return line


def _quote(citation: Citation) -> Text:
    lead = "      “"
    line = Text(lead + _one_line(citation.quote) + "”")
    if citation.answer_start is not None and citation.answer_end is not None:
        start = len(lead) + citation.answer_start - citation.start
        line.stylize("bold reverse", start, start + citation.answer_end - citation.answer_start)
    return line


def _one_line(text: str) -> str:
    """Text with a space in place of each line break and tab, which keeps the offsets."""
    return re.sub(r"[\n\r\t]", " ", text)


def print_failures(report: Any, console: Console) -> None:
    """Print one line per document that a build could not read or left as it was."""
    for failure in report.failures:
        console.print(Text(f"not read: {failure.source} {failure.reason}", style="yellow"))
    for name in report.kept:
        console.print(Text(f"kept as indexed before: {name}", style="yellow"))


_MOST_LOSSES = 10
"""A build describes the losses of at most this many documents; of the others it prints the count."""


def print_losses(losses: Mapping[str, Conservation], console: Console, every: bool) -> None:
    """Print one line per document that lacks pages, parts or more than a few words of its source, worst first.

    `every`: also those that lack only a few words.
    """
    reported = {name: lost for name, lost in losses.items() if every or lost.worth_reporting}
    names = sorted(reported, key=lambda name: (not reported[name].lacks_parts, -reported[name].lost))
    for name in names[:_MOST_LOSSES]:
        console.print(Text(f"{name}: {reported[name].in_words()}", style="yellow"))
    if len(names) > _MOST_LOSSES:
        rest = len(names) - _MOST_LOSSES
        more = f"{rest:,} more documents lack" if rest > 1 else "1 more document lacks"
        console.print(
            Text(f"{more} words of their source ('rag-ft index info --documents' shows them)", style="yellow")
        )


def print_ocr_hint(report: BuildReport, console: Console) -> None:
    """Say how to read pages that are images, if a build met any."""
    from rag_ft.indexing.formats.scans import IMAGES
    from rag_ft.indexing.ocr.engine import INSTALL, is_available

    scanned = any(lost.pages_without_text for lost in report.losses.values())
    unread = any(
        failure.source.lower().endswith(IMAGES) or "no text layer" in failure.reason for failure in report.failures
    )
    if scanned or unread:
        first = "" if is_available() else f"{INSTALL}, then "
        console.print(Text(f"to recognise the text of pages that are images: {first}add --ocr", style="yellow"))


def print_document(name: str, conservation: Conservation | None, console: Console) -> None:
    """Print a document's id, how many of its words the index holds, and what was left out."""
    if conservation is None:
        console.print(Text(name))
        return
    words = conservation.in_words() or f"{conservation.words:,} words, none lost"
    left_out = ", ".join(f"{count:,} of {reason}" for reason, count in conservation.left_out.items())
    console.print(Text(f"{name}: {words}" + (f"; left out on purpose: {left_out}" if left_out else "")))


def _scale_in_words(scale: PlattScale) -> str:
    if scale.plain:
        return "as the reader computes it"
    return f"scaled to the share of right answers: {scale.slope:.2f} x log-odds {scale.intercept:+.2f}"


def print_adapter(adapter: AdapterInfo, console: Console, *, card: bool) -> None:
    """Print an adapter's figures, the norm of its update per layer as bars, and its card."""
    from rich.markdown import Markdown

    how = "alpha / sqrt(rank)" if adapter.rslora else "alpha / rank"
    held = {4: "NF4 values", 16: "16 bits", 32: "32 bits"}.get(adapter.base_bits or 0, "not recorded")
    trained = f"{adapter.documents:,} documents" if adapter.documents is not None else "not recorded"
    rows = {
        "adapter": f"{short(adapter.path)} ({adapter.fingerprint[:12]}), {adapter.licence}",
        "base": f"{adapter.base_model or 'not named'} ({(adapter.base_identity or 'unknown')[:12]}), trained on {held}",
        "shape": f"rank {adapter.rank}, alpha {adapter.alpha:g}, scale {how} = {adapter.scale:g}"
        + (", DoRA" if adapter.dora else ""),
        "modules": ", ".join(adapter.modules),
        "size": f"{adapter.parameters:,} parameters, {adapter.size_bytes / 1e6:.1f} MB on disk",
        "prompt": (adapter.prompt_fingerprint or "not recorded")[:16],
        "threshold": "none" if adapter.threshold is None else f"{adapter.threshold:.3g}",
        "confidence": _scale_in_words(adapter.platt),
        **{
            f"  {kind}": f"threshold {own.value:.3g}, {_scale_in_words(own.platt)}"
            for kind, own in adapter.kinds.items()
        },
        "data": f"{trained}, examples {(adapter.data_fingerprint or 'unknown')[:12]},"
        f" index {(adapter.index_fingerprint or 'unknown')[:12]}",
        "versions": ", ".join(f"{name} {version}" for name, version in adapter.versions.items()) or "not recorded",
    }
    for name, value in rows.items():
        console.print(Text(f"{name:<11}", style="bold").append(value, style="not bold"))
    if adapter.layers:
        console.print()
        console.print("norm of the update per layer", style="bold")
        most = max(layer.norm for layer in adapter.layers) or 1.0
        for layer in adapter.layers:
            largest = max(layer.modules, key=lambda name: layer.modules[name])
            line = Text(f"{layer.layer:>4} ").append("█" * max(1, round(40 * layer.norm / most)), style="cyan")
            console.print(line.append(f" {layer.norm:.2f}").append(f"  most in {largest}", style="dim"))
    if card and adapter.card:
        from rag_ft.training.card import card_body

        body = card_body(adapter.card)
        console.print()
        console.print(Markdown(shown_lines(body), hyperlinks=False))


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the questions on which two adapters differ, then the counts."""
    for pair in comparison.questions:
        if pair.same:
            continue
        console.print(Text(f"? {pair.question}", style="bold cyan"))
        if pair.accepted:
            console.print(Text(f"  accepted  {' | '.join(pair.accepted)}", style="dim"))
        else:
            console.print(Text("  accepted  no answer", style="dim"))
        for name, side, other in (("first", pair.first, pair.second), ("second", pair.second, pair.first)):
            style = "green" if side.f1 > other.f1 else "red" if side.f1 < other.f1 else "yellow"
            console.print(Text(f"  {name:<8}  ").append(_side(side), style=style))
        console.print()
    counts = comparison.summary
    console.print(f"first: {comparison.first}")
    console.print(f"second: {comparison.second}")
    console.print(f"{counts.same} of {counts.questions} questions answered the same")
    console.print(
        f"answered only by the first: {counts.only_first_answers}; only by the second: {counts.only_second_answers};"
        f" different answers: {counts.other_answer}; same answer from another document: {counts.other_citation}"
    )
    console.print(
        f"better answer: first {counts.first_better}, second {counts.second_better}; F1, with null"
        f" right on unanswerable questions: first {100 * counts.first_f1:.1f}, second {100 * counts.second_f1:.1f}"
    )


def _side(side: Side) -> str:
    answer = "no answer" if side.answer is None else side.answer
    where = f"  [{', '.join(side.cited)}]" if side.cited else ""
    return f"{answer}{where}  confidence {side.confidence:.2f}"


class _LiveLine:
    """A status line on a terminal while something long runs; printed lines elsewhere."""

    def __init__(self, console: Console, first: str) -> None:
        self._console = console
        self._status = console.status(first) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()


class TrainingLine(_LiveLine):
    """Steps, speed, losses and time left; without a terminal, a line every 30 s and per measurement."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "starting")
        self._held_out: float | None = None
        self._recent: list[float] = []
        self._printed = 0.0

    def update(self, progress: Progress) -> None:
        """Show a measurement of the run."""
        record, left = progress.figures, progress.seconds_left or 0.0
        self._held_out = record.get("eval_loss", self._held_out)
        if "loss" in record:
            self._recent = [*self._recent[-19:], record["loss"]]
        speeds = [f"{record[name]:,.{digits}f} {unit}" for name, unit, digits in _SPEEDS if name in record]
        line = f"step {progress.done} of {progress.total}"
        if self._recent:
            line += f"  loss {sum(self._recent) / len(self._recent):.3f}"
        if self._held_out is not None:
            line += f"  held-out loss {self._held_out:.3f}"
        line += "".join(f"  {speed}" for speed in speeds) + (f"  {_minutes(left)} left" if speeds else "")
        if self._status is not None:
            self._status.update(Text(shown(line)))
        elif "eval_loss" in record or record["seconds"] - self._printed > 30:
            self._printed = record["seconds"]
            self._console.print(line)


class EvaluationLine(_LiveLine):
    """Arm, questions and time left; without a terminal, a line per arm."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "loading")

    def update(self, progress: Progress) -> None:
        """Show how far an arm is."""
        left = "" if progress.seconds_left is None else f"  {_minutes(progress.seconds_left)} left for this arm"
        line = f"{progress.stage}: {progress.done} of {progress.total}{left}"
        if self._status is not None:
            self._status.update(Text(shown(line)))
        elif progress.done == progress.total:
            self._console.print(f"{progress.stage}: {progress.total} questions")


class StageLine(_LiveLine):
    """How far a stage of a long job is; without a terminal, a line when a part of it begins or ends, and every 30 s."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "starting")
        self._part = ""
        self._printed = 0.0

    def update(self, progress: Progress) -> None:
        """Show how far it is."""
        total = "" if progress.total is None else f" of {progress.total:,}"
        line = f"{progress.stage}: {progress.done:,}{total}"
        if progress.seconds_left:
            line += f", {_minutes(progress.seconds_left)} left"
        if self._status is not None:
            self._status.update(Text(shown(line)))
        elif (
            progress.stage != self._part
            or progress.done == progress.total
            or time.monotonic() - self._printed > _LINE_SECONDS
        ):
            self._part, self._printed = progress.stage, time.monotonic()
            self._console.print(line, style="dim")


_SPEEDS = (("examples_per_second", "examples/s", 1), ("tokens_per_second", "tokens/s", 0))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
