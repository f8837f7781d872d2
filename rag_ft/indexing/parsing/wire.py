"""What a reading process and its parent say to each other: frames of a small JSON header and raw bytes.

The parent trusts nothing that comes back: a frame has a bounded size, its header is validated, and headings and pages
must lie within the text.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Literal, NamedTuple

from pydantic import Field, JsonValue

from rag_ft.schema import Heading, Record

MAX_HEADER_BYTES = 8_000_000
"""Of a header: title, metadata, headings and pages of a document."""

_SIZES = struct.Struct(">II")


class Frame(NamedTuple):
    """A header as JSON, and what belongs to it."""

    header: bytes
    content: bytes


class FrameError(Exception):
    """What came is no frame, or one larger than allowed."""


class Hello(Record):
    """The parent's first word: the limits, as `ReadLimits` has them."""

    seconds: float
    memory_bytes: int
    file_bytes: int
    line_bytes: int
    max_chars: int
    max_headings: int
    max_pages: int


class Ready(Record):
    """The child's answer to it: what the platform keeps it from."""

    kept_from: tuple[str, ...]


class Request(Record):
    """One file to read, or some lines of one. Its bytes follow."""

    kind: Literal["file", "lines", "squad"]
    name: str
    """A file's own name; for lines, the name that the ids of documents without one begin with."""
    source: str = ""
    """What a record without a source is said to come from."""
    numbers: tuple[int, ...] = ()
    """Of the lines, counted from 1."""
    documents_before: bool = False
    """Whether earlier lines gave a document; the first record tells whether the file holds questions instead."""


class Reply(Record):
    """A document (its text is the frame's content), or why there is none, or that all has been said."""

    kind: Literal["document", "failure", "no_memory", "questions", "not_squad", "end"]
    reason: str = ""
    line: int = 0
    """Of the file's lines, where those were asked for."""
    id: str | None = None
    title: str = ""
    source: str = ""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    headings: tuple[tuple[int, int, int], ...] = ()
    """Start, length and level of each: its text is the document's there."""
    page_starts: tuple[int, ...] = ()


def headings_in(text: str, spans: tuple[tuple[int, int, int], ...]) -> tuple[Heading, ...]:
    """The headings at these places of a text. Raises FrameError for places that are not, or that overlap."""
    end = 0
    headings = []
    for start, length, level in spans:
        if start < end or length < 0 or start + length > len(text) or not 1 <= level <= 6:
            raise FrameError("a heading does not stand in the text")
        end = start + length
        headings.append(Heading(start=start, level=level, text=text[start:end]))
    return tuple(headings)


def check_pages(text: str, starts: tuple[int, ...]) -> None:
    """Raise FrameError where pages do not begin within the text, one after another."""
    if any(before > after for before, after in zip((0, *starts), (*starts, len(text)), strict=True)):
        raise FrameError("a page does not begin in the text")


def write_frame(stream: BinaryIO, header: bytes, content: bytes = b"") -> None:
    """Send a frame. Raises OSError where nobody reads it."""
    stream.write(_SIZES.pack(len(header), len(content)))
    stream.write(header)
    stream.write(content)
    stream.flush()


def write_header(stream: BinaryIO, header: bytes, content_bytes: int) -> None:
    """Begin a frame whose content the caller writes piece by piece."""
    stream.write(_SIZES.pack(len(header), content_bytes))
    stream.write(header)


def read_frame(stream: BinaryIO, *, max_header: int, max_content: int) -> Frame:
    """The next frame. Raises EOFError where none comes any more, FrameError where it is larger than allowed."""
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
