"""The protocol between a reading process and its parent: frames of a small JSON header and raw bytes.

The parent does not trust the replies: frames have a bounded size, headers are validated, and headings and pages must
lie within the text.
"""

from __future__ import annotations

import struct
from itertools import accumulate
from typing import Annotated, BinaryIO, Literal, NamedTuple

from pydantic import Field, JsonValue

from rag_ft.indexing.conservation.record import Conservation
from rag_ft.indexing.places import Places, PlacesError
from rag_ft.schema import Block, BlockKind, Heading, Location, Record

MAX_HEADER_BYTES = 8_000_000
"""Maximum size of a header: title, metadata, headings and pages of a document."""

_SIZES = struct.Struct(">II")


class Frame(NamedTuple):
    """A header as JSON, and its content."""

    header: bytes
    content: bytes


class FrameError(Exception):
    """The bytes received are not a valid frame, or are larger than allowed."""


class Hello(Record):
    """The parent's first message: the fields of `ReadLimits`."""

    seconds: float
    memory_bytes: int
    file_bytes: int
    line_bytes: int
    max_chars: int
    max_headings: int
    max_pages: int


class Ready(Record):
    """The child's reply to `Hello`: what the platform keeps it from."""

    kept_from: tuple[str, ...]


class Request(Record):
    """A file to read, some lines of one, or a page to draw; the file's bytes follow."""

    kind: Literal["file", "lines", "squad", "page", "scans"]
    name: str
    """File name; for lines, the prefix of ids for documents that have none."""
    source: str = ""
    """Source of records that name none."""
    numbers: tuple[int, ...] = ()
    """Line numbers, counted from 1; of a page, its number and the width of its image in pixels; of scans, the first
    page to draw."""
    documents_before: bool = False
    """Whether earlier lines gave a document; if not, the first record decides whether the file holds questions."""


class Reply(Record):
    """A document (its text begins the frame's content), an image, the reason why there is none, or the replies' end."""

    kind: Literal["document", "image", "scan", "failure", "no_memory", "questions", "not_squad", "end"]
    reason: str = ""
    line: int = 0
    """Line number, if the request was for lines."""
    id: str | None = None
    title: str = ""
    source: str = ""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    headings: tuple[tuple[int, int, int], ...] = ()
    """Start, length and level of each heading; its text is the document's at that span."""
    page_starts: tuple[int, ...] = ()
    blocks: tuple[tuple[int, int, BlockKind], ...] = ()
    """Start, end and kind of each block that is not prose."""
    locations: tuple[Location, ...] = ()
    binary_bytes: Annotated[int, Field(ge=0)] = 0
    """How many bytes of the content, after the text, are places (`indexing.places`), or an image."""
    conservation: Conservation | None = None
    """What was lost on the way from the file to the text; None if that was not checked."""
    page: int = 0
    """Number of a page that is drawn as an image, the frame's content, counted from 1."""
    pages: int = 0
    width: int = 0
    height: int = 0
    page_size: tuple[float, float] = (0.0, 0.0)
    """Width and height of a drawn page in points; zeros for an image file."""


def headings_in(text: str, spans: tuple[tuple[int, int, int], ...]) -> tuple[Heading, ...]:
    """The headings at these spans of a text. Raises FrameError for spans outside the text, or that overlap."""
    end = 0
    headings = []
    for start, length, level in spans:
        if start < end or length < 0 or start + length > len(text) or not 1 <= level <= 6:
            raise FrameError("a heading outside the text")
        end = start + length
        headings.append(Heading(start=start, level=level, text=text[start:end]))
    return tuple(headings)


def blocks_in(text: str, spans: tuple[tuple[int, int, BlockKind], ...]) -> tuple[Block, ...]:
    """The blocks at these spans of a text. Raises FrameError for spans outside the text, or that overlap."""
    before = 0
    for start, end, _ in spans:
        if not before <= start < end <= len(text):
            raise FrameError("a block outside the text")
        before = end
    return tuple(Block(start=start, end=end, kind=kind) for start, end, kind in spans)


def places_in(text: str, page_starts: tuple[int, ...], content: bytes) -> bytes:
    """The places of a text, decoded once to see that they are its own. Raises FrameError."""
    if content:
        try:
            Places.decode(content).check(text, page_starts)
        except PlacesError as error:
            raise FrameError(f"places outside the text: {error}") from error
    return content


def check_pages(text: str, starts: tuple[int, ...]) -> None:
    """Raise FrameError unless pages start within the text, in ascending order."""
    if any(before > after for before, after in zip((0, *starts), (*starts, len(text)), strict=True)):
        raise FrameError("a page outside the text")


def check_locations(text: str, locations: tuple[Location, ...]) -> None:
    """Raise FrameError unless slides, sheets and their cells start within the text, in ascending order."""
    for i, location in enumerate(locations):
        end = locations[i + 1].start if i + 1 < len(locations) else len(text)
        offsets, rows, columns = location.cells[::3], location.cells[1::3], location.cells[2::3]
        if len(offsets) != len(columns) or min((*offsets, *columns, end - location.start - sum(offsets))) < 0:
            raise FrameError("a cell outside the text")
        if sum(rows) < 0 or any(row < 1 for row in accumulate(rows)):
            raise FrameError("a row before the first")


def write_frame(stream: BinaryIO, header: bytes, content: bytes = b"") -> None:
    """Send a frame. Raises OSError if the other side has closed the pipe."""
    stream.write(_SIZES.pack(len(header), len(content)))
    stream.write(header)
    stream.write(content)
    stream.flush()


def write_header(stream: BinaryIO, header: bytes, content_bytes: int) -> None:
    """Start a frame whose content the caller writes piece by piece."""
    stream.write(_SIZES.pack(len(header), content_bytes))
    stream.write(header)


def read_frame(stream: BinaryIO, *, max_header: int, max_content: int) -> Frame:
    """Read the next frame. Raises EOFError if the stream has ended, FrameError if the frame is larger than allowed."""
    header_bytes, content_bytes = _SIZES.unpack(_exactly(stream, _SIZES.size))
    if header_bytes > max_header:
        raise FrameError(f"a header of {header_bytes:,} bytes")
    if content_bytes > max_content:
        raise FrameError(f"a text of {content_bytes:,} bytes")
    return Frame(_exactly(stream, header_bytes), _exactly(stream, content_bytes))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the other side has ended")
    return data
