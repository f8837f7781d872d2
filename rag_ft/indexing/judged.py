"""Hits as they are judged: a text that stands in several places counts at the one that a question's evidence is in."""

from __future__ import annotations

from typing import Any

from rag_ft.indexing.index import Index
from rag_ft.metrics.retrieval import Place
from rag_ft.schema import Hit, Question


def at_evidence(hit: Hit, question: Question, index: Any) -> Hit:
    """The hit, at that of the places of its text that shows a question's evidence, if one does.

    `index`: what was searched. Only an `Index` can look up the other places.
    """
    documents = {piece.document_id for piece in question.evidence}
    for passage_id in hit.also_in:
        if passage_id.rpartition("#")[0] in documents and isinstance(index, Index):
            passage = index.passage_by_id(passage_id)
            if Place.of(passage).shows(question):
                return hit.model_copy(update={"passage": passage})
    return hit
