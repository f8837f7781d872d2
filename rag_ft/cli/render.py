"""How answers look in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Span, Text

from rag_ft.cli.terminal import HARMFUL, escape, shown, shown_lines
from rag_ft.schema import Answer, Citation

if TYPE_CHECKING:
    from typing_extensions import Self

    from rag_ft.adapters.compare import Comparison, Side
    from rag_ft.adapters.info import AdapterInfo
    from rag_ft.evaluation.runner import ArmProgress

_VERDICTS = {"supported": "green", "misattributed": "yellow", "unfounded": "red"}


class Terminal(Console):
    """A console for lines. Square brackets and `:smile:` are text, and what would steer the terminal is escaped:
    names of documents have all of them.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **settings)

    def print(self, *objects: Any, **settings: Any) -> None:
        """Each text on one line; anything else (rich's Markdown) on its own."""
        super().print(*map(_harmless, objects), **settings)


def _harmless(content: Any) -> Any:
    if isinstance(content, str):
        return shown(content)
    if not isinstance(content, Text):
        return _Rendered(content)
    if not HARMFUL.search(content.plain):
        return content
    places = [place for match in HARMFUL.finditer(content.plain) for place in match.span()]
    line = Text(style=content.style, end=content.end)
    for piece in content.divide(places):
        if HARMFUL.fullmatch(piece.plain):
            styles = [span.style for span in piece.spans]
            piece.plain = escape(piece.plain)
            piece.spans = [Span(0, len(piece.plain), style) for style in styles]
        line.append_text(piece)
    return line


class _Rendered:
    """What rich makes of something, made harmless: Markdown can name characters (`&rlm;`) that are not in its text."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._content, options):
            yield segment if segment.control else Segment(shown_lines(segment.text), segment.style)


def stdout() -> Console:
    """The console for results."""
    return Terminal()


def stderr() -> Console:
    """The console for notes, so that stdout holds results alone."""
    return Terminal(stderr=True)


def short(path: str | Path) -> str:
    """A path as seen from here: relative below the current folder, `~` for the home folder."""
    for base, mark in ((Path.cwd(), ""), (Path.home(), "~/")):
        try:
            return mark + Path(path).relative_to(base).as_posix()
        except ValueError:
            continue
    return str(path)


def print_answer(answer: Answer, console: Console) -> None:
    """The answer, each citation with its quote, and what it cost."""
    if answer.answer is not None:
        console.print(Text(_one_line(answer.answer), style="bold"))
    elif not answer.complete:
        console.print(Text("no usable answer: the completion is not whole", style="red"))
        console.print(Text(f"  {answer.completion[:200]}", style="dim"))
    elif not answer.passages:
        console.print(Text("no passage was found to read", style="bold yellow"))
    else:
        console.print(Text("no answer in the passages", style="bold yellow"))
    for number, citation in enumerate(answer.citations, start=1):
        console.print(_where(number, citation))
        console.print(_quote(citation))
    if not answer.citations and answer.passages:
        sources = list(dict.fromkeys(one.passage.document_id for one in answer.passages))
        console.print(Text(f"  read: {', '.join(sources)}", style="dim"))
    unread = sum(not one.read for one in answer.passages)
    usage = answer.usage
    seconds = usage.retrieve_seconds + usage.read_seconds + usage.verify_seconds
    note = f"  confidence {answer.confidence:.2f} · {usage.prompt_tokens} prompt tokens · {seconds:.1f} s"
    if unread:
        note += f" · {unread} of {len(answer.passages)} passages did not fit the prompt"
    console.print(Text(note, style="dim"))


def _where(number: int, citation: Citation) -> Text:
    place = f"page {citation.page}, " if citation.page is not None else ""
    line = Text(f"  [{number}] ", style="dim")
    line.append(short(citation.source or citation.document_id), style="cyan")
    line.append(f"  {place}characters {citation.start}-{citation.end}  ", style="dim")
    line.append(citation.verdict, style=_VERDICTS[citation.verdict])
    if citation.supported_by:
        line.append(f" (it stands in {citation.supported_by})", style="dim")
    return line


def _quote(citation: Citation) -> Text:
    lead = "      “"
    line = Text(lead + _one_line(citation.quote) + "”")
    if citation.answer_start is not None and citation.answer_end is not None:
        start = len(lead) + citation.answer_start - citation.start
        line.stylize("bold reverse", start, start + citation.answer_end - citation.answer_start)
    return line


def _one_line(text: str) -> str:
    """Words of a document with a blank in place of each line break and tab, which keeps the offsets."""
    return re.sub(r"[\n\r\t]", " ", text)


def print_failures(report: Any, console: Console) -> None:
    """What a build could not read, a line each."""
    for failure in report.failures:
        console.print(Text(f"not read: {failure.source} {failure.reason}", style="yellow"))
    for name in report.kept:
        console.print(Text(f"kept as it was indexed before: {name}", style="yellow"))


def print_adapter(found: AdapterInfo, console: Console, *, card: bool) -> None:
    """An adapter's figures, the norm of its update for each layer as bars, and its card."""
    from rich.markdown import Markdown

    how = "alpha / sqrt(rank)" if found.rslora else "alpha / rank"
    held = {4: "NF4 values", 16: "16 bits", 32: "32 bits"}.get(found.base_bits or 0, "not written down")
    trained = f"{found.documents:,} documents" if found.documents is not None else "not written down"
    rows = {
        "adapter": f"{short(found.path)} ({found.fingerprint[:12]}), {found.licence}",
        "base": f"{found.base_model or 'not named'} ({(found.base_identity or 'unknown')[:12]}), trained on {held}",
        "shape": f"rank {found.rank}, alpha {found.alpha:g}, scale {how} = {found.scale:g}"
        + (", DoRA" if found.dora else ""),
        "modules": ", ".join(found.modules),
        "size": f"{found.parameters:,} parameters, {found.size_bytes / 1e6:.1f} MB on disk",
        "prompt": (found.prompt_fingerprint or "not written down")[:16],
        "threshold": "none" if found.threshold is None else f"{found.threshold:.3g}",
        "confidence": "as the reader says"
        if found.platt.plain
        else f"scaled to how often it is right: {found.platt.slope:.2f} x log-odds {found.platt.intercept:+.2f}",
        "data": f"{trained}, examples {(found.data_fingerprint or 'unknown')[:12]},"
        f" index {(found.index_fingerprint or 'unknown')[:12]}",
        "versions": ", ".join(f"{name} {number}" for name, number in found.versions.items()) or "not written down",
    }
    for name, value in rows.items():
        console.print(Text(f"{name:<11}", style="bold").append(value, style="not bold"))
    if found.layers:
        console.print()
        console.print("norm of the update, by layer", style="bold")
        most = max(one.norm for one in found.layers) or 1.0
        for one in found.layers:
            largest = max(one.modules, key=lambda name: one.modules[name])
            line = Text(f"{one.layer:>4} ").append("█" * max(1, round(40 * one.norm / most)), style="cyan")
            console.print(line.append(f" {one.norm:.2f}").append(f"  most in {largest}", style="dim"))
    if card and found.card:
        from rag_ft.training.card import card_body

        body = card_body(found.card)
        console.print()
        console.print(Markdown(shown_lines(body), hyperlinks=False))


def print_comparison(found: Comparison, console: Console) -> None:
    """The questions where two adapters part, then the counts."""
    for one in found.questions:
        if one.same:
            continue
        console.print(Text(f"? {one.question}", style="bold cyan"))
        if one.accepted:
            console.print(Text(f"  accepted  {' | '.join(one.accepted)}", style="dim"))
        else:
            console.print(Text("  accepted  no answer", style="dim"))
        for name, side, other in (("first", one.first, one.second), ("second", one.second, one.first)):
            style = "green" if side.f1 > other.f1 else "red" if side.f1 < other.f1 else "yellow"
            console.print(Text(f"  {name:<8}  ").append(_said(side), style=style))
        console.print()
    counts = found.summary
    console.print(f"first: {found.first}")
    console.print(f"second: {found.second}")
    console.print(f"{counts.same} of {counts.questions} questions answered alike")
    console.print(
        f"only the first answers {counts.only_first_answers}, only the second {counts.only_second_answers}, both in"
        f" other words {counts.other_answer}, alike from another document {counts.other_citation}"
    )
    console.print(
        f"better: first {counts.first_better}, second {counts.second_better}; F1, null counted where nothing answers:"
        f" first {100 * counts.first_f1:.1f}, second {100 * counts.second_f1:.1f}"
    )


def _said(side: Side) -> str:
    answer = "no answer" if side.answer is None else side.answer
    where = f"  [{', '.join(side.cited)}]" if side.cited else ""
    return f"{answer}{where}  confidence {side.confidence:.2f}"


class _LiveLine:
    """A status line while something long runs on a terminal; lines of its own elsewhere."""

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
    """Steps, speed, losses, time left; without a terminal a line now and then."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "starting")
        self._held_out: float | None = None
        self._recent: list[float] = []
        self._printed = 0.0

    def update(self, record: dict[str, float]) -> None:
        """Show a measurement of the run."""
        self._held_out = record.get("eval_loss", self._held_out)
        if "loss" in record:
            self._recent = [*self._recent[-19:], record["loss"]]
        step, steps, seconds = record["step"], record["steps"], record["seconds"]
        done = max(step - record.get("first_step", 0), 1)
        left = seconds / done * (steps - step)
        speeds = [f"{record[name]:,.{digits}f} {word}" for name, word, digits in _SPEEDS if name in record]
        loss = sum(self._recent) / max(len(self._recent), 1)
        line = f"step {step:.0f} of {steps:.0f}  loss {loss:.3f}"
        if self._held_out is not None:
            line += f"  held out {self._held_out:.3f}"
        line += "".join(f"  {one}" for one in speeds) + f"  {_minutes(left)} left"
        if self._status is not None:
            self._status.update(Text(shown(line)))
        elif "eval_loss" in record or seconds - self._printed > 30:
            self._printed = seconds
            self._console.print(line)


class EvaluationLine(_LiveLine):
    """Arm, questions, time left; without a terminal a line for each arm."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "loading")

    def update(self, progress: ArmProgress) -> None:
        """Show how far an arm is."""
        left = "" if progress.seconds_left is None else f"  {_minutes(progress.seconds_left)} left for this arm"
        line = f"{progress.arm}: {progress.done} of {progress.questions}{left}"
        if self._status is not None:
            self._status.update(Text(shown(line)))
        elif progress.done == progress.questions:
            self._console.print(f"{progress.arm}: {progress.questions} questions")


_SPEEDS = (("examples_per_second", "examples/s", 1), ("tokens_per_second", "tokens/s", 0))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
