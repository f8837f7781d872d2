"""Documents in memory: those of this package, and langchain's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from rag_ft.errors import first_problem
from rag_ft.indexing.sources.events import CorpusEvent, ReadDocument, corpus_failure
from rag_ft.schema import Document, json_value

if TYPE_CHECKING:
    from langchain_core.documents import Document as LangchainDocument


def documents_in_memory(documents: Iterable[Any]) -> Iterator[CorpusEvent]:
    """Yield documents as they are, read before or not, and langchain's converted; anything else is a failure."""
    pieces: dict[str, int] = {}
    for position, document in enumerate(documents, start=1):
        if isinstance(document, Document):
            yield ReadDocument(document)
        elif isinstance(document, ReadDocument):
            yield document
        elif isinstance(getattr(document, "page_content", None), str):
            name = document.id or _piece_name(document, position, pieces)
            shown = str(document.id or document.metadata.get("source") or f"document {position}")
            if not document.page_content.strip():
                yield corpus_failure(shown, "holds no text", "", name)
                continue
            try:
                converted = _from_langchain(document, name)
            except (ValidationError, RecursionError) as error:
                yield corpus_failure(shown, _why_no_document(error), "", name)
                continue
            yield ReadDocument(converted)
        else:
            yield corpus_failure(
                f"document {position}", f"is a {type(document).__name__}, not a langchain document", ""
            )


def _why_no_document(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError) or error.errors()[0]["type"].startswith("recursion"):
        return "is nested too deeply"
    return first_problem(error)


def _piece_name(document: LangchainDocument, position: int, pieces: dict[str, int]) -> str:
    """Name a document that has no id, by its source and its page, row or start.

    Loaders give one document per page or row of a file and splitters one per piece, all with the file's source. Names
    that would still be equal are counted in `pieces`, from the second on.
    """
    fields = langchain_fields(document.metadata)
    name = fields.source or f"document-{position}"
    name += f"#page={fields.page}" if fields.page is not None else ""
    for field, word in (("row", "row"), ("start_index", "start")):
        value = document.metadata.get(field)
        name += f"#{word}={value}" if isinstance(value, int) and not isinstance(value, bool) else ""
    pieces[name] = pieces.get(name, 0) + 1
    return name if pieces[name] == 1 else f"{name}#{pieces[name]}"


class LangchainFields(NamedTuple):
    """Title, source and page from a langchain document's metadata; empty or None if missing."""

    title: str
    source: str
    page: int | None
    """Counted from 1; langchain's loaders count from 0."""


def langchain_fields(metadata: Mapping[str, Any]) -> LangchainFields:
    """Title, source and page of a langchain document."""
    page: Any = metadata.get("page")
    paged = isinstance(page, int) and not isinstance(page, bool) and page >= 0
    return LangchainFields(
        str(metadata.get("title") or ""), str(metadata.get("source") or ""), page + 1 if paged else None
    )


def _from_langchain(document: LangchainDocument, name: str) -> Document:
    fields = langchain_fields(document.metadata)
    return Document(
        id=name,
        text=document.page_content,
        title=fields.title,
        source=fields.source,
        metadata={str(key): json_value(value) for key, value in document.metadata.items()},
        page_starts=(0,) * (fields.page or 0),  # all of this text is on the one page
    )
