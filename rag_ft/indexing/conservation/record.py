"""The result of comparing a document's text with its source."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

from pydantic import Field

from rag_ft.schema import Record

MAX_SAMPLE_WORDS = 10
"""Words in a sample, at most."""
MAX_PHRASE_CHARS = 120
"""Length of one phrase of a sample, at most."""
MAX_MISSING_PARTS = 50
"""Missing parts that are named, at most."""

MAX_NOTES = 10
"""Notes of a document, at most."""
MAX_NOTE_CHARS = 300
"""Length of a note."""

_REPORTED_ABOVE = 0.005

_Count = Annotated[int, Field(ge=0)]
_Phrase = Annotated[str, Field(min_length=1, max_length=MAX_PHRASE_CHARS)]


class Conservation(Record):
    """How much of a source's words a document's text holds, counted by an independent reading of the source."""

    words: _Count
    """Words that the source shows, without those in `left_out`."""
    lost: _Count = 0
    """Words of the source that the text lacks."""
    sample: tuple[_Phrase, ...] = Field(default=(), max_length=MAX_SAMPLE_WORDS)
    """Some lost words in their order, neighbours as one phrase; ten words at most."""
    glued: _Count = 0
    """Words of the text that are two or more words in the source."""
    glued_sample: tuple[_Phrase, ...] = Field(default=(), max_length=MAX_SAMPLE_WORDS)
    moved: _Count = 0
    """Words in another order than in the source, among those that occur once; 0 where the source has no order."""
    left_out: dict[Annotated[str, Field(max_length=60)], _Count] = Field(default_factory=dict, max_length=30)
    """Words that were left out on purpose, by reason: navigation, hidden text, running headers and footers."""
    pages_without_text: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Pages that show images and have no text, counted from 1."""
    missing_parts: tuple[_Phrase, ...] = Field(default=(), max_length=MAX_MISSING_PARTS)
    """Parts of the source, such as a page or its footnotes, of which the text has nothing."""
    notes: tuple[Annotated[str, Field(max_length=MAX_NOTE_CHARS)], ...] = Field(default=(), max_length=MAX_NOTES)
    """What the source itself lacks, such as the values of formulas that were never calculated."""

    @property
    def complete(self) -> bool:
        """Whether nothing was lost and no words were glued."""
        return not (self.lost or self.glued or self.lacks_parts or self.notes)

    @property
    def lacks_parts(self) -> bool:
        """Whether whole pages or parts are missing."""
        return bool(self.pages_without_text or self.missing_parts)

    @property
    def worth_reporting(self) -> bool:
        """Whether pages or parts are missing, the source lacks something, or over one word in 200 is lost or glued."""
        return self.lacks_parts or bool(self.notes) or self.lost + self.glued > _REPORTED_ABOVE * self.words

    def in_words(self) -> str:
        """Say what is missing in one line; empty if nothing is."""
        parts = []
        if self.pages_without_text:
            many = len(self.pages_without_text) > 1
            parts.append(
                f"{'pages' if many else 'page'} {_ranges(self.pages_without_text)} {'have' if many else 'has'} no text:"
                f" {'they are scanned images' if many else 'it is a scanned image'}"
            )
        if self.missing_parts:
            named = ", ".join(self.missing_parts[:3]) + (" and others" if len(self.missing_parts) > 3 else "")
            parts.append(f"nothing was read of {named}")
        if self.lost:
            such_as = f", such as {_quoted(self.sample)}" if self.sample else ""
            was = "was" if self.lost == 1 else "were"
            parts.append(f"{self.lost:,} of {self.words:,} words {was} left out{such_as}")
        if self.glued:
            such_as = f", such as {_quoted(self.glued_sample)}" if self.glued_sample else ""
            words = "1 word is" if self.glued == 1 else f"{self.glued:,} words are"
            parts.append(f"{words} glued together from several{such_as}")
        return "; ".join([*parts, *self.notes])


def _quoted(phrases: tuple[str, ...]) -> str:
    return ", ".join(f"'{phrase}'" for phrase in phrases[:3])


def _ranges(numbers: tuple[int, ...]) -> str:
    """Ascending numbers in words: "1, 3 to 5 and 9"."""
    runs = []
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        if len(run) > 2:
            runs.append(f"{run[0]:,} to {run[-1]:,}")
        else:
            runs.extend(f"{number:,}" for number in run)
    return runs[0] if len(runs) == 1 else f"{', '.join(runs[:-1])} and {runs[-1]}"
