"""Text of diagrams (SmartArt) and the numbers of charts."""

from __future__ import annotations

from typing import Any

from rag_ft.indexing.formats.word.names import CHART, DIAGRAM, DRAWING

_SCAFFOLD = frozenset(("pres", "parTrans", "sibTrans"))


def diagram_lines(root: Any) -> list[str]:
    """The texts of a diagram's points, in their order in the file."""
    return [
        text
        for point in root.iter(DIAGRAM + "pt")
        if point.get("type") not in _SCAFFOLD
        for paragraph in point.iter(DRAWING + "p")
        if (text := _drawn_text(paragraph))
    ]


def chart_lines(root: Any) -> tuple[str, list[list[str]]]:
    """A chart's title, and its numbers as a table with the names of the series first."""
    title = root.find(f"{CHART}chart/{CHART}title")
    series = list(root.iter(CHART + "ser"))
    categories: list[str] = []
    columns: list[list[str]] = []
    for part in series:
        for name in ("cat", "xVal"):
            found = _points(part.find(CHART + name))
            categories = found if len(found) > len(categories) else categories
        columns.append(_points(part.find(CHART + "val")) or _points(part.find(CHART + "yVal")))
    names = [" ".join(_points(part.find(CHART + "tx"))) for part in series]
    height = max(map(len, (categories, *columns)))
    rows = [[column[row] if row < len(column) else "" for column in (categories, *columns)] for row in range(height)]
    return "" if title is None else _drawn_text(title), [["", *names], *rows]


def _points(element: Any) -> list[str]:
    return [] if element is None else [node.text or "" for node in element.iter(CHART + "v")]


def _drawn_text(element: Any) -> str:
    return " ".join("".join(node.text or "" for node in element.iter(DRAWING + "t")).split())
