"""The result of reading a file: its content, or the reason why it cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from rag_ft.schema import Block, Heading, Location, Metadata


class LineAnchor(NamedTuple):
    """An offset of the text whose line in the file is known."""

    offset: int
    line: int
    """Counted from 1."""


class Unreadable(Exception):
    """The file cannot be read; the message completes a sentence that begins with its name."""


@dataclass
class Extracted:
    """Text of a file, with its title, headings, pages and metadata."""

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    page_starts: tuple[int, ...] = ()
    metadata: Metadata = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    """Code blocks, lists and tables in order, without overlap; other text is prose."""
    page_sizes: tuple[tuple[float, float], ...] = ()
    """Width and height of each page as displayed, in points; empty for formats without a layout."""
    char_boxes: bytes = b""
    """Box of each character of `text` on its page: four little-endian uint16 (x0, y0, x1, y1), as 65535ths of the
    page's width and height from its top left corner as displayed. Zeros for a character that the page does not draw,
    such as a space between lines. Empty for formats without a layout."""
    line_anchors: tuple[LineAnchor, ...] = ()
    """Lines of the file in ascending order of offsets; up to the next anchor, each line end in the text is one in the
    file. A text that is the file's own has one anchor, `LineAnchor(0, 1)`. Empty where lines say nothing."""
    locations: tuple[Location, ...] = ()
    """Slides or sheets in order."""
