"""The shapes of a slide in reading order, groups taken apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rag_ft.indexing.formats.word.names import COMPATIBILITY, DRAWING, whole_number

SLIDE = "{http://schemas.openxmlformats.org/presentationml/2006/main}"

RUNNING = frozenset(("dt", "ftr", "hdr", "sldNum", "sldImg"))
"""Placeholders that repeat on every slide: date, footer, header and number."""
TITLES = frozenset(("title", "ctrTitle"))

_SHAPES = frozenset(SLIDE + name for name in ("sp", "pic", "graphicFrame", "cxnSp"))
_LINES_PER_SLIDE = 30
"""Shapes whose tops differ by less than this part of the slide's height stand side by side."""
_LONGEST_NAME = 60
"""Characters of a shape that names the text below it, at most."""


class _Scale(NamedTuple):
    """From the coordinates of a group to those of the slide."""

    x: float = 0.0
    y: float = 0.0
    by_x: float = 1.0
    by_y: float = 1.0


@dataclass
class Shape:
    """A shape, and where its top left corner is; infinite where nothing says so."""

    element: Any
    kind: str
    """The placeholder's kind, "body" for one without; "" for a shape that is no placeholder."""
    index: str
    x: float = math.inf
    y: float = math.inf


@dataclass
class Layout:
    """The placeholders of a slide's layout and master, from which it takes what it does not say itself."""

    layout: list[Shape] = field(default_factory=list)
    master: list[Shape] = field(default_factory=list)
    text_styles: Any = None
    """The master's styles of titles, bodies and other text."""

    def models(self, shape: Shape) -> Iterator[Shape]:
        """The placeholders that a shape follows: that of the layout, then that of the master."""
        if not shape.kind:
            return
        kind = shape.kind
        model = next((other for other in self.layout if other.index == shape.index and other.index), None)
        if model is None:
            model = next((other for other in self.layout if _similar(other.kind, kind)), None)
        if model is not None:
            yield model
            kind = model.kind
        master = next((other for other in self.master if _similar(other.kind, kind)), None)
        if master is not None:
            yield master


def _similar(kind: str, other: str) -> bool:
    def plain(name: str) -> str:
        return "title" if name in TITLES else name if name in RUNNING else "body"

    return bool(kind and other) and plain(kind) == plain(other)


def placeholders(root: Any) -> list[Shape]:
    """The placeholders of a layout or master."""
    return [] if root is None else [shape for shape in _flattened(_tree(root)) if shape.kind]


def in_reading_order(root: Any, layout: Layout, height: int) -> list[Shape]:
    """The visible shapes of a slide: its title, then from the top down, and from left to right side by side."""
    shapes = list(_flattened(_tree(root)))
    for shape in shapes:
        if shape.x == math.inf:
            for model in layout.models(shape):
                if model.x < math.inf:
                    shape.x, shape.y = model.x, model.y
                    break
    titles = [shape for shape in shapes if shape.kind in TITLES]
    others = sorted((shape for shape in shapes if shape.kind not in TITLES), key=lambda shape: shape.y)
    rows: list[list[Shape]] = []
    for shape in others:
        if rows and shape.y - rows[-1][0].y <= height / _LINES_PER_SLIDE:
            rows[-1].append(shape)
        elif rows and shape.y == rows[-1][0].y:  # both without a place
            rows[-1].append(shape)
        else:
            rows.append([shape])
    rows = [sorted(row, key=lambda shape: shape.x) for row in rows]
    return titles + list(_with_texts_below(rows, height / _LINES_PER_SLIDE))


def _with_texts_below(rows: list[list[Shape]], tolerance: float) -> Iterator[Shape]:
    """The shapes row by row, but the names of columns each with the text below it."""
    i = 0
    while i < len(rows):
        if i + 1 < len(rows) and _name_columns(rows[i], rows[i + 1], tolerance):
            for name, text in zip(rows[i], rows[i + 1], strict=True):
                yield from (name, text)
            i += 2
        else:
            yield from rows[i]
            i += 1


def _name_columns(row: list[Shape], below: list[Shape], tolerance: float) -> bool:
    """Whether the shapes of a row are names of those below them: as many, aligned, and each shorter."""
    if len(row) < 2 or len(row) != len(below):
        return False
    if any(not abs(name.x - text.x) <= tolerance for name, text in zip(row, below, strict=True)):
        return False
    lengths = [(_length(name), _length(text)) for name, text in zip(row, below, strict=True)]
    return all(0 < name <= _LONGEST_NAME and name < text for name, text in lengths)


def _length(shape: Shape) -> int:
    return sum(len(node.text or "") for node in shape.element.iter(DRAWING + "t"))


def _tree(root: Any) -> Any:
    data = next(root.iterchildren(SLIDE + "cSld"), None)
    return () if data is None else next(data.iterchildren(SLIDE + "spTree"), ())


def _flattened(tree: Any) -> Iterator[Shape]:
    """The shapes of a tree, those of groups in its coordinates; hidden ones are left out."""
    stack: list[tuple[Any, _Scale]] = [(element, _Scale()) for element in reversed(tree)]
    while stack:
        element, scale = stack.pop()
        if element.tag == COMPATIBILITY + "AlternateContent":
            stack.extend((part, scale) for part in reversed(_chosen(element)))
        elif element.tag == SLIDE + "grpSp" and not _is_hidden(element):
            inner = _group_scale(element, scale)
            stack.extend((part, inner) for part in reversed(element))
        elif element.tag in _SHAPES and not _is_hidden(element):
            yield _shape(element, scale)


def _chosen(alternatives: Any) -> list[Any]:
    """The newer form of a content, or the form for older programs where only that has text or a table."""
    forms = [part for part in alternatives if isinstance(part.tag, str)]
    for form in forms:
        if any(next(form.iter(DRAWING + name), None) is not None for name in ("t", "graphicData")):
            return list(form)
    return list(forms[0]) if forms else []


def _properties(element: Any) -> Any:
    """The part of a shape that names it."""
    return next((part for part in element if isinstance(part.tag, str) and "}nv" in part.tag), None)


def described(element: Any) -> Any:
    """The element that holds a shape's name and description; None where it is missing."""
    properties = _properties(element)
    return None if properties is None else next(properties.iterchildren(SLIDE + "cNvPr"), None)


def _is_hidden(element: Any) -> bool:
    name = described(element)
    return name is not None and name.get("hidden") in ("1", "true")


def _transform(element: Any) -> Any:
    return next((node for part in element for node in (part, *part) if str(node.tag).endswith("}xfrm")), None)


def _numbers(transform: Any, name: str, first: str, second: str) -> tuple[float, float] | None:
    node = None if transform is None else next(transform.iterchildren(DRAWING + name), None)
    if node is None:
        return None
    try:
        numbers = float(node.get(first, "")), float(node.get(second, ""))
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _group_scale(group: Any, scale: _Scale) -> _Scale:
    transform = _transform(group)
    offset, extent = _numbers(transform, "off", "x", "y"), _numbers(transform, "ext", "cx", "cy")
    inner, inner_extent = _numbers(transform, "chOff", "x", "y"), _numbers(transform, "chExt", "cx", "cy")
    if offset is None or extent is None or inner is None or inner_extent is None or 0 in inner_extent:
        return scale
    by_x, by_y = scale.by_x * extent[0] / inner_extent[0], scale.by_y * extent[1] / inner_extent[1]
    x, y = scale.x + offset[0] * scale.by_x, scale.y + offset[1] * scale.by_y
    return _Scale(x - inner[0] * by_x, y - inner[1] * by_y, by_x, by_y)


def _shape(element: Any, scale: _Scale) -> Shape:
    properties = _properties(element)
    holder = None if properties is None else next(properties.iter(SLIDE + "ph"), None)
    kind = "" if holder is None else holder.get("type", "body")
    index = "" if holder is None else str(whole_number(holder.get("idx"), 0)) if holder.get("idx") else ""
    place = _numbers(_transform(element), "off", "x", "y")
    if place is None:
        return Shape(element, kind, index)
    return Shape(element, kind, index, scale.x + place[0] * scale.by_x, scale.y + place[1] * scale.by_y)
