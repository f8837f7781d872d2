"""A document cut into the lines and keys that an index keeps, and texts embedded with their vectors checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rag_ft.errors import IndexMismatchError
from rag_ft.indexing.chunking import Chunker, passage_text
from rag_ft.indexing.corpus import document_content
from rag_ft.indexing.sources.events import Cut
from rag_ft.indexing.storage.journal import passage_key
from rag_ft.indexing.storage.lines import json_line
from rag_ft.indexing.storage.table import passage_row
from rag_ft.schema import Document

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder
    from rag_ft.indexing.sentence_embedding import Vectors


class CutDocument(NamedTuple):
    """A document's passages, and the texts to embed for them."""

    cut: Cut
    texts: tuple[str, ...]


def cut_document(document: Document, chunker: Chunker) -> CutDocument:
    """Cut a document of valid Unicode; its metadata changes nothing about the result."""
    passages = chunker.passages(document)
    lines = tuple(json_line(passage_row(passage, document.title)) for passage in passages)
    texts = tuple(passage_text(passage, chunker.config.rules) for passage in passages)
    return CutDocument(Cut(lines, tuple(map(passage_key, texts))), texts)


def embed_checked(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Embed passages. Raises IndexMismatchError for vectors of a wrong shape, or with values that are not finite."""
    vectors = embedder.encode_passages(texts)
    if vectors.shape != (len(texts), embedder.dimension) or not np.isfinite(vectors).all():
        raise IndexMismatchError(
            f"the embedder {embedder.name} gave vectors of shape {vectors.shape} or values that are not "
            f"finite; expected shape ({len(texts)}, {embedder.dimension}): use another embedder"
        )
    return vectors


def invalid_unicode(document: Document) -> str | None:
    """Say why a document cannot be stored as UTF-8; None if it can."""
    try:
        json_line(document_content(document))
    except UnicodeEncodeError:
        return "the text holds half of a surrogate pair: save it as valid UTF-8"
    return None
