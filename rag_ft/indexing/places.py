"""Where the characters of a text stand in its file: boxes on its pages, or lines. Kept apart from the text, compressed.

The reading process encodes it, the index stores the bytes, and an answer decodes only the part that its quote needs.
"""

from __future__ import annotations

import bisect
import json
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_ft.indexing.formats.extracted import Extracted
from rag_ft.indexing.formats.source_lines import line_ends

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEPS = 65_535
"""Boxes are stored in this many steps of a page's width and height."""

BLOCK_CHARS = 8_192
"""Characters whose boxes are compressed together: an answer decompresses one or two such blocks."""

_MARK = b"RFP1"
_START = struct.Struct(">4sI")
_BOX_BYTES = 8
_HEADER_BYTES = 256_000_000
"""Larger than the header of any document that is read: more is damage, and would exhaust memory."""
_LARGEST_PAGE = 1e6
"""Points; PDF's own limit is 14,400 units, each of which may be many points."""


class PlacesError(ValueError):
    """The bytes are not the places of this text."""


def encode_places(extracted: Extracted) -> bytes:
    """Encode where the characters of an extracted text stand; empty if its format does not say."""
    text, boxes = extracted.text, extracted.char_boxes
    # Boxes that are not those of the text would be shown at wrong places: then there are none.
    pages = len(extracted.page_starts)
    sized = len(extracted.page_sizes) == pages and all(
        0 <= side <= _LARGEST_PAGE for size in extracted.page_sizes for side in size
    )
    laid_out = bool(pages) and sized and len(boxes) == _BOX_BYTES * len(text)
    if not laid_out and not extracted.line_anchors:
        return b""
    blocks: list[bytes] = []
    if laid_out:
        for start in range(0, len(text), BLOCK_CHARS):
            blocks.append(_packed(boxes[_BOX_BYTES * start : _BOX_BYTES * (start + BLOCK_CHARS)]))
    header = {
        "chars": len(text),
        "page_starts": _steps(extracted.page_starts) if laid_out else [],
        "page_sizes": [[round(side, 3) for side in size] for size in extracted.page_sizes] if laid_out else [],
        "anchors": _steps(anchor.offset for anchor in extracted.line_anchors),
        "lines": _steps(anchor.line for anchor in extracted.line_anchors),
        "blocks": [len(block) for block in blocks],
    }
    packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode())
    return b"".join((_START.pack(_MARK, len(packed)), packed, *blocks))


def _steps(values: Iterable[int]) -> list[int]:
    """The first value and the differences, which compress well."""
    before, steps = 0, []
    for value in values:
        steps.append(value - before)
        before = value
    return steps


def _packed(data: bytes) -> bytes:
    """Compress boxes: corners as steps from the character before, with width and height, low bytes before high ones.

    Without numpy: the reading process has little memory.
    """
    boxes = array("H", data)
    if sys.byteorder == "big":
        boxes.byteswap()
    left, top, right, bottom = (boxes[side::4] for side in range(4))
    planes = (
        _wrapped_steps(left),
        _wrapped_steps(top),
        array("H", [max(end - start, 0) for start, end in zip(left, right, strict=True)]),
        array("H", [max(end - start, 0) for start, end in zip(top, bottom, strict=True)]),
    )
    pieces: list[bytes] = []
    for plane in planes:
        if sys.byteorder == "big":
            plane.byteswap()
        content = plane.tobytes()
        pieces += (content[0::2], content[1::2])
    return zlib.compress(b"".join(pieces))


def _wrapped_steps(values: Sequence[int]) -> array[int]:
    return array("H", [(value - before) & 0xFFFF for before, value in zip((0, *values), values, strict=False)])


@dataclass(frozen=True)
class Places:
    """Decoded places of one document's characters; boxes are decompressed when they are asked for."""

    chars: int
    """Characters of the document's text."""
    page_starts: tuple[int, ...]
    """Offset at which each page starts; empty if the file has no layout."""
    page_sizes: tuple[tuple[float, float], ...]
    """Width and height of each page as displayed, in points."""
    anchors: tuple[int, ...]
    """Offsets at which a line of the file is known; empty if lines are not."""
    lines: tuple[int, ...]
    """Number of the file's line at each anchor, from 1."""
    _blocks: tuple[bytes, ...]

    @classmethod
    def decode(cls, data: bytes) -> Places:
        """Decode the bytes of `encode_places`, without the boxes. Raises PlacesError."""
        try:
            mark, size = _START.unpack_from(data)
            if mark != _MARK:
                raise PlacesError("they do not begin like places")
            header = json.loads(_unpacked(data[_START.size : _START.size + size], _HEADER_BYTES))
            lengths = _whole_numbers(header["blocks"])
            places = cls(
                chars=_whole_numbers([header["chars"]])[0],
                page_starts=_sums(header["page_starts"]),
                page_sizes=tuple((_side(width), _side(height)) for width, height in header["page_sizes"]),
                anchors=_sums(header["anchors"]),
                lines=_sums(header["lines"], ascending=False),
                _blocks=_cut(data, _START.size + size, lengths),
            )
        except (struct.error, zlib.error, KeyError, TypeError, ValueError, RecursionError) as error:
            raise error if isinstance(error, PlacesError) else PlacesError(str(error)[:200]) from error
        places._check()
        return places

    def _check(self) -> None:
        """Raise PlacesError unless the parts belong together."""
        if len(self.page_sizes) != len(self.page_starts) or len(self.lines) != len(self.anchors):
            raise PlacesError("they have more of one part than of another")
        expected = -(-self.chars // BLOCK_CHARS) if self.page_starts else 0
        if len(self._blocks) != expected:
            raise PlacesError(f"they have {len(self._blocks)} blocks instead of {expected}")
        if any(offset > self.chars for offset in (*self.page_starts[-1:], *self.anchors[-1:])):
            raise PlacesError("they go beyond the text")
        if any(line < 1 for line in self.lines):
            raise PlacesError("a line has no number")

    def check(self, text: str, page_starts: Sequence[int]) -> None:
        """Decompress everything. Raises PlacesError unless these are places of this text and these pages."""
        if self.chars != len(text) or (self.page_starts and self.page_starts != tuple(page_starts)):
            raise PlacesError("they are those of another text")
        for start in range(0, self.chars, BLOCK_CHARS) if self.page_starts else ():
            boxes = self.boxes(start, min(start + BLOCK_CHARS, self.chars))
            if not bool((boxes[:, :2] <= boxes[:, 2:]).all()):
                raise PlacesError("a box ends before it starts")

    def boxes(self, start: int, end: int) -> NDArray[np.uint16]:
        """Boxes of the characters between two offsets in steps of their page, shape (n, 4). Raises PlacesError."""
        import numpy as np

        end = min(end, self.chars)
        if not self.page_starts or start >= end:
            return np.zeros((0, 4), dtype=np.uint16)
        first = start // BLOCK_CHARS
        parts = [self._block(block) for block in range(first, (end - 1) // BLOCK_CHARS + 1)]
        return np.concatenate(parts)[start - first * BLOCK_CHARS : end - first * BLOCK_CHARS]

    def _block(self, block: int) -> NDArray[np.uint16]:
        import numpy as np

        chars = min(BLOCK_CHARS, self.chars - block * BLOCK_CHARS)
        try:
            data = _unpacked(self._blocks[block], _BOX_BYTES * chars)
        except zlib.error as error:
            raise PlacesError(str(error)) from error
        if len(data) != _BOX_BYTES * chars:
            raise PlacesError("a block has another number of boxes than characters")
        halves = np.frombuffer(data, dtype=np.uint8).reshape(4, 2, chars).astype(np.uint16)
        planes = halves[:, 0] | (halves[:, 1] << 8)
        left = np.cumsum(planes[0], dtype=np.uint16)
        top = np.cumsum(planes[1], dtype=np.uint16)
        return np.stack([left, top, left + planes[2], top + planes[3]], axis=1)

    def page_of(self, offset: int) -> int:
        """Number of the page that holds an offset, from 1; 0 before the first page."""
        return bisect.bisect_right(self.page_starts, offset)

    def line_of(self, offset: int, text: str) -> int | None:
        """Number of the file's line that an offset of the text stands on; None if lines are not known."""
        anchor = bisect.bisect_right(self.anchors, offset) - 1
        if anchor < 0:
            return None
        return self.lines[anchor] + line_ends(text[self.anchors[anchor] : offset])


def _unpacked(data: bytes, most: int) -> bytes:
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(bytes(data), most + 1)
    if len(content) > most or not unpacking.eof:
        raise PlacesError("they are cut off, or unpack to more than there can be")
    return content


def _whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(value) is not int or value < 0 for value in values):
        raise PlacesError("a number is not a whole one")
    return tuple(values)


def _sums(steps: Any, *, ascending: bool = True) -> tuple[int, ...]:
    if not isinstance(steps, list) or any(type(step) is not int for step in steps):
        raise PlacesError("a number is not a whole one")
    sums, total = [], 0
    for step in steps:
        if ascending and step < 0:
            raise PlacesError("offsets are not ascending")
        total += step
        sums.append(total)
    return tuple(sums)


def _side(value: Any) -> float:
    side = float(value)
    if not 0 <= side <= _LARGEST_PAGE:
        raise PlacesError("a page has no size")
    return side


def _cut(data: bytes, start: int, lengths: Sequence[int]) -> tuple[bytes, ...]:
    blocks = []
    for length in lengths:
        blocks.append(bytes(data[start : start + length]))
        start += length
    if start != len(data):
        raise PlacesError("they are longer or shorter than their parts")
    return tuple(blocks)
