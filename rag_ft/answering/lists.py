"""Answers that are lists: the items of the list or table that an answer is, to the end of that list.

A reader names a part of one passage, and of at most `MOST_UNITS` units. A list that is longer, or that is cut by the
end of the passage, goes on in the document: its other items answer the question as well as those that were read. A span
lists things in a sentence: "plants, animals and tools".
"""

from __future__ import annotations

from typing import NamedTuple

from rag_ft.errors import UsageError
from rag_ft.indexing.index import Index
from rag_ft.indexing.structure import Part, elements, mark_length, parts_of
from rag_ft.schema import Citation, Document, Item, Passage
from rag_ft.text.enumerations import enumerated
from rag_ft.text.parts import MOST_UNITS

FEWEST_ITEMS = 2
"""A single item is a sentence like any other."""


class ListedAnswer(NamedTuple):
    """An answer with its items."""

    answer: str
    citation: Citation
    items: tuple[Item, ...]
    """Empty where the answer is not a list; answer and citation are then as they were."""


def listed_answer(answer: str, citation: Citation, passage: Passage, index: Index) -> ListedAnswer:
    """An answer that is a part of `passage`, as the items of the list or table that it holds at its end.

    The list is followed into the next passages of the document where the answer ends with its passage, or has as many
    items as a part may have.
    """
    nothing = ListedAnswer(answer, citation, ())
    if "\n" not in answer:  # items begin on lines of their own: the document need not be looked at
        return nothing
    start, end = citation.answer_start, citation.answer_end
    try:
        document = index.document(citation.document_id)
    except UsageError:  # it was removed since it was searched
        return nothing
    if start is None or end is None or document.text[start:end] != answer:
        return nothing
    part = _list_at(document, start, end)
    if part is None:
        return nothing
    listed = [element for element in elements(document.text, part) if element.end > start]
    held = [element for element in listed if element.start < end]
    cut = passage.text[end - passage.start :].strip() == "" or len(held) >= MOST_UNITS - 1
    if len(held) < FEWEST_ITEMS or end < min(held[-1].end, _line_end(document.text, held[-1].start)):
        return nothing
    if cut:
        held, end = listed, max(end, listed[-1].end)
    items = tuple(
        Item(text=document.text[element.start : element.end][mark:], start=element.start + mark, end=element.end)
        for element in held
        for mark in (mark_length(document.text[element.start : element.end]),)
    )
    return ListedAnswer(document.text[start:end], _reaching(citation, document, end), items)


def enumerated_items(answer: str, citation: Citation, passage: Passage) -> tuple[Item, ...]:
    """The things that an answer lists in its sentence; empty where they are fewer than two, or not in the passage."""
    start, end = citation.answer_start, citation.answer_end
    if start is None or end is None or passage.text[start - passage.start : end - passage.start] != answer:
        return ()
    return tuple(
        Item(text=answer[item.start : item.end], start=start + item.start, end=start + item.end)
        for item in enumerated(answer)
    )


def _list_at(document: Document, start: int, end: int) -> Part | None:
    """The list or table in which a span ends."""
    for part in parts_of(document):
        if part.kind in ("list", "table") and part.start < end <= part.end and start < part.end:
            return part
    return None


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _reaching(citation: Citation, document: Document, end: int) -> Citation:
    """A citation whose answer ends at `end`; the quote reaches at least as far."""
    quote_end = max(citation.end, end)
    quote = document.text[citation.start : quote_end]
    return citation.model_copy(update={"answer_end": end, "end": quote_end, "quote": quote})
