"""The plots of a report as inline SVG: told apart without colour and on paper; a sentence says what each shows."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_ft.evaluation.error_budget import BINS
from rag_ft.evaluation.figures import ArmFigures
from rag_ft.evaluation.robustness import CONDITIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from rag_ft.evaluation.judge import Report

# Okabe and Ito's colours, told apart with every kind of colour vision; hatches tell them apart in print.
_COLOURS = (
    "#009E73",
    "#56B4E9",
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#F0E442",
    "#999999",
    "#B07D2B",
    "#000000",
)
_HATCHES = ("", "", "", "//", "\\\\", "..", "xx", "--", "++", "oo")
_MARKERS = "osD^vP*Xh<>"


class Plot(NamedTuple):
    """One plot of the page."""

    title: str
    words: str
    svg: str


def plots(report: Report) -> list[Plot]:
    """Those that there is something to draw for."""
    return [Plot(title, words, _svg(draw(report))) for title, words, draw in _DRAWN if _drawable(report, draw)]


def _drawable(report: Report, draw: Callable[[Report], Drawing]) -> bool:
    if draw is _risk:
        return any(arm.risk for arm in report.results.arms)
    if draw is _heat_map:
        return bool(report.results.robustness)
    if draw is _cost:
        return any(speed.seconds_p50 > 0 for speed in report.speed.values())
    return any("f1" in arm.figures for arm in report.results.arms)


def _drawing(height: float) -> tuple[Drawing, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(7.2, height), layout="constrained")
    FigureCanvasSVG(drawing)
    axes = drawing.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return drawing, axes


def _svg(drawing: Drawing) -> str:
    """Inline SVG with text as text; equal drawings give equal bytes."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rag_ft", "font.family": "sans-serif"}):
        drawing.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _forest(report: Report) -> Drawing:
    arms = [arm for arm in report.results.arms if "f1" in arm.figures][::-1]
    drawing, axes = _drawing(0.9 + 0.38 * len(arms))
    for place, arm in enumerate(arms):
        figure = arm.figures["f1"]
        low, high = figure.low, figure.high
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color="#444444", linewidth=2, solid_capstyle="butt")
        axes.plot(figure.mean, place, "o", color=_COLOURS[2], markersize=7)
        axes.annotate(
            f"{figure.mean:.2f}", (figure.mean, place), (0, 7), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set(xlim=(-0.01, 1.02), xlabel="F1", ylim=(-0.6, len(arms) - 0.3))
    axes.grid(axis="x", color="#dddddd")
    return drawing


def _bins(report: Report) -> Drawing:
    arms = [arm for arm in report.results.arms if sum(arm.budget.values())][::-1]
    drawing, axes = _drawing(2.0 + 0.38 * len(arms))
    left = [0.0] * len(arms)
    for name, colour, hatch in zip(BINS, _COLOURS, _HATCHES, strict=True):
        shares = [arm.budget[name] / sum(arm.budget.values()) for arm in arms]
        if any(shares):
            axes.barh(range(len(arms)), shares, left=left, color=colour, hatch=hatch, edgecolor="white", label=name)
        left = [before + share for before, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set(xlim=(0, 1), xlabel="share of the questions")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.4, -0.22))
    return drawing


def _risk(report: Report) -> Drawing:
    drawing, axes = _drawing(3.6)
    arms: list[ArmFigures] = [arm for arm in report.results.arms if arm.risk]
    for number, arm in enumerate(arms):
        coverage, risk = zip(*arm.risk, strict=True)
        axes.plot(
            coverage,
            risk,
            color=_COLOURS[(number + 2) % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            markevery=max(1, len(risk) // 6),
            label=f"{arm.name} (area {arm.risk_area:.2f})",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="coverage", ylabel="risk (1 − F1)")
    axes.legend(frameon=False, fontsize=8)
    return drawing


def _cost(report: Report) -> Drawing:
    drawing, axes = _drawing(3.4)
    for number, arm in enumerate(report.results.arms):
        speed = report.speed.get(arm.name)
        if speed is None or "f1" not in arm.figures or speed.seconds_p50 <= 0:
            continue
        axes.plot(
            speed.seconds_p50,
            arm.figures["f1"].mean,
            _MARKERS[number % len(_MARKERS)],
            color=_COLOURS[(number + 2) % len(_COLOURS)],
            markersize=8,
            label=arm.name,
        )
    axes.set(xscale="log", ylim=(0, 1), xlabel="seconds a question, median", ylabel="F1")
    axes.legend(frameon=False, fontsize=8)
    return drawing


def _heat_map(report: Report) -> Drawing:
    cells = {(cell.k, cell.condition): cell.score.mean for cell in report.results.robustness}
    counts = sorted({k for k, _ in cells})
    drawing, axes = _drawing(1.4 + 0.5 * len(CONDITIONS))
    shown = [[cells.get((k, condition), float("nan")) for k in counts] for condition in CONDITIONS]
    axes.imshow(shown, cmap="cividis", vmin=0, vmax=1, aspect="auto")  # told apart with every kind of colour vision
    for row, values in enumerate(shown):
        for column, value in enumerate(values):
            said = f"{value:.2f}" if value == value else "–"
            axes.text(column, row, said, ha="center", va="center", color="black" if value > 0.6 else "white")
    axes.set_xticks(range(len(counts)), [str(k) for k in counts])
    axes.set_yticks(range(len(CONDITIONS)), CONDITIONS)
    axes.set(xlabel="passages before the reader")
    return drawing


_DRAWN: tuple[tuple[str, str, Callable[[Report], Drawing]], ...] = (
    ("Quality of the arms", "F1 over all questions, null counted as an answer, with 95% intervals.", _forest),
    ("Where the questions go", "Every question of an arm in exactly one bin.", _bins),
    (
        "Risk against coverage",
        "Answering only what an arm is surest of: coverage is the share answered, risk what is lost of it.",
        _risk,
    ),
    (
        "What retrieval brings",
        "F1 of answerable questions by number of passages and place of the gold one; absent: share declined.",
        _heat_map,
    ),
    ("Quality against time", "Median seconds a question on the machine of the run; log scale.", _cost),
)
