"""The plots of a report as inline SVG, readable without colour and on paper; a caption says what each shows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_ft.evaluation.error_budget import BINS, GOOD, Bin, BudgetFlow
from rag_ft.evaluation.figures import ArmFigures
from rag_ft.evaluation.studies.learning_curve import LearningCurve
from rag_ft.evaluation.studies.robustness import CONDITIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from rag_ft.evaluation.report.results import ReportData

# Okabe and Ito's colours and one of Tol's, distinct for every kind of colour vision; hatches distinguish them in print.
_COLOURS = (
    "#009E73",
    "#56B4E9",
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#F0E442",
    "#882255",
    "#999999",
    "#B07D2B",
    "#000000",
)
_HATCHES = ("", "", "", "//", "\\\\", "..", "xx", "**", "--", "++", "oo")
# For lines and marks on white, where yellow is invisible.
_LINES = ("#0072B2", "#E69F00", "#D55E00", "#CC79A7", "#009E73", "#999999", "#B07D2B", "#000000", "#56B4E9")
_MARKERS = "osD^vP*Xh<>"


class Plot(NamedTuple):
    """One plot of the page, with its caption and, if there is one, its table."""

    title: str
    words: str
    svg: str
    heads: tuple[str, ...] = ()
    """Column heads of the table beside the plot; empty: no table."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Rows of that table."""


def plots(report: ReportData) -> list[Plot]:
    """The plots that the results have data for."""
    drawn = [Plot(title, words, _svg(draw(report))) for title, words, draw in _DRAWN if _drawable(report, draw)]
    if report.results.flow is not None:
        drawn.insert(2, flow_plot(report.results.flow))
    if report.results.learning_curve is not None:
        drawn.append(curve_plot(report.results.learning_curve))
    return drawn


def _drawable(report: ReportData, draw: Callable[[ReportData], Drawing]) -> bool:
    if draw is _risk:
        return any(arm.risk for arm in report.results.arms)
    if draw is _heat_map:
        return bool(report.results.robustness)
    if draw is _time:
        return any(speed.seconds_p50 > 0 for speed in report.speed.values())
    if draw is _cost:
        return any((speed.cost_per_thousand or 0) > 0 for speed in report.speed.values())
    return any("f1" in arm.figures for arm in report.results.arms)


def _drawing(height: float) -> tuple[Drawing, Any]:
    """A drawing and its axes, narrow enough to be read on a phone without scrolling."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5.0, height), layout="constrained")
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


def _forest(report: ReportData) -> Drawing:
    arms = [arm for arm in report.results.arms if "f1" in arm.figures][::-1]
    drawing, axes = _drawing(0.9 + 0.45 * len(arms))
    for y, arm in enumerate(arms):
        figure = arm.figures["f1"]
        low, high = figure.low, figure.high
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color="#444444", linewidth=2, solid_capstyle="butt")
        axes.plot(figure.mean, y, "o", color=_COLOURS[2], markersize=7, clip_on=False)
        axes.text(0, y + 0.27, f"{arm.name}  {figure.mean:.2f}", fontsize=9.5, va="bottom")
    axes.set(xlim=(-0.01, 1.02), xlabel="F1", ylim=(-0.5, len(arms) - 0.2))
    _put_names_inside(axes)
    return drawing


def _put_names_inside(axes: Any) -> None:
    """Leave out the y axis: names are over their rows, so that both fit a phone."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)


def _put_legend_below(drawing: Drawing, axes: Any, columns: int = 1) -> None:
    handles, names = axes.get_legend_handles_labels()
    drawing.legend(handles, names, frameon=False, fontsize=8.5, ncols=columns, loc="outside lower center")


def _bins(report: ReportData) -> Drawing:
    arms = [arm for arm in report.results.arms if sum(arm.budget.values())][::-1]
    drawing, axes = _drawing(2.2 + 0.5 * len(arms))
    left = [0.0] * len(arms)
    for name, colour, hatch in zip(BINS, _COLOURS, _HATCHES, strict=True):
        shares = [arm.budget.get(name, 0) / sum(arm.budget.values()) for arm in arms]
        if any(shares):
            axes.barh(
                range(len(arms)), shares, 0.42, left=left, color=colour, hatch=hatch, edgecolor="white", label=name
            )
        left = [before + share for before, share in zip(left, shares, strict=True)]
    for y, arm in enumerate(arms):
        axes.text(0, y + 0.26, arm.name, fontsize=9.5, va="bottom")
    axes.set(xlim=(0, 1), xlabel="share of questions", ylim=(-0.5, len(arms) - 0.2))
    _put_names_inside(axes)
    _put_legend_below(drawing, axes, columns=2)
    return drawing


def flow_plot(flow: BudgetFlow) -> Plot:
    """Bands from the bins of one arm to those of another; fixed and broken questions differ in hatch too."""
    total = sum(move.questions for move in flow.moves)
    words = (
        f"Bins of the {total:,} questions with “{flow.before}” (left) and with “{flow.after}” (right):"
        f" {flow.fixed:,} fixed, {flow.broken:,} broken."
    )
    moves = sorted(flow.moves, key=lambda move: -move.questions)
    rows = tuple(
        (move.source, move.target if move.target != move.source else "unchanged", f"{move.questions:,}")
        for move in moves
    )
    return Plot("What tuning changed", words, _svg(_flow(flow)), ("from", "to", "questions"), rows)


def _flow(flow: BudgetFlow) -> Drawing:
    from matplotlib.patches import Patch, PathPatch, Rectangle
    from matplotlib.path import Path

    total = sum(move.questions for move in flow.moves)
    sides: list[dict[Bin, int]] = [dict.fromkeys(BINS, 0), dict.fromkeys(BINS, 0)]
    for move in flow.moves:
        sides[0][move.source] += move.questions
        sides[1][move.target] += move.questions
    slots = max(sum(count > 0 for count in side.values()) for side in sides)
    height = 1.2 + max(2.4, 0.42 * slots + 1.6)
    drawing, axes = _drawing(height)
    least = 0.075 * total  # room for a label of two lines, however few the bin's questions
    # Top of each bin's bar; a bin with few questions has a slot as high as its label.
    tops: list[dict[Bin, float]] = []
    for side in sides:
        y = 0.0
        top: dict[Bin, float] = {}
        for name in BINS:
            if side[name]:
                slot = max(side[name], least)
                top[name] = y - (slot - side[name]) / 2
                y -= slot + 0.02 * total
        tops.append(top)
    left, right = (dict(top) for top in tops)
    for move in flow.moves:
        was_good, is_good = move.source in GOOD, move.target in GOOD
        start, end, count = left[move.source], right[move.target], move.questions
        left[move.source] -= count
        right[move.target] -= count
        corners = [(0, start), (0.5, start), (0.5, end), (1, end), (1, end - count)]
        corners += [(0.5, end - count), (0.5, start - count), (0, start - count), (0, start)]
        codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
        style = _BANDS["neither" if was_good == is_good else "fixed" if is_good else "broken"]
        axes.add_patch(PathPatch(Path(corners, codes), linewidth=0.6, **style))
    for x, side, top, align in ((-0.03, sides[0], tops[0], "right"), (1.0, sides[1], tops[1], "left")):
        for name, high in top.items():
            axes.add_patch(Rectangle((x, high - side[name]), 0.03, side[name], color="#222222", linewidth=0))
            at = x - 0.02 if align == "right" else x + 0.05
            label = f"{_two_lines(name)} {side[name]}"
            axes.text(at, high - side[name] / 2, label, ha=align, va="center", fontsize=9.5, linespacing=1.0)
    bottom = min(min(top[name] - side[name] for name in top) for side, top in zip(sides, tops, strict=True))
    axes.set(xlim=(-0.68, 1.68), ylim=(bottom - 0.02 * total, 0.02 * total))
    axes.axis("off")
    counts = {"fixed": flow.fixed, "broken": flow.broken}
    counts["neither"] = total - sum(counts.values())
    keys = [Patch(label=f"{name} {counts[name]}", **style) for name, style in _BANDS.items()]
    axes.legend(handles=keys, frameon=False, fontsize=9.5, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0.0))
    return drawing


# Distinct in lightness and hatch as well as in colour.
_BANDS: dict[str, dict[str, Any]] = {
    "fixed": {"facecolor": "#0072B2", "edgecolor": "#ffffff", "alpha": 0.85, "zorder": 2},
    "broken": {"facecolor": "#F5B08A", "edgecolor": "#8A3A00", "hatch": "////", "alpha": 0.95, "zorder": 3},
    "neither": {"facecolor": "#D9D9D9", "edgecolor": "#ffffff", "alpha": 0.8},
}


def _two_lines(name: str) -> str:
    """A long name, broken at the blank nearest to its middle."""
    blanks = [i for i, letter in enumerate(name) if letter == " "]
    if len(name) < 16 or not blanks:
        return name
    middle = min(blanks, key=lambda i: abs(i - len(name) / 2))
    return f"{name[:middle]}\n{name[middle + 1 :]}"


def curve_plot(curve: LearningCurve) -> Plot:
    """Measured F1 as points, expected F1 as a line with its interval, dashed where nothing was measured."""
    words = "F1 over all questions by number of training records, with 95% intervals; log scale."
    if curve.line:
        words += " The line is a power law through the points, dashed where nothing was measured."
    rows = [
        (f"{point.records:,}", f"{point.f1.mean:.3f}{_interval(point.f1.low, point.f1.high)}", "measured")
        for point in curve.points
    ]
    rows += [
        (f"{point.records:,}", f"{point.f1:.3f}{_interval(point.low, point.high)}", "expected")
        for point in (doubling.expected for doubling in curve.doublings)
    ]
    return Plot("Would more records help?", words, _svg(_curve(curve)), ("records", "F1", ""), tuple(rows))


def _curve(curve: LearningCurve) -> Drawing:
    drawing, axes = _drawing(3.8)
    largest = curve.points[-1].records
    if curve.line:
        records = [point.records for point in curve.line]
        low, high = [point.low for point in curve.line], [point.high for point in curve.line]
        axes.fill_between(records, low, high, color="#56B4E9", alpha=0.25, linewidth=0)
        for measured, style in ((True, "-"), (False, "--")):
            part = [
                point for point in curve.line if (point.records <= largest if measured else point.records >= largest)
            ]
            axes.plot([point.records for point in part], [point.f1 for point in part], style, color=_COLOURS[2])
    for point in curve.points:
        figure = point.f1
        if figure.low is not None and figure.high is not None:
            axes.plot([point.records] * 2, [figure.low, figure.high], color="#444444", linewidth=1.5)
        axes.plot(point.records, figure.mean, "o", color="#222222", markersize=6, clip_on=False)
    ticks = [point.records for point in curve.points] + [doubling.expected.records for doubling in curve.doublings]
    while len(ticks) > 6:  # more labels would overlap
        ticks = ticks[::-1][::2][::-1]
    axes.set(xscale="log", ylim=(0, 1), xlabel="training records", ylabel="F1")
    axes.set_xticks(ticks, [f"{records:,}" for records in ticks])
    axes.minorticks_off()
    axes.grid(axis="y", color="#dddddd")
    return drawing


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"


def _risk(report: ReportData) -> Drawing:
    arms: list[ArmFigures] = [arm for arm in report.results.arms if arm.risk]
    drawing, axes = _drawing(3.2 + 0.2 * len(arms))
    for i, arm in enumerate(arms):
        coverage, risk = zip(*arm.risk, strict=True)
        axes.plot(
            coverage,
            risk,
            color=_LINES[i % len(_LINES)],
            marker=_MARKERS[i % len(_MARKERS)],
            markevery=max(1, len(risk) // 6),
            label=f"{arm.name} (area {arm.risk_area:.2f})",
            clip_on=False,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="coverage", ylabel="risk (1 − F1)")
    _put_legend_below(drawing, axes)
    return drawing


def _time(report: ReportData) -> Drawing:
    seconds = {name: speed.seconds_p50 for name, speed in report.speed.items()}
    return _against(report, seconds, "median seconds per question")


def _cost(report: ReportData) -> Drawing:
    costs = {name: speed.cost_per_thousand for name, speed in report.speed.items()}
    return _against(report, costs, f"{report.prices.currency if report.prices else ''} per 1,000 questions")


def _against(report: ReportData, values: Mapping[str, float | None], words: str) -> Drawing:
    """F1 against a value on a log scale, for the arms that have both."""
    drawing, axes = _drawing(3.2 + 0.2 * len(report.results.arms))
    for i, arm in enumerate(report.results.arms):
        value = values.get(arm.name) or 0.0
        if "f1" in arm.figures and value > 0:
            axes.plot(
                value,
                arm.figures["f1"].mean,
                _MARKERS[i % len(_MARKERS)],
                color=_LINES[i % len(_LINES)],
                markersize=8,
                label=arm.name,
                clip_on=False,
            )
    axes.set(xscale="log", ylim=(0, 1), xlabel=words, ylabel="F1")
    _put_legend_below(drawing, axes)
    return drawing


def _heat_map(report: ReportData) -> Drawing:
    cells = {(cell.k, cell.condition): cell.score.mean for cell in report.results.robustness}
    counts = sorted({k for k, _ in cells})
    drawing, axes = _drawing(1.4 + 0.5 * len(CONDITIONS))
    grid = [[cells.get((k, condition), float("nan")) for k in counts] for condition in CONDITIONS]
    # A mesh is drawn as shapes; `imshow` would embed an image, which the page's security policy blocks.
    axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=1)  # for every kind of colour vision
    axes.invert_yaxis()
    for row, values in enumerate(grid):
        for column, value in enumerate(values):
            label = f"{value:.2f}" if value == value else "–"
            axes.text(
                column + 0.5, row + 0.5, label, ha="center", va="center", color="black" if value > 0.6 else "white"
            )
    axes.set_xticks([i + 0.5 for i in range(len(counts))], [str(k) for k in counts])
    axes.set_yticks([i + 0.5 for i in range(len(CONDITIONS))], CONDITIONS)
    axes.set(xlabel="passages given to the reader")
    return drawing


_DRAWN: tuple[tuple[str, str, Callable[[ReportData], Drawing]], ...] = (
    ("Quality of the arms", "F1 over all questions, null counted as an answer, with 95% intervals.", _forest),
    ("Where the questions go", "Every question of an arm is in exactly one bin.", _bins),
    (
        "Risk against coverage",
        "If an arm answered only what it is surest of: coverage is the share answered, risk is 1 − F1 on that share.",
        _risk,
    ),
    (
        "How the tuned reader depends on retrieval",
        "F1 on answerable by number of passages and position of the gold one; where it is absent, the share declined.",
        _heat_map,
    ),
    ("Quality against time", "Median seconds per question on the machine of the run; log scale.", _time),
    ("Quality against cost", "Cost per 1,000 questions by the recipe's price table; log scale.", _cost),
)
