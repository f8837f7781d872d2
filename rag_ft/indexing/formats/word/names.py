"""Names of elements and attributes in the XML of Word documents."""

from __future__ import annotations

from typing import Any

WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
PLACED = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
VML = "{urn:schemas-microsoft-com:vml}"
DECORATIVE = "{http://schemas.microsoft.com/office/drawing/2017/decorative}decorative"

STRICT = (
    (b"http://purl.oclc.org/ooxml/wordprocessingml/", b"http://schemas.openxmlformats.org/wordprocessingml/2006/"),
    (b"http://purl.oclc.org/ooxml/spreadsheetml/", b"http://schemas.openxmlformats.org/spreadsheetml/2006/"),
    (b"http://purl.oclc.org/ooxml/presentationml/", b"http://schemas.openxmlformats.org/presentationml/2006/"),
    (b"http://purl.oclc.org/ooxml/drawingml/", b"http://schemas.openxmlformats.org/drawingml/2006/"),
    (b"http://purl.oclc.org/ooxml/officeDocument/", b"http://schemas.openxmlformats.org/officeDocument/2006/"),
)
"""Namespaces of "Strict Open XML Document", and the common ones of the same elements."""


def child(element: Any, *path: str) -> Any:
    """The first Word element below another by names such as "pPr", "numPr"; None where one is missing."""
    for name in path:
        if element is None:
            return None
        element = next(element.iterchildren(WORD + name), None)
    return element


def value(element: Any, *path: str) -> str | None:
    """The attribute `val` of an element below another, None where the element is missing."""
    node = child(element, *path)
    return None if node is None else node.get(WORD + "val", "")


def whole_number(text: str | None, default: int, most: int = 1_000_000) -> int:
    """A number of an attribute, at most `most`; the default for anything else."""
    if text is None or not text.isascii() or not text.isdigit():
        return default
    return min(int(text[:12]), most)


def switch(element: Any, *path: str) -> bool | None:
    """Whether a property such as `<w:vanish/>` is on; None where it is missing."""
    text = value(element, *path)
    return None if text is None else text not in ("0", "false", "off", "none")
