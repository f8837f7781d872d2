"""The plots of a report as inline SVG: told apart without colour and on paper; a sentence says what each shows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rag_ft.evaluation.error_budget import BINS, GOOD, Bin, Flow
from rag_ft.evaluation.figures import ArmFigures
from rag_ft.evaluation.studies.learning_curve import LearningCurve
from rag_ft.evaluation.studies.robustness import CONDITIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from rag_ft.evaluation.report.results import ReportData

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
# For lines and marks on white, where yellow is not seen.
_LINES = ("#0072B2", "#E69F00", "#D55E00", "#CC79A7", "#009E73", "#999999", "#B07D2B", "#000000", "#56B4E9")
_MARKERS = "osD^vP*Xh<>"


class Plot(NamedTuple):
    """One plot of the page."""

    title: str
    words: str
    svg: str
    narrow: bool = False
    """Drawn to be read at a phone's width without being pushed about."""
    heads: tuple[str, ...] = ()
    """Of the table that stands beside it; none: no table."""
    rows: tuple[tuple[str, ...], ...] = ()


def plots(report: ReportData) -> list[Plot]:
    """Those that there is something to draw for."""
    found = [
        Plot(title, words, _svg(draw(report)), draw in (_forest, _bins))
        for title, words, draw in _DRAWN
        if _drawable(report, draw)
    ]
    if report.results.flow is not None:
        found.insert(2, flow_plot(report.results.flow))
    if report.results.learning_curve is not None:
        found.append(curve_plot(report.results.learning_curve))
    return found


def _drawable(report: ReportData, draw: Callable[[ReportData], Drawing]) -> bool:
    if draw is _risk:
        return any(arm.risk for arm in report.results.arms)
    if draw is _heat_map:
        return bool(report.results.robustness)
    if draw is _time:
        return any(speed.seconds_p50 > 0 for speed in report.speed.values())
    if draw is _money:
        return any((speed.cost_per_thousand or 0) > 0 for speed in report.speed.values())
    return any("f1" in arm.figures for arm in report.results.arms)


def _drawing(height: float, width: float = 7.2) -> tuple[Drawing, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained")
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
    drawing, axes = _drawing(0.9 + 0.45 * len(arms), width=5.0)
    for place, arm in enumerate(arms):
        figure = arm.figures["f1"]
        low, high = figure.low, figure.high
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color="#444444", linewidth=2, solid_capstyle="butt")
        axes.plot(figure.mean, place, "o", color=_COLOURS[2], markersize=7)
        axes.text(0, place + 0.27, f"{arm.name}  {figure.mean:.2f}", fontsize=9.5, va="bottom")
    axes.set(xlim=(-0.01, 1.02), xlabel="F1", ylim=(-0.5, len(arms) - 0.2))
    _named_inside(axes)
    return drawing


def _named_inside(axes: Any) -> None:
    """Names stand over their rows and not beside them, so that a phone shows both."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)


def _bins(report: ReportData) -> Drawing:
    arms = [arm for arm in report.results.arms if sum(arm.budget.values())][::-1]
    drawing, axes = _drawing(2.2 + 0.5 * len(arms), width=5.0)
    left = [0.0] * len(arms)
    for name, colour, hatch in zip(BINS, _COLOURS, _HATCHES, strict=True):
        shares = [arm.budget[name] / sum(arm.budget.values()) for arm in arms]
        if any(shares):
            axes.barh(
                range(len(arms)), shares, 0.42, left=left, color=colour, hatch=hatch, edgecolor="white", label=name
            )
        left = [before + share for before, share in zip(left, shares, strict=True)]
    for place, arm in enumerate(arms):
        axes.text(0, place + 0.26, arm.name, fontsize=9.5, va="bottom")
    axes.set(xlim=(0, 1), xlabel="share of the questions", ylim=(-0.5, len(arms) - 0.2))
    _named_inside(axes)
    handles, names = axes.get_legend_handles_labels()
    drawing.legend(handles, names, frameon=False, fontsize=8.5, ncols=2, loc="outside lower center")
    return drawing


def flow_plot(found: Flow) -> Plot:
    """Bands from the bins of one arm to those of another; what was put right and what was spoilt told by hatch too."""
    total = sum(one.questions for one in found.moves)
    words = (
        f"Where the {total:,} questions of “{found.before}” (left) go with “{found.after}” (right):"
        f" {found.righted:,} put right, {found.spoilt:,} spoilt."
    )
    moved = sorted(found.moves, key=lambda one: -one.questions)
    rows = tuple(
        (one.source, one.target if one.target != one.source else "the same", f"{one.questions:,}") for one in moved
    )
    return Plot("What tuning taught", words, _svg(_flow(found)), True, ("from", "to", "questions"), rows)


def _flow(found: Flow) -> Drawing:
    from matplotlib.patches import Patch, PathPatch, Rectangle
    from matplotlib.path import Path

    total = sum(one.questions for one in found.moves)
    sides: list[dict[Bin, int]] = [dict.fromkeys(BINS, 0), dict.fromkeys(BINS, 0)]
    for one in found.moves:
        sides[0][one.source] += one.questions
        sides[1][one.target] += one.questions
    slots = max(sum(count > 0 for count in side.values()) for side in sides)
    height = 1.2 + max(2.4, 0.42 * slots + 1.6)
    drawing, axes = _drawing(height, width=5.0)
    least = 0.075 * total  # room for a label of two lines, however few its questions
    # Top of each bin's bar; a bin with few questions has a slot as high as its label.
    tops: list[dict[Bin, float]] = []
    for side in sides:
        place = 0.0
        top: dict[Bin, float] = {}
        for name in BINS:
            if side[name]:
                slot = max(side[name], least)
                top[name] = place - (slot - side[name]) / 2
                place -= slot + 0.02 * total
        tops.append(top)
    left, right = (dict(top) for top in tops)
    for one in found.moves:
        righted, lost = one.source not in GOOD and one.target in GOOD, one.source in GOOD and one.target not in GOOD
        begin, end = left[one.source], right[one.target]
        left[one.source] -= one.questions
        right[one.target] -= one.questions
        corners = [(0, begin), (0.5, begin), (0.5, end), (1, end), (1, end - one.questions)]
        corners += [(0.5, end - one.questions), (0.5, begin - one.questions), (0, begin - one.questions), (0, begin)]
        codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
        look = _BANDS["put right" if righted else "spoilt" if lost else "neither"]
        axes.add_patch(PathPatch(Path(corners, codes), linewidth=0.6, **look))
    for x, side, top, align in ((-0.03, sides[0], tops[0], "right"), (1.0, sides[1], tops[1], "left")):
        for name, high in top.items():
            axes.add_patch(Rectangle((x, high - side[name]), 0.03, side[name], color="#222222", linewidth=0))
            at = x - 0.02 if align == "right" else x + 0.05
            said = f"{_two_lines(name)} {side[name]}"
            axes.text(at, high - side[name] / 2, said, ha=align, va="center", fontsize=9.5, linespacing=1.0)
    bottom = min(min(top[name] - side[name] for name in top) for side, top in zip(sides, tops, strict=True))
    axes.set(xlim=(-0.68, 1.68), ylim=(bottom - 0.02 * total, 0.02 * total))
    axes.axis("off")
    counts = {"put right": found.righted, "spoilt": found.spoilt}
    counts["neither"] = total - sum(counts.values())
    keys = [Patch(label=f"{name} {counts[name]}", **look) for name, look in _BANDS.items()]
    axes.legend(handles=keys, frameon=False, fontsize=9.5, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0.0))
    return drawing


# Told apart by lightness and hatch as well as by colour.
_BANDS: dict[str, dict[str, Any]] = {
    "put right": {"facecolor": "#0072B2", "edgecolor": "#ffffff", "alpha": 0.85, "zorder": 2},
    "spoilt": {"facecolor": "#F5B08A", "edgecolor": "#8A3A00", "hatch": "////", "alpha": 0.95, "zorder": 3},
    "neither": {"facecolor": "#D9D9D9", "edgecolor": "#ffffff", "alpha": 0.8},
}


def _two_lines(name: str) -> str:
    """Broken at the blank nearest to the middle, where it is long."""
    blanks = [place for place, letter in enumerate(name) if letter == " "]
    if len(name) < 16 or not blanks:
        return name
    middle = min(blanks, key=lambda place: abs(place - len(name) / 2))
    return f"{name[:middle]}\n{name[middle + 1 :]}"


def curve_plot(found: LearningCurve) -> Plot:
    """What was measured as points; what is expected as a line with its interval, dashed where nothing was measured."""
    words = "F1 over all questions by records that the reader was trained on, with 95% intervals; log scale."
    if found.line:
        words += " The line is a power law through the points, dashed where nothing was measured."
    rows = [
        (f"{one.records:,}", f"{one.f1.mean:.3f}{_interval(one.f1.low, one.f1.high)}", "measured")
        for one in found.points
    ]
    rows += [
        (
            f"{one.expected.records:,}",
            f"{one.expected.f1:.3f}{_interval(one.expected.low, one.expected.high)}",
            "expected",
        )
        for one in found.doublings
    ]
    return Plot("Would more records help?", words, _svg(_curve(found)), True, ("records", "F1", ""), tuple(rows))


def _curve(found: LearningCurve) -> Drawing:
    drawing, axes = _drawing(3.8, width=5.0)
    largest = found.points[-1].records
    if found.line:
        records = [one.records for one in found.line]
        low, high = [one.low for one in found.line], [one.high for one in found.line]
        axes.fill_between(records, low, high, color="#56B4E9", alpha=0.25, linewidth=0)
        for measured, style in ((True, "-"), (False, "--")):
            part = [one for one in found.line if (one.records <= largest if measured else one.records >= largest)]
            axes.plot([one.records for one in part], [one.f1 for one in part], style, color=_COLOURS[2])
    for point in found.points:
        figure = point.f1
        if figure.low is not None and figure.high is not None:
            axes.plot([point.records] * 2, [figure.low, figure.high], color="#444444", linewidth=1.5)
        axes.plot(point.records, figure.mean, "o", color="#222222", markersize=6)
    shown = [point.records for point in found.points] + [one.expected.records for one in found.doublings]
    while len(shown) > 6:  # else their labels run into each other
        shown = shown[::-1][::2][::-1]
    axes.set(xscale="log", ylim=(0, 1), xlabel="records", ylabel="F1")
    axes.set_xticks(shown, [f"{one:,}" for one in shown])
    axes.minorticks_off()
    axes.grid(axis="y", color="#dddddd")
    return drawing


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"


def _risk(report: ReportData) -> Drawing:
    arms: list[ArmFigures] = [arm for arm in report.results.arms if arm.risk]
    drawing, axes = _drawing(3.6 + 0.25 * len(arms))
    for number, arm in enumerate(arms):
        coverage, risk = zip(*arm.risk, strict=True)
        axes.plot(
            coverage,
            risk,
            color=_LINES[number % len(_LINES)],
            marker=_MARKERS[number % len(_MARKERS)],
            markevery=max(1, len(risk) // 6),
            label=f"{arm.name} (area {arm.risk_area:.2f})",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="coverage", ylabel="risk (1 − F1)")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return drawing


def _time(report: ReportData) -> Drawing:
    seconds = {name: speed.seconds_p50 for name, speed in report.speed.items()}
    return _against(report, seconds, "seconds a question, median")


def _money(report: ReportData) -> Drawing:
    prices = {name: speed.cost_per_thousand for name, speed in report.speed.items()}
    return _against(report, prices, f"{report.prices.currency if report.prices else ''} a thousand questions")


def _against(report: ReportData, values: Mapping[str, float | None], words: str) -> Drawing:
    """F1 against something on a log scale, for the arms that have both."""
    drawing, axes = _drawing(3.4 + 0.25 * len(report.results.arms))
    for number, arm in enumerate(report.results.arms):
        value = values.get(arm.name) or 0.0
        if "f1" in arm.figures and value > 0:
            axes.plot(
                value,
                arm.figures["f1"].mean,
                _MARKERS[number % len(_MARKERS)],
                color=_LINES[number % len(_LINES)],
                markersize=8,
                label=arm.name,
            )
    axes.set(xscale="log", ylim=(0, 1), xlabel=words, ylabel="F1")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return drawing


def _heat_map(report: ReportData) -> Drawing:
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


_DRAWN: tuple[tuple[str, str, Callable[[ReportData], Drawing]], ...] = (
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
    ("Quality against time", "Median seconds a question on the machine of the run; log scale.", _time),
    ("Quality against money", "Price of a thousand questions by the recipe's price table; log scale.", _money),
)
