"""The words of a source as a simple reading finds them, in pieces: what must be in the text, and what need not be."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Piece:
    """Text of a source that belongs together."""

    part: str
    """Name of the page or file in a container that holds it; empty where there is only one."""
    reason: str
    """Why a text need not have it; empty if it must."""
    ordered: bool
    """Whether a text should have it in this order."""
    texts: list[str]

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)


@dataclass
class Source:
    """What a simple reading finds in a source."""

    pieces: list[Piece] = field(default_factory=list)
    pages_without_text: list[int] = field(default_factory=list)
    """Numbers of pages that show images and have no text layer."""
    unreadable: list[str] = field(default_factory=list)
    """Names of parts that cannot be read."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what the source itself lacks."""

    def add(self, text: str, *, part: str = "", reason: str = "", ordered: bool = True) -> None:
        """Add text; it continues the last piece if it has the same part and reason."""
        if not text:
            return
        last = self.pieces[-1] if self.pieces else None
        if last is not None and (last.part, last.reason, last.ordered) == (part, reason, ordered):
            last.texts.append(text)
        else:
            self.pieces.append(Piece(part, reason, ordered, [text]))
