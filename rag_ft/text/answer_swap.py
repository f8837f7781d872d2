"""A passage with its answer replaced by another of its type: does a reader follow what it reads or what it knows?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rag_ft.schema import Passage


class Swap(NamedTuple):
    """A changed passage and the answer that it now holds."""

    passage: Passage
    answer: str


def answer_type(answer: str) -> str:
    """A rough type that keeps a swap plausible: year, number, or names and words by their count."""
    text = answer.strip()
    if re.fullmatch(r"1\d{3}|20\d{2}", text):
        return "year"
    if re.search(r"\d", text):
        return "number"
    words = text.split()
    named = "name" if all(word[:1].isupper() for word in words) else "words"
    return f"{named} {min(len(words), 4)}"


def swap_answer(passage: Passage, answer: str, others: Sequence[str]) -> Swap | None:
    """The passage with its answer replaced by the first of `others` that has its type and is not in the passage.

    Every occurrence is replaced. None where none of the others fits. Offsets of the changed passage count in its own
    text, not in the document's.
    """
    kind = answer_type(answer)
    for other in others:
        if answer_type(other) == kind and other not in passage.text and other.casefold() != answer.casefold():
            text = passage.text.replace(answer, other)
            return Swap(passage.model_copy(update={"text": text, "end": passage.start + len(text)}), other)
    return None
