"""Citations → citations with their place in the file: boxes on pages, a line, a link."""

from __future__ import annotations

from typing import Any

from rag_ft.answering.links import TextSpan, source_link
from rag_ft.errors import UsageError
from rag_ft.indexing.index import Index
from rag_ft.indexing.line_boxes import page_sizes, quote_boxes
from rag_ft.indexing.places import Places, PlacesError
from rag_ft.schema import Box, Citation


def place(citation: Citation, index: Index) -> Citation:
    """The citation with what the index knows about its place; unchanged if it knows nothing."""
    try:
        places = index.places(citation.document_id)
        text = index.document(citation.document_id).text
        span = TextSpan(citation.start, citation.end)
        found: dict[str, Any] = {"link": source_link(citation.source, citation.page, text, span)}
        if places is not None:
            boxes = quote_boxes(places, citation.start, citation.end, citation.quote)
            found |= {
                "boxes": boxes,
                "answer_boxes": _answer_boxes(places, citation),
                "page_sizes": page_sizes(places, boxes),
                "line": places.line_of(_first_word(citation), text),
            }
    except (UsageError, PlacesError):  # a document of another retriever, or damage that `verify` finds
        return citation
    return citation.model_copy(update=found)


def _first_word(citation: Citation) -> int:
    """Where the quote's first character that is not white space stands."""
    return citation.start + len(citation.quote) - len(citation.quote.lstrip())


def _answer_boxes(places: Places, citation: Citation) -> tuple[Box, ...]:
    start, end = citation.answer_start, citation.answer_end
    if start is None or end is None:
        return ()
    return quote_boxes(places, start, end, citation.quote[start - citation.start : end - citation.start])
