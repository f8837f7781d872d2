"""What reading a file gives: what it says, or why it cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, field

from rag_ft.schema import Heading, Metadata


class Unreadable(Exception):
    """The file cannot be read; the message completes a sentence that begins with its name."""


@dataclass
class Extracted:
    """What a file says."""

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    page_starts: tuple[int, ...] = ()
    metadata: Metadata = field(default_factory=dict)
