"""Limits of reading documents: what one file may cost, and how much text it may give."""

from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rag_ft.errors import UsageError
from rag_ft.indexing.formats.extracted import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

MEGABYTE = 1_000_000

MAX_FILE_BYTES = 512 * 1024 * 1024
"""Larger files are refused: a file is held in memory while it is read."""

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""A DOCX or EPUB that unpacks to more is refused, whatever its size: a zip bomb grows a thousandfold."""

MAX_PARTS = 20_000
"""Maximum number of files inside a DOCX or EPUB."""

MAX_FRONT_MATTER_CHARS = 200_000
"""Maximum length of front matter: for this much, the parser, written in Python, needs seconds."""

MAX_FRONT_MATTER_NODES = 10_000
"""Maximum keys, values and lists in front matter: the parser's time per key grows with the keys before it."""

MAX_BLOCKS = 100_000
"""Maximum code blocks, lists and tables of a document that are named as such."""

MAX_ATTACHMENTS = 100
"""Attachments of a mail that are read."""

MAX_MAIL_DEPTH = 4
"""Mails within mails that are read."""

MAX_OUTPUT_CHARS = 5_000
"""Characters of what one cell of a notebook printed that are kept: more is a log, and hides the rest."""


MAX_CELLS = 300_000
"""Maximum cells of a document whose place is kept; of as many more, only the rows are."""


@dataclass(frozen=True)
class ReadLimits:
    """What reading one file may cost; a file that needs more is reported as a failure, and reading continues.

    Example: `Index.build(docs, path, limits=ReadLimits(seconds=300, memory_bytes=8_000_000_000))`.
    """

    seconds: float = 60.0
    """Wall time for one file; in a .jsonl, for each batch of 256 kB or each longer line."""
    memory_bytes: int = 2_048 * MEGABYTE
    """Address space of the reading process, including the program itself (about 200 MB)."""
    file_bytes: int = MAX_FILE_BYTES
    """Size of a file; a .jsonl may have any size."""
    line_bytes: int = 32 * MEGABYTE
    """Size of one line of a .jsonl."""
    max_chars: int = 50 * MEGABYTE
    """Characters of one document's text."""
    max_headings: int = 100_000
    max_pages: int = 100_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise UsageError(f"{field.name} is {value!r}: a limit is a positive number")


_limits: ContextVar[ReadLimits] = ContextVar("limits", default=ReadLimits())  # noqa: B039  # frozen


@contextmanager
def limited_by(limits: ReadLimits) -> Iterator[None]:
    """Make readers use these limits within the block."""
    token = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(token)


def current() -> ReadLimits:
    """The limits for the file that is being read."""
    return _limits.get()


def too_much_text(limits: ReadLimits) -> Unreadable:
    """The error for a file with more text than is read."""
    return Unreadable(f"gives more text than is read: more than the {limits.max_chars:,} characters allowed")


def check_document_size(chars: int, headings: int, pages: int) -> None:
    """Raise Unreadable if a document has more text, headings or pages than are read."""
    limits = current()
    if chars > limits.max_chars:
        raise too_much_text(limits)
    for count, most, name in ((headings, limits.max_headings, "headings"), (pages, limits.max_pages, "pages")):
        if count > most:
            raise Unreadable(f"has {count:,} {name}, more than the {most:,} that are read")
